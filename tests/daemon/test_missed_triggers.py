"""The table of missed triggers, row by row: each change is heard of, by whom it should be, and makes the least work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kdumpd.host.simulated import SimulatedPrograms
from tests.daemon import rows_of_configuration, rows_of_network, rows_of_programs, rows_of_storage
from tests.daemon.armed_machine import STEPS, armed_machine
from tests.daemon.triggers import (
    GLIMPSE,
    LOOK,
    PATIENCE,
    Row,
    has,
    looker,
    plan_of,
    reasons_between,
    sources_of,
    work_between,
)
from tests.service.private_bus import PrivateBus

OF_A_DISK = (*rows_of_configuration.ROWS, *rows_of_programs.ROWS)
ROWS = (*OF_A_DISK, *rows_of_network.ROWS, *rows_of_storage.ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}: {row.name}")
async def test_a_change_is_heard_of_and_makes_the_least_work(tmp_path: Path, row: Row) -> None:
    async with looker(tmp_path, row.machine, row.before, programs=row.programs) as machine:
        first = await machine.looks()
        await machine.listens(first)
        row.change(machine.root)
        await machine.hears(row)
        plan = plan_of(await machine.looks())
        old = first.resolution.plan
        assert work_between(old, plan) is row.work
        assert not row.brings or row.brings in sources_of(plan)
        if old is not None:
            assert reasons_between(old, plan) == row.reasons


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.heard not in {GLIMPSE, LOOK}],
    ids=lambda row: f"{row.number}: {row.name}",
)
async def test_where_its_watcher_is_taken_out_nobody_hears_of_it(tmp_path: Path, row: Row) -> None:
    """Everything else is listened to as ever: so each row above fails without that one watcher."""
    async with looker(tmp_path, row.machine, row.before, programs=row.programs) as machine:
        await machine.listens(await machine.looks(), but_for=row.heard)
        row.change(machine.root)
        assert await machine.hears_until_now() == []


OF_THE_DAEMON = [
    row
    for row in OF_A_DISK
    if row.machine == "virtio"
    and row.heard != GLIMPSE
    and row.reasons  # armed before
    and row.programs is SimulatedPrograms
]
"""What a simulation can do, and hears of at once."""
ELSEWHERE = (
    "/etc/kdump/post.d",
    "/etc/kdump/emergency.d",
    rows_of_configuration.HOOK,
    "/lib/modules",
    "kexec",
)
"""What tells of the same places for another reason."""
DEAF_TO = (
    [*{row.heard for row in OF_THE_DAEMON}, "/etc/kdump/pre.d", *ELSEWHERE]
    if os.environ.get("KDUMPD_WITHOUT_WATCHER") == "1"
    else []
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("half", [0, 1])
async def test_the_daemon_arms_each_change_by_itself(tmp_path: Path, bus: PrivateBus, half: int) -> None:
    """All of them on one machine, for a daemon takes longer to start than to arm a change.

    With KDUMPD_WITHOUT_WATCHER=1 in the environment it is deaf to them, and each must fail.
    """
    wrong: dict[str, str] = {}
    async with armed_machine(tmp_path, bus, deaf_to=DEAF_TO) as machine:
        for number, row in enumerate(OF_THE_DAEMON[half::2]):
            # Nothing like it has been before, or the store would have it still.
            unlike = has(rows_of_configuration.CONF, f"path /var/crash-{number}\n")
            await machine.is_changed(unlike, *row.before)
            try:
                done = await machine.notices(row.change, seconds=2.0 if DEAF_TO else PATIENCE)
            except TimeoutError:
                wrong[row.name] = "nobody noticed"
                continue
            await machine.asks()
            machine.did(done)
            if tuple(done.steps) != STEPS[row.work]:
                wrong[row.name] = f"{done.steps} are the steps of more or less than {row.work}"
            elif not row.reasons <= done.stale:
                wrong[row.name] = f"it was stale for {done.stale}"
            elif f"{row.heard} changed" not in done.looks:
                wrong[row.name] = f"it looked because {done.looks}"
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())
