"""A test crash as a program asks for it that knows nothing but docs/api: dumps go to a server, and the next boot says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdumpd.core.summary import read_summary
from kdumpd.core.values import DEFAULT_SSH_KEY
from kdumpd.service.messages import Message
from tests.vm import server as far
from tests.vm.installed import NAME, Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine

USER = "crash"
EXAMPLE = Path(__file__).parents[2] / "docs/api/examples/test-crash.py"
PROGRAM = "/root/test-crash.py"


def test_a_program_written_from_the_documents_crashes_the_machine_and_learns_the_outcome(
    machine: Machine, server: Machine, say: Callable[[str], None]
) -> None:
    kdumpd = Installed(machine)
    far.link(machine, server)
    far.trust(machine, server, name=far.ADDRESS, user=USER, key=DEFAULT_SSH_KEY)
    path = f"/home/{USER}/dumps"
    machine.put(PROGRAM, EXAMPLE.read_bytes())
    told = machine.sh(f"python3 {PROGRAM} configure {USER}@{far.ADDRESS} {path}", timeout=400)
    assert "the job is done" in told
    assert f"armed: a crash would be saved to {far.ADDRESS} (ssh) in {path}" in told, told
    ran = machine.run("python3", PROGRAM, "outcome", check=False)
    assert (ran.status, kdumpd.value("TestCrashState")) == (3, "none")
    shown = machine.sh("kdumpctl test-crash --dry-run")
    assert path in shown
    assert machine.run("kdumpctl", "test", check=False).status == 1, "nobody is there to be asked"

    # Nothing but kdumpd syncs what is written here.
    machine.put("/root/written-before", "here it is\n")
    ended = machine.crash_and_come_back(sync=False, by=f"exec python3 {PROGRAM} crash >/dev/console 2>&1")
    said = "\n".join(line.text for line in ended.console)
    say(f"the machine was back {ended.back_after:.0f} s after the test crash")

    machine.wait_until(f"python3 {PROGRAM} outcome", timeout=400)
    assert str(kdumpd.value("TestCrashMessage")).startswith("the crash was captured and saved to "), said
    assert machine.get("/root/written-before") == b"here it is\n"
    (directory,) = server.sh(f"ls -d {path}/*").split()
    assert directory in str(kdumpd.value("TestCrashMessage"))
    identity = read_summary(server.get(f"{directory}/summary.json")).test_id
    assert len(identity) == 32
    assert f"kdumpd: test crash {identity}" in server.sh(f"cat {directory}/vmcore-dmesg.txt")
    dump = str(kdumpd.value("LastDump"))
    assert kdumpd.value("Test", interface=f"{NAME}.Dump", path=dump) is True
    outcome = machine.sh("kdumpctl test-crash --outcome")
    assert outcome.startswith("test crash passed, of ")
    assert "test-crash passed" in machine.sh("kdumpctl history")
    journal = machine.sh(f"journalctl --no-pager -o cat MESSAGE_ID={Message.TEST_CRASH}")
    assert "the machine is crashed for a test, asked for by uid 0" in journal, "on the disk before the crash"
    assert "passed" in machine.sh(f"journalctl --no-pager -o cat MESSAGE_ID={Message.TEST_CRASH_OUTCOME}")
    granted = machine.sh(
        f"journalctl --no-pager -o cat MESSAGE_ID={Message.AUDIT} KDUMPD_METHOD=Manager.TestCrash"
    )
    assert "Manager.TestCrash by uid 0" in granted
