"""Crashes while everything changes: a few of those that `make chaos` deals out, and the three ways to lose a dump told apart."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm.installed import Installed
from tests.vm.kexec_state import KexecState, KexecWords, standing_still
from tests.vm.ordeal import FAULTS, Fate, aftermath, await_nmi, endure, ready
from tests.vm.unrest import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.frozen import Frozen
    from tests.vm.machine import Machine

SEED = 4
LONGEST = 12.0  # seconds of unrest


@pytest.mark.parametrize("number", [1, 3])
def test_a_crash_in_the_middle_of_unrest(number: int, machine: Machine, say: Callable[[str], None]) -> None:
    each = plan(SEED, number, longest=LONGEST)
    await_nmi(machine)
    ready(machine, each)
    outcome = endure(machine, each)
    say(
        f"after {each.crash_after:.1f} s, full: {each.room}: {outcome.fate}, {outcome.found or outcome.before}"
    )
    assert outcome.fate not in FAULTS, f"{outcome.why}; {outcome.last_step}; {outcome.last_word}"


def test_a_crash_inside_the_load_call_and_one_with_nothing_loaded_are_told_apart(
    frozen: Frozen, console_log: Path
) -> None:
    with frozen.wake(log=console_log) as machine:
        words = _awaiting_an_nmi(machine)
        machine.sh("systemd-run --quiet sh -c 'while :; do kdumpctl reload; done'")
        outcome = aftermath(
            machine, words, before=_strike_inside_a_call(machine, words), since=0, disk="root"
        )
        assert outcome.fate is Fate.IN_LOAD
    with frozen.wake(log=console_log) as machine:
        words = _awaiting_an_nmi(machine)
        machine.sh("kdumpctl stop")
        with standing_still(machine):
            before = words.read()
            machine.qmp.ask("inject-nmi")
        assert not before.has_image
        outcome = aftermath(machine, words, before=before, since=0, disk="root")
        assert outcome.fate is Fate.UNPROTECTED
        assert outcome.fate in FAULTS


def _awaiting_an_nmi(machine: Machine) -> KexecWords:
    Installed(machine).wait_until_armed()
    await_nmi(machine)
    machine.stop_at_reboot()
    words = KexecWords.of(machine)
    with standing_still(machine):
        assert words.read() == KexecState(is_locked=False, has_image=True)
    return words


def _strike_inside_a_call(machine: Machine, words: KexecWords) -> KexecState:
    """Looks into the machine again and again until it is inside a load call, and sends it the NMI there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with standing_still(machine):
            state = words.read()
            if state.is_inside_a_call:
                machine.qmp.ask("inject-nmi")
                return state
        # The answer of a program in the guest: it goes on for a moment.
        machine.sh("true")
    raise AssertionError("it was never inside a load call")
