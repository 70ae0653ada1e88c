"""The table of missed triggers, row by row: each change is heard of, by whom it should be, and makes the least work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon import rows_of_configuration, rows_of_network, rows_of_storage
from tests.daemon.triggers import Row, looker, plan_of, reasons_between, work_between

ROWS = (*rows_of_configuration.ROWS, *rows_of_network.ROWS, *rows_of_storage.ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}: {row.name}")
async def test_a_change_is_heard_of_and_makes_the_least_work(tmp_path: Path, row: Row) -> None:
    async with looker(tmp_path, row) as machine:
        first = await machine.looks()
        await machine.listens(first)
        row.change(machine.root)
        await machine.hears(row)
        plan = plan_of(await machine.looks())
        old = first.resolution.plan
        assert work_between(old, plan) is row.work
        if old is not None:
            assert reasons_between(old, plan) == row.reasons
