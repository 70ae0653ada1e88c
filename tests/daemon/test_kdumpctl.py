"""kdumpctl as a person or a script meets it: words, exit statuses, with a daemon and without."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from kdumpd.cli_dumps import verify
from kdumpd.service.permissions import JOB, MANAGER
from tests.service.private_bus import PrivateBus
from tests.service.test_interfaces import served
from tests.simulate import REPOSITORY, Machine, make_machine, simulated


class Said(NamedTuple):
    status: int
    output: str
    complaint: str


async def kdumpctl(
    bus: PrivateBus | None, *words: str, stdin: str = "", environment: Mapping[str, str] | None = None
) -> Said:
    address = bus.address if bus is not None else "unix:path=/nonexistent/bus"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kdumpd.cli",
        *words,
        cwd=REPOSITORY,
        env={**os.environ, "KDUMPD_BUS": address, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await process.communicate(stdin.encode())
    assert process.returncode is not None
    assert b"Traceback" not in complaint
    return Said(process.returncode, output.decode(), complaint.decode())


async def test_status_of_an_armed_a_stale_and_a_stopped_machine(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        said = await kdumpctl(bus, "status")
        assert said.status == 0
        assert said.output.splitlines()[:2] == [
            "Kdump is operational",
            "armed: a crash would be saved to /dev/vda1 (ext4) in /var/crash",
        ]
        told = json.loads((await kdumpctl(bus, "status", "--json")).output)
        assert (told["State"], told["Operational"], told["Enabled"]) == ("armed", True, True)

        machine.conf.write_text("foo bar\n")
        await machine.until(lambda now: now["State"] == "stale" and now["Activity"] == "idle")
        said = await kdumpctl(bus, "status")
        assert said.status == 0, "a crash would be captured"
        assert "stale: " in said.output
        assert "/etc/kdump.conf:1" in said.output

        assert (await kdumpctl(bus, "stop")) == Said(0, "Stopping kdump: [OK]\n", "")
        said = await kdumpctl(bus, "status")
        assert (said.status, said.output.splitlines()[0]) == (3, "Kdump is not operational")
        assert (await kdumpctl(bus, "history")).output.endswith(": kdump was switched off\n")

        said = await kdumpctl(bus, "start")
        assert said.status == 1, "the configuration is broken"
        assert said.output == "Starting kdump: [FAILED]\n"
        assert "/etc/kdump.conf:1" in said.complaint
        assert machine.loaded_file.read_text().strip() == "1", "but the last good image is better than none"
        machine.conf.write_text("# nothing\n")
        assert (await kdumpctl(bus, "start")).status == 0


async def test_start_restart_reload_rebuild_never_unload(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        for verb in ("start", "restart", "reload", "rebuild"):
            before = machine.armed_with
            said = await kdumpctl(bus, verb)
            assert said.status == 0, said
            assert said.output.endswith(": [OK]\n")
            assert (machine.armed_with["loaded_us"] == before["loaded_us"]) is (verb == "start")
        assert (await kdumpctl(bus, "showmem")).output == "Reserved 256MB memory for crash kernel\n"
        assert (await kdumpctl(bus, "stop")).status == 0
        said = await kdumpctl(bus, "reload")
        assert (said.status, said.output) == (0, "Kdump was not running: [WARNING]\nStarting kdump: [OK]\n")
        assert machine.loaded_file.read_text().strip() == "1"


async def test_estimate_says_what_is_needed_and_what_to_write(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.armed_with
        said = await kdumpctl(bus, "estimate")
        assert (said.status, said.complaint) == (0, "")
        rows = dict(line.split(":", 1) for line in said.output.splitlines() if line)
        assert rows["Reserved crashkernel"].strip() == "256M"
        assert rows["Recommended crashkernel"].strip() == "256M"
        assert rows["To write"].strip() == "crashkernel=2G-64G:256M,64G-:512M"
        assert "guessed" in rows["Runtime reservation"]
        assert "unpacked" in rows["Initramfs size"]
        told = json.loads((await kdumpctl(bus, "estimate", "--json")).output)
        assert (told["reserved"], told["basis"], told["fits"]) == (256 << 20, "guessed", True)
        assert machine.armed_with == before, "nothing was built or loaded"

        machine.conf.write_text("foo bar\n")
        await machine.until(lambda now: now["State"] == "stale" and now["Activity"] == "idle")
        said = await kdumpctl(bus, "estimate")
        assert (said.status, said.output) == (2, "")
        assert "/etc/kdump.conf:1" in said.complaint
    assert (await kdumpctl(None, "estimate")).status == 1


async def test_config_over_the_bus(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        (machine.root / "var/one").mkdir()
        assert await kdumpctl(bus, "config", "get", "path") == Said(0, "/var/crash\n", "")
        assert await kdumpctl(bus, "config", "set", "path", "/var/one") == Said(0, "", "")
        assert machine.directory == "/var/one"
        assert (await kdumpctl(bus, "config", "text")).output == "# where dumps go\npath /var/one\n"
        slip = await kdumpctl(bus, "config", "get", "pathh")
        assert slip == Said(1, "", "kdump: `pathh` is not a directive (did you mean path?)\n")
        assert await kdumpctl(bus, "config", "get", "kdump_pre") == Said(
            1, "", "kdump: kdump_pre is not set\n"
        )
        refused = await kdumpctl(bus, "config", "set", "sideways", "1")
        assert refused.status == 1
        assert "sideways" in refused.complaint
        assert await kdumpctl(bus, "config", "unset", "path") == Said(0, "", "")
        assert machine.conf.read_text() == "# where dumps go\n"
        assert (await kdumpctl(bus, "config", "text", "-", stdin="path /var/one\n")).status == 0
        assert machine.conf.read_text() == "path /var/one\n"
        taken_back = await kdumpctl(bus, "config", "set", "ext4", "LABEL=nowhere")
        assert taken_back.status == 1
        assert "put back" in taken_back.complaint


async def test_dumps_are_listed(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        await machine.stop()
        dump = machine.root / "var/crash/127.0.0.1-2026-01-03-03:04:05"
        dump.mkdir()
        (dump / "vmcore").write_bytes(b"core")
        await machine.start()
        await machine.until(lambda now: now["LastDump"] != "/")
        listed = await kdumpctl(bus, "dumps")
        assert listed.output.startswith("/var/crash/127.0.0.1-2026-01-03-03:04:05  ")
        shown = json.loads((await kdumpctl(bus, "dumps", "show", dump.name, "--json")).output)
        assert (shown[0]["Size"], shown[0]["Complete"]) == (4, True)
        assert json.loads((await kdumpctl(bus, "dumps", "show", "--json")).output) == shown, "the last one"
        assert (await kdumpctl(bus, "dumps", "show", "nothing")).status == 1


async def test_without_a_daemon_it_says_so(bus: PrivateBus) -> None:
    for words in (("start",), ("stop",), ("reload",), ("config", "get", "path"), ("dumps",)):
        said = await kdumpctl(bus, *words)
        assert said.status == 1
        assert said.complaint == "kdump: kdumpd is not running; start it with `systemctl start kdumpd`\n"
    for where in (bus, None):
        said = await kdumpctl(where, "status")
        assert said.status in {0, 3}, "as the kernel of this machine says"
        assert said.output.splitlines()[0] in {"Kdump is operational", "Kdump is not operational"}
        said = await kdumpctl(where, "showmem")
        assert (said.status, said.complaint) == (0, "")
        assert re.fullmatch(r"Reserved \d+MB memory for crash kernel\n", said.output)


@pytest.mark.parametrize("words", [(), ("frobnicate",), ("status", "--sideways"), ("config",)])
async def test_what_is_no_usage_is_status_1(words: tuple[str, ...]) -> None:
    said = await kdumpctl(None, *words)
    assert said.status == 1
    assert "usage" in said.complaint.lower()
    if words[1:]:
        assert said.complaint.endswith("kdumpctl status: --sideways not recognized\n")


async def test_plan_and_why_touch_nothing(tmp_path: Path) -> None:
    root = make_machine(tmp_path)
    before = _tree(root)
    plan = await kdumpctl(None, "plan", "--root", str(root))
    assert plan.status == 0, plan.complaint
    assert "/dev/vda1 (ext4) in /var/crash" in plan.output
    assert "base zstd, overlay gzip: no configuration of the kernel is there to be read" in plan.output
    told = json.loads((await kdumpctl(None, "plan", "--root", str(root), "--json")).output)
    assert told["fingerprints"]["base"]
    why = await kdumpctl(None, "why", "--root", str(root))
    assert (why.status, why.output) == (0, "kdumpd has loaded nothing yet: everything has to be built\n")
    assert _tree(root) == before
    loaded = root / "sys/kernel/kexec_crash_loaded"
    loaded.write_text("1\n")
    why = await kdumpctl(None, "why", "--root", str(root))
    assert "no record of it can be read" in why.output, "whose it is cannot be told"
    loaded.write_text("0\n")
    (root / "etc/kdump.conf").write_text("foo bar\n")
    broken = await kdumpctl(None, "plan", "--root", str(root))
    assert broken.status == 1
    assert "/etc/kdump.conf:1: " in broken.complaint


@pytest.mark.parametrize("root", ["/nonexistent", "/etc/passwd", "x" * 300, "/" + "long/" * 2000])
async def test_a_root_that_is_none(root: str) -> None:
    for verb in ("plan", "why", "setup-crypttab", "doctor", "config diff -"):
        assert await kdumpctl(None, *verb.split(), "--root", root) == Said(
            1, "", f"kdump: {root} is not a directory\n"
        )


async def test_a_text_that_the_bus_cannot_carry_is_not_changed_on_the_way(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.conf.read_bytes()
        latin = tmp_path / "latin.conf"
        latin.write_bytes("# Größe\npath /var/crash\n".encode("latin-1"))
        said = await kdumpctl(bus, "config", "text", str(latin))
        assert said.status == 1
        assert "is not UTF-8" in said.complaint
        assert machine.conf.read_bytes() == before


async def test_why_names_what_moved(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        assert await machine.stop() == 0
        same = await kdumpctl(None, "why", "--root", str(machine.root))
        assert same.output == "what is loaded is what the configuration says\n"
        (machine.root / "var/one").mkdir()
        machine.conf.write_text("path /var/one\n")
        moved = await kdumpctl(None, "why", "--root", str(machine.root))
        assert "directory" in moved.output
        await _restart(machine)


async def test_status_does_not_load_what_it_does_not_need() -> None:
    program = "import sys, kdumpd.cli, kdumpd.cli_bus; sys.exit('pydantic' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=REPOSITORY)
    assert await process.wait() == 0


async def _restart(machine: Machine) -> None:
    await machine.start()
    await machine.until_armed()


def _tree(root: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in root.rglob("*") if not path.is_symlink()}


async def test_a_test_of_the_target_tells_what_it_found(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        said = await kdumpctl(bus, "test-target")
        assert said.status == 1
        assert "nothing is mounted in a simulation" in said.complaint
        told = json.loads((await kdumpctl(bus, "test-target", "--json")).output)
        assert told["TargetTestResult"] == "failed"
        assert told["TargetTestTime"] > 0
        said = await kdumpctl(bus, "status")
        assert said.status == 0, "a target that failed its test is a warning"
        assert "\ntarget test  failed on " in said.output
        assert "\nnext step    fix the target" in said.output


async def test_a_test_of_the_target_that_is_cancelled_says_so(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:  # who begins no test by itself: it is asked for, and waits
        for words in (("test-target",), ("test-target", "--json")):
            async with s.client.signals(MANAGER, "JobNew") as new, asyncio.TaskGroup() as group:
                asked = group.create_task(kdumpctl(bus, *words))
                _, path, kind = (await anext(new)).body
                assert kind == "target-test"
                await s.client.call(str(path), JOB, "Cancel", "a{sv}", {})
            said = asked.result()
            assert (said.status, said.complaint.splitlines()[-1]) == (1, "kdump: it was cancelled")
            assert (said.output == "") is ("--json" not in words)


async def test_history_outlives_the_daemon(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        job = await kdumpctl(bus, "rebuild")
        assert job.status == 0, job.complaint
        before = json.loads((await kdumpctl(bus, "history", "--json")).output)
        assert [(each["kind"], each["result"]) for each in before[:1]] == [("rebuild", "done")]
        assert before[0]["why"] == "kdumpctl rebuild"
        await machine.kill()
        await machine.start()
        await machine.until_armed()
        after = json.loads((await kdumpctl(bus, "history", "--json")).output)
        assert [each for each in after if each in before][-len(before) + 1 :] == before[1:]
        lines = (await kdumpctl(bus, "history")).output.splitlines()
        assert len(lines) == len(after)
        assert any("state" not in line and "armed: a crash would be saved to" in line for line in lines)
        last = (await kdumpctl(bus, "history", "-n", "1")).output.splitlines()
        assert last == lines[-1:]
        for wrong in ("0", "-1", "many", str(1 << 32)):
            said = await kdumpctl(bus, "history", "-n", wrong)
            assert (said.status, said.output) == (1, "")
    assert (await kdumpctl(None, "history")).status == 1


async def test_dumps_are_deleted_and_pruned(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        await machine.stop()
        names = [f"127.0.0.1-2026-01-0{day}-03:04:05" for day in (1, 2, 3)]
        for name in names:
            folder = machine.root / "var/crash" / name
            folder.mkdir()
            (folder / "vmcore").write_bytes(b"core")
            (folder / "summary.json").write_text('{"result": "saved"}')
        await machine.start()
        await machine.until(lambda now: str(now["LastDump"]) != "/")
        await machine.stop()
        (machine.root / "etc/kdumpd.toml").write_text("keep_count = 1\n")
        await machine.start()
        await machine.until(lambda now: str(now["LastDump"]) != "/")  # found before, so no reason to prune
        assert (await kdumpctl(bus, "dumps", "delete")).status == 1
        assert (
            await kdumpctl(bus, "dumps", "delete", "nothing")
        ).complaint == "kdump: there is no dump nothing\n"
        deleted = await kdumpctl(bus, "dumps", "delete", names[1])
        assert deleted == Said(0, f"/var/crash/{names[1]}: deleted\n", "")
        trial = await kdumpctl(bus, "dumps", "prune", "--dry-run")
        why = "there are 2 dumps, and 1 are to be kept (keep_count)"
        assert trial == Said(0, f"/var/crash/{names[0]}  0.0 MiB  would be deleted: {why}\n", "")
        assert (await kdumpctl(bus, "dumps", "prune")).output == trial.output.replace(
            "would be deleted", "deleted"
        )
        assert [each.name for each in (machine.root / "var/crash").iterdir()] == [names[2]]
        assert (await kdumpctl(bus, "dumps", "prune", "--json")).output == "[]\n"


async def test_dumps_are_verified(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        await machine.stop()
        name = "127.0.0.1-2026-01-01-03:04:05"
        folder = machine.root / "var/crash" / name
        folder.mkdir()
        (folder / "vmcore").write_bytes(b"core")
        (folder / "summary.json").write_text('{"result": "saved"}')
        await machine.start()
        await machine.until(lambda now: str(now["LastDump"]) != "/")
        said = await kdumpctl(bus, "dumps", "verify", name)
        assert (said.status, said.complaint) == (1, f"kdump: there is no sum of /var/crash/{name}\n")
        assert (
            await kdumpctl(bus, "dumps", "verify", "nothing")
        ).complaint == "kdump: there is no dump nothing\n"


@pytest.mark.parametrize(("data", "outcome", "status"), [(b"core", "OK", 0), (b"cores", "FAILED", 1)])
def test_a_vmcore_is_compared_with_its_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, outcome: str, status: int
) -> None:
    (tmp_path / "vmcore").write_bytes(data)
    (tmp_path / "vmcore.sha256").write_text(f"{hashlib.sha256(b'core').hexdigest()}  vmcore\n")
    rows = [{"Id": "one", "Path": str(tmp_path)}, {"Id": "other", "Path": "/nowhere"}]
    assert verify(rows, ()) == status
    assert capsys.readouterr().out == f"{tmp_path}/vmcore: {outcome}\n"
