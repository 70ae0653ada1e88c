"""Ten thousand calls of a hostile crowd leave the daemon armed, connected, lean and at work. `make fuzz` makes more."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpd.service.permissions import DUMP, LOG_CONTROL_PATH, ROOT, RULES
from tests.fuzz.__main__ import fuzz
from tests.fuzz.attack import surface
from tests.fuzz.ended import machine_with_dumps
from tests.fuzz.octets import complete_types
from tests.service.private_bus import NOBODY, private_bus
from tests.simulate import simulated

CALLS = 10_000
SEED = 20_261_126
"""Fixed, so that a failure is one of the change and not of the day; `make fuzz` draws another each time."""


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("can_be_nobody")
async def test_ten_thousand_hostile_calls(tmp_path: Path) -> None:
    report, _grown = await fuzz(tmp_path, seed=SEED, calls=CALLS)
    assert report.sent >= CALLS
    assert all(counted["answered"] > 30 for counted in report.outcomes.values())
    assert {"AccessDenied", "InvalidArgs", "LimitsExceeded"} <= report.outcomes[NOBODY].keys()
    assert report.cut_off
    assert report.unread
    assert report.abandoned


async def test_the_attack_reaches_every_member(tmp_path: Path) -> None:
    """But for those of jobs, which come and go."""
    root = machine_with_dumps(tmp_path)
    async with private_bus() as bus, simulated(tmp_path, bus, root=root) as machine:
        await machine.until_armed()
        await machine.client.wait_until(
            ROOT, f"{DUMP.rpartition('.')[0]}.Manager", lambda now: now["LastDump"] != "/"
        )
        found = await surface(machine.client, ROOT, LOG_CONTROL_PATH)
        called = {(interface, member) for _, interface, member in (*found.methods, *found.properties)}
        assert set(RULES) <= called


def test_a_signature_is_its_complete_types() -> None:
    assert list(complete_types("a{sv}u(ss)aaya(u(v))")) == ["a{sv}", "u", "(ss)", "aay", "a(u(v))"]
