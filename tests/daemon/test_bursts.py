"""Nobody ends, blinds or fattens the daemon from outside: floods, odd signatures, and a kdump.conf of anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from kdumpd.service.bus import BusError, Client, ErrorName, Typed, Value
from kdumpd.service.permissions import BUS_NAME, CONFIG, JOB, MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.service.test_endurance import MIB, flood, odd_signatures
from tests.simulate import Machine, Sampler, simulated

CALLS = 200
AT_ONCE = 20  # fewer than polkit's gate or the bus would refuse for their number alone

Call = tuple[str, str, str, tuple[Value, ...]]

STATE_CHANGING: Sequence[Call] = (
    (MANAGER, "Rebuild", "sa{sv}", ("", {"force": True})),
    (MANAGER, "Reload", "a{sv}", ({},)),
    (MANAGER, "Unload", "a{sv}", ({},)),
    (MANAGER, "SetEnabled", "ba{sv}", (False, {})),
    (MANAGER, "Refresh", "a{sv}", ({},)),
    (CONFIG, "Set", "a{sv}sa{sv}", ({"path": "/var/elsewhere"}, "none", {})),
    (CONFIG, "SetText", "ssa{sv}", ("path /var/elsewhere\n", "none", {})),
    (CONFIG, "GetText", "a{sv}", ({},)),
)

ODD_CONFIGURATIONS = (
    b"path /var/\0crash\n",
    b"path /var/\xff\xfe\n",
    b"\0" * 1000,
    b"\xed\xa0\x80 \xed\xb0\x80\n",
    b"kdump_pre /bin/\xc3\x28\0\n",
    b"ext4 LABEL=\0\n",
    b"\xff\n" * 10_000,
    b"foo \xf0\x9f\x92\xa5\n" * 1000,
    b"#" * 3_000_000,
)


EDITS = 1000
EDITS_WITHIN = 10.0  # seconds: their pace is what the test is about
LOADS_AT_MOST = 20


@pytest.mark.timeout(120)
async def test_a_thousand_edits_in_ten_seconds_are_a_few_loads_and_the_last_one_is_armed(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        loads = _loads(machine)
        began = asyncio.get_running_loop().time()
        with Sampler(machine.loaded_file) as sampler:
            for number in range(1, EDITS + 1):
                machine.conf.write_text(f"path /var/crash\ndisk_timeout {number}\n")
                due = began + number * EDITS_WITHIN / EDITS
                await asyncio.sleep(max(due - asyncio.get_running_loop().time(), 0))
            await machine.until_armed()
        description = json.dumps(machine.armed_with["description"])
        assert f"plan_disk_timeout={EDITS}\\n" in description
        assert 1 <= _loads(machine) - loads <= LOADS_AT_MOST
        assert not sampler.unloaded


def _loads(machine: Machine) -> int:
    return machine.log.read_text(errors="replace").count(": load: ")


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("can_be_nobody")
async def test_bursts_of_nobody_leave_it_armed_and_lean(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine, bus.client(BUS_NAME, as_nobody=True) as nobody:
        await machine.until_armed()
        before = machine.armed_with
        text = machine.conf.read_bytes()
        await _refused(nobody, 200)  # what the first calls of a kind bring in is no growth
        await _odd_signatures(machine.client, 200)
        await _odd_texts(machine, ODD_CONFIGURATIONS)
        lean = machine.resident_bytes()

        flooders = await asyncio.to_thread(
            flood, bus.address, connections=8, pings=2000, destination=BUS_NAME, path=ROOT
        )
        assert all(flooder.answers == 2001 for flooder in flooders)
        await _odd_signatures(machine.client, 3000)
        await _refused(nobody, CALLS)
        await _odd_texts(machine, ODD_CONFIGURATIONS[-2:])

        state = await machine.until_armed()
        assert state["Protected"] is True
        assert machine.conf.read_bytes() == text
        assert machine.armed_with == before
        assert machine.resident_bytes() - lean < 10 * MIB


async def _odd_signatures(client: Client, count: int) -> None:
    for in_variant in odd_signatures(count):
        with pytest.raises(BusError) as refused:
            await client.call(
                ROOT, MANAGER, "Describe", "a{sv}", {"odd": Typed(signature=in_variant, value=())}
            )
        assert refused.value.name == ErrorName.INVALID_ARGS


async def _refused(client: Client, count: int) -> None:
    async def one(number: int) -> None:
        interface, member, signature, arguments = STATE_CHANGING[number % len(STATE_CHANGING)]
        with pytest.raises(BusError) as refused:
            await client.call(ROOT, interface, member, signature, *arguments)
        # Of many at once some are refused for their number, which is a refusal as well.
        assert refused.value.name in {ErrorName.ACCESS_DENIED, ErrorName.LIMITS_EXCEEDED}

    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(one(number) for number in range(first, first + AT_ONCE)))


async def _odd_texts(machine: Machine, texts: Sequence[bytes]) -> None:
    """Each is noticed and told, none of them changes what is armed."""
    good = machine.conf.read_bytes()
    for odd in texts:
        machine.conf.write_bytes(odd)
        await machine.client.call(ROOT, MANAGER, "Refresh", "a{sv}", {})
        state = await machine.until(lambda now: now["State"] == "stale" and now["Activity"] == "idle")
        assert state["Protected"] is True
        objects = await machine.client.objects(ROOT)
        assert objects
        diagnostics = await machine.client.get(ROOT, CONFIG, "Diagnostics")
        assert isinstance(diagnostics, tuple)
        assert 0 < len(diagnostics) <= 256
        machine.conf.write_bytes(good)
        await machine.until_armed()


async def test_validating_much_is_bounded(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        text = "kdump_pr\n" * 8_000
        asked = (machine.client.call(ROOT, CONFIG, "Validate", "sa{sv}", text, {}) for _ in range(12))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [answer.name for answer in answers if isinstance(answer, BusError)]
        # Fewer than four where a text has been read before the last of them has come.
        assert set(refused) == {ErrorName.LIMITS_EXCEEDED}
        assert len(refused) <= 4
        for ok, problems in (answer for answer in answers if isinstance(answer, tuple)):
            assert not ok
            assert isinstance(problems, tuple)
            assert len(problems) == 256


async def test_describe_shows_no_contents_of_files(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        (described,) = await machine.client.call(ROOT, MANAGER, "Describe", "a{sv}", {})
        items = json.loads(str(described))["plan"]["overlay"]["items"]
        assert "/kdump/plan.env" in {item["path"] for item in items}
        assert not [item for item in items if "text" in item]


@pytest.mark.parametrize("is_at_once", [True, False])
async def test_two_changes_that_fail_are_both_taken_back(
    tmp_path: Path, bus: PrivateBus, *, is_at_once: bool
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.conf.read_bytes()
        etag = await machine.present_etag()
        jobs: list[str] = []
        for wrong in ("LABEL=nowhere", "LABEL=nowhere-else"):
            try:
                written = await machine.client.call(
                    ROOT, CONFIG, "Set", "a{sv}sa{sv}", {"ext4": wrong}, etag, {}
                )
            except BusError as fault:  # the first was taken back before there was a second
                if fault.name != ErrorName.CONFLICT:
                    raise
                break
            etag = str(written[0])
            jobs.append(str(written[1]))
            if not is_at_once:
                await machine.client.wait_until(jobs[-1], JOB, lambda now: now["State"] != "queued")
        for job in jobs:
            ended = await machine.client.wait_until(job, JOB, lambda now: now["State"] == "done")
            assert ended["Result"] == "failed"
        assert machine.conf.read_bytes() == before
        await machine.until_armed()
