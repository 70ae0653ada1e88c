"""What changes nothing makes no work: nothing is built, nothing is loaded, and what is nobody's business is not heard."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.armed_machine import armed_machine
from tests.daemon.rows_of_calm import OF_A_DISK, ROWS, Calm
from tests.daemon.rows_of_configuration import CONF
from tests.daemon.triggers import Work, has, looker, plan_of, work_between
from tests.service.private_bus import PrivateBus


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_the_plan_stays_what_it_was(tmp_path: Path, row: Calm) -> None:
    async with looker(tmp_path, row.machine, row.before) as machine:
        first = await machine.looks()
        await machine.listens(first)
        row.change(machine.root)
        heard = await machine.hears_until_now()
        assert {said.removesuffix(" changed") for said in heard} <= row.heard
        assert work_between(plan_of(first), plan_of(await machine.looks())) is Work.NOTHING


@pytest.mark.timeout(300)
async def test_the_daemon_does_nothing(tmp_path: Path, bus: PrivateBus) -> None:
    """After each of them it is asked, which makes it look; then a change that matters shows that it was listening."""
    async with armed_machine(tmp_path, bus) as machine:
        for number, row in enumerate(OF_A_DISK):
            await machine.is_changed(*row.before)
            row.change(machine.root)
            await machine.asks()
            done = machine.did()
            assert done.steps == [], row.name
            after = await machine.notices(has(CONF, f"path /var/crash-{number}\n"))
            assert after.steps == ["build image", "load"], row.name
            causes = {each for each in (*done.looks, *after.looks) if each.endswith(" changed")}
            assert causes <= {f"{path} changed" for path in (*row.heard, CONF)}, row.name
