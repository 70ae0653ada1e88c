"""A boot is armed before there is a message bus, by the image of the boot before; and the daemon then does nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.vm.installed import Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine

EARLY = "kdumpd-early.service"


@pytest.fixture
def kdumpd(machine: Machine) -> Installed:
    return Installed(machine)


def _moment(machine: Machine, unit: str, what: str) -> float:
    """A moment of a unit's life in this boot, in seconds after the kernel's start."""
    told = machine.sh(f"systemctl show --value -p {what}TimestampMonotonic {unit}")
    return int(told) / 1e6


def _said(machine: Machine, unit: str) -> list[tuple[float, str]]:
    """What a unit said in this boot, and when."""
    lines = machine.sh(f"journalctl -b -u {unit} --no-pager -o json").splitlines()
    entries = [json.loads(line) for line in lines]
    return [(int(each["__MONOTONIC_TIMESTAMP"]) / 1e6, str(each["MESSAGE"])) for each in entries]


def _loads(machine: Machine) -> list[str]:
    """Of the daemon."""
    return [
        words for _, words in _said(machine, "kdumpd") if words.startswith(("load:", "restore:", "build"))
    ]


def test_a_boot_is_armed_before_there_is_a_bus(kdumpd: Installed, say: Callable[[str], None]) -> None:
    machine = kdumpd.machine
    kdumpd.wait_until_armed()
    machine.reboot()
    kdumpd.wait_until_armed()
    record = json.loads(machine.get("/run/kdumpd/armed"))
    assert record["boot_id"] == machine.sh("cat /proc/sys/kernel/random/boot_id")
    assert _loads(machine) == []
    early = next(when for when, words in _said(machine, EARLY) if "the last good image is loaded" in words)
    bus = _moment(machine, "dbus.service", "ExecMainStart")
    daemon = _moment(machine, "kdumpd.service", "ExecMainStart")
    assert _moment(machine, EARLY, "InactiveExit") < bus, (
        "it waits for no bus; how long a load takes is another matter"
    )
    assert early < daemon
    assert machine.sh(f"systemctl is-failed {EARLY}", check=False) != "failed"

    machine.sh(f"systemctl mask {EARLY}")
    machine.reboot()
    kdumpd.wait_until_armed()
    late = next(when for when, words in _said(machine, "kdumpd") if words.startswith("armed: "))
    assert len(_loads(machine)) == 1
    say(f"armed {early:.1f} s after the kernel's start; without {EARLY}, {late:.1f} s (bus: {bus:.1f} s)")
