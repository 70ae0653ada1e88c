"""kdumpctl doctor beside a daemon that works, and one that is gone."""

from __future__ import annotations

import json
from pathlib import Path

from tests.daemon.test_kdumpctl import kdumpctl
from tests.service.private_bus import PrivateBus
from tests.simulate import simulated

Findings = dict[str, dict[str, str | int]]


async def doctor(bus: PrivateBus | None, root: Path) -> tuple[int, Findings]:
    said = await kdumpctl(bus, "doctor", "--json", "--root", str(root))
    told = json.loads(said.output)
    return said.status, {each["code"]: each for each in told["findings"]}


async def test_the_daemon_is_asked_what_only_it_knows(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        await machine.until(lambda now: bool(now["TargetTestResult"]))
        _, found = await doctor(bus, machine.root)
        assert not found.keys() & {"not-loaded", "foreign", "stale", "unseen", "daemon-not-running"}, found

        machine.conf.write_text("foo bar\n")
        await machine.until(lambda now: now["State"] == "stale" and now["Activity"] == "idle")
        status, found = await doctor(bus, machine.root)
        assert status == 1
        wrong = found["unknown-directive"]
        assert (wrong["file"], wrong["line"], wrong["severity"]) == ("/etc/kdump.conf", 1, "risk")
        assert "stale" not in found, "the line says why"

        said = await kdumpctl(bus, "doctor", "--root", str(machine.root))
        assert said.status == 1
        assert "A crash could be missed, or its capture could fail:\n" in said.output
        assert "  - /etc/kdump.conf:1: `foo` is not a directive\n" in said.output
        assert said.complaint == ""

        machine.conf.write_text("# nothing\n")
        await machine.until_armed()
        assert (await kdumpctl(bus, "stop")).status == 0
        status, found = await doctor(bus, machine.root)
        assert status == 1
        assert (found["kdump-stopped"]["severity"], found["kdump-stopped"]["command"]) == (
            "failure",
            "kdumpctl start",
        )
        assert (await kdumpctl(bus, "start")).status == 0
        assert "kdump-stopped" not in (await doctor(bus, machine.root))[1]
        root = machine.root
    status, found = await doctor(bus, root)
    assert status == 1
    assert found["daemon-not-running"]["command"] == "systemctl start kdumpd.service"
    assert "foreign" not in found, "there is a record of what is loaded"
    (root / "run/kdumpd/armed").unlink()
    status, found = await doctor(bus, root)
    assert found["foreign"]["command"] == "systemctl start kdumpd.service && kdumpctl restart"
