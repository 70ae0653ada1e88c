"""How kdumpctl ends where its streams are closed, full or no longer read, and how Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.daemon.test_kdumpctl import kdumpctl
from tests.service.private_bus import PrivateBus
from tests.simulate import REPOSITORY, make_machine, simulated
from tests.terminal import kdumpctl as argv
from tests.terminal import on_terminal

CTRL_C = "\x03"
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    "KDUMPD_BUS": "unix:path=/nonexistent/bus",
}
"""As an administrator has it: what is printed is written when the program ends."""


def by_shell(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What a shell does with `"$@"`, which is kdumpctl with these words."""
    return subprocess.run(
        ("bash", "-c", script, "bash", *argv(*words)),
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", [("showmem",), ("--help",)])
def test_whoever_no_longer_reads_ends_it_without_a_word(words: tuple[str, ...]) -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    try:
        done = subprocess.run(
            argv(*words), cwd=REPOSITORY, env=ENVIRONMENT, stdout=ours, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(ours)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.parametrize("words", [("showmem",), ("--help",)])
def test_a_full_disk_is_told_in_a_line(words: tuple[str, ...]) -> None:
    done = by_shell('"$@" >/dev/full', *words)
    assert (done.returncode, done.stderr) == (1, "kdump: No space left on device\n")


def test_what_is_closed_is_as_good_as_empty_and_no_complaint_goes_where_the_answer_does(
    tmp_path: Path,
) -> None:
    root = str(make_machine(tmp_path))
    for words in (("plan", "--root", root), ("status",)):
        done = by_shell('"$@" >&-', *words)
        assert (done.returncode, done.stderr) in {(0, ""), (3, "")}
    done = by_shell('"$@" 2>&-', "history")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("words", [("check", "-"), ("config", "diff", "-")])
def test_an_input_that_is_closed_is_no_empty_text(words: tuple[str, ...]) -> None:
    done = by_shell('"$@" <&-', *words)
    assert done.returncode == 1
    assert "the standard input is closed" in done.stdout + done.stderr


async def test_ctrl_c_ends_it_as_it_ends_any_program(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        async with on_terminal(argv("test-crash"), {"KDUMPD_BUS": bus.address}) as terminal:
            await terminal.until("to crash this machine now: ")
            terminal.type(CTRL_C)
            # setsid(1) executes the program in its own place, or tells of a signal as a shell does.
            assert await terminal.ended() in {-signal.SIGINT, 128 + signal.SIGINT}
        assert "Traceback" not in terminal.shown


async def test_what_the_bus_cannot_carry_and_what_is_endless_is_refused(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.conf.read_text()
        closed = by_shell('"$@" <&-', "--bus", bus.address, "config", "text", "-")
        assert closed.stderr == "kdump: -: the standard input is closed\n"
        for words, why in (
            (("config", "set", "path", "/var/\udcff"), "is not UTF-8"),
            (("config", "set", "path", ""), "an empty value cannot be written"),
            (("config", "text", "/dev/zero"), "is not a regular file"),
        ):
            said = await kdumpctl(bus, *words)
            assert (said.status, said.output) == (1, "")
            assert why in said.complaint
        assert machine.conf.read_text() == before
