"""The door to programs: argv only, a clean environment, bounded output, and nobody left behind."""

from __future__ import annotations

import asyncio
import os
import select
from pathlib import Path

import pytest

from kdumpd.host.doors import ProgramFailed, Programs
from kdumpd.host.real import RealPrograms
from kdumpd.host.running import Running, until_ended


@pytest.fixture
def programs() -> Programs:
    return RealPrograms()


async def _lines(path: Path, count: int) -> list[str]:
    """The first lines of a file that somebody is still writing."""
    while not path.exists() or len(path.read_text().split()) < count:  # noqa: ASYNC110, ASYNC240  # a file tells nobody
        await asyncio.sleep(0.01)
    return path.read_text().split()  # noqa: ASYNC240


def _ends(pid: int) -> bool:
    """Whether that process is gone or, killed already, is so in a moment: a signal is not done when it is sent."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 10)[0])
    finally:
        os.close(process)


async def test_input_output_and_environment(programs: Programs) -> None:
    output = await programs.run(
        ["sh", "-c", 'cat; echo "$PATH $LC_ALL $extra" >&2; env | wc -l'],
        timeout=10,
        stdin=b"in\n",
        environment={"extra": "told"},
    )
    assert output.stdout.startswith(b"in\n")
    assert output.stderr == b"/usr/sbin:/usr/bin:/sbin:/bin C.UTF-8 told\n"
    assert "HOME" not in output.stdout.decode()


async def test_no_input_is_a_closed_input(programs: Programs) -> None:
    assert (await programs.run(["cat"], timeout=10)).stdout == b""


async def test_an_input_that_nobody_reads_is_no_fault(programs: Programs) -> None:
    assert (await programs.run(["true"], timeout=10, stdin=bytes(1 << 20))).status == 0


async def test_words_are_never_read_by_a_shell(programs: Programs) -> None:
    word = "$(id) ; *'\"\n"
    assert (await programs.run(["printf", "%s", word], timeout=10)).stdout.decode() == word


async def test_a_bad_end_tells_status_and_last_words(programs: Programs) -> None:
    with pytest.raises(ProgramFailed, match="exit status 3: alas") as caught:
        await programs.run(["sh", "-c", "echo alas >&2; exit 3"], timeout=10)
    assert caught.value.output.status == 3
    output = await programs.run(["sh", "-c", "exit 3"], timeout=10, good=frozenset({0, 3}))
    assert output.status == 3


async def test_a_signal_is_a_negative_status(programs: Programs) -> None:
    with pytest.raises(ProgramFailed, match="killed by SIGSEGV") as caught:
        await programs.run(["sh", "-c", "kill -SEGV $$"], timeout=10)
    assert caught.value.output.status == -11


@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program"])
async def test_a_missing_program_is_named(programs: Programs, name: str) -> None:
    with pytest.raises(ProgramFailed, match="is not installed") as caught:
        await programs.run([name, "x"], timeout=10, gentle=True)
    assert caught.value.output.status == 127


async def test_forty_megabytes_are_told_and_only_the_tail_is_kept(programs: Programs) -> None:
    told: list[int] = []
    script = "yes 0123456789012345678901234567890123456789 | head -c 40000000; echo; echo last"
    output = await programs.run(["sh", "-c", script], timeout=50, on_line=lambda line: told.append(len(line)))
    assert len(output.stdout) == 1 << 20
    assert output.stdout.endswith(b"last\n")
    assert sum(told) > 39_000_000


async def test_lines_are_bounded_decoded_and_ended_by_carriage_returns(programs: Programs) -> None:
    told: list[str] = []
    script = r"printf 'one\rtwo\n\377three\n'; head -c 200000 /dev/zero | tr '\0' x; printf '\nend'"
    await programs.run(["sh", "-c", script], timeout=10, on_line=told.append)
    assert told == ["one", "two", "\ufffdthree", "x" * 4096, "end"]


async def test_a_listener_that_fails_ends_the_run(programs: Programs) -> None:
    def listener(line: str) -> None:
        raise KeyError(line)

    with pytest.raises(KeyError, match="now"):
        await programs.run(["sh", "-c", "echo now; sleep 100"], timeout=50, on_line=listener)


async def test_past_its_time_the_whole_group_is_gone(programs: Programs, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 100 & echo $$ $! > {pids}; wait; wait"
    with pytest.raises(ProgramFailed, match="took longer than"):
        await programs.run(["sh", "-c", script], timeout=2)
    assert all(_ends(int(pid)) for pid in pids.read_text().split())


NO_PID = (1 << 31) - 1  # above any pid_max


class Uninterruptible(asyncio.SubprocessTransport):
    """A process that no signal ends, as one in state D."""

    returncode: int | None = None

    def get_pid(self) -> int:
        return NO_PID

    def get_returncode(self) -> int | None:
        return self.returncode

    def get_pipe_transport(self, fd: int) -> None:
        del fd


async def test_one_that_even_kill_does_not_end_is_left_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    transport, running = Uninterruptible(), Running(None)
    running.connection_made(transport)
    with pytest.raises(ProgramFailed, match=r"took longer than 0\.1 s and cannot be ended"):
        async with asyncio.timeout(30):
            await until_ended(transport, running, argv=("umount",), timeout=0.1, grace=0.1)
    assert "does not end by KILL" in caplog.text
    reapers = asyncio.all_tasks() - {asyncio.current_task()}
    assert len(reapers) == 1
    transport.returncode = -9
    running.process_exited()
    await asyncio.wait(reapers)
    assert running.status == -9


async def test_a_wait_for_it_can_be_cancelled() -> None:
    transport, running = Uninterruptible(), Running(None)
    running.connection_made(transport)
    waiting = asyncio.create_task(until_ended(transport, running, argv=("sync",), timeout=500, grace=0.1))
    await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait({waiting})
    assert waiting.cancelled()
    running.process_exited()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})


async def test_more_is_kept_of_what_is_expected_to_be_long(programs: Programs) -> None:
    script = "head -c 3000000 /dev/zero"
    output = await programs.run(["sh", "-c", script], timeout=50, keep_bytes=2_500_000)
    assert len(output.stdout) == 2_500_000


async def test_cancelled_the_whole_group_is_gone(programs: Programs, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    run = asyncio.create_task(
        programs.run(["sh", "-c", f"sleep 100 & echo $$ $! > {pids}; wait"], timeout=50)
    )
    found = [int(pid) for pid in await _lines(pids, 2)]
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert all(_ends(pid) for pid in found)


async def test_cancelled_while_it_starts_the_whole_group_is_gone(programs: Programs, tmp_path: Path) -> None:
    """At each of the first turns of the loop in which a program is begun, until one is past them all."""
    for turns in range(1, 6):
        pids = tmp_path / f"pids-{turns}"
        script = f"sleep 100 & echo $$ $! > {pids}; wait"
        run = asyncio.create_task(programs.run(["sh", "-c", script], timeout=50))
        for _ in range(turns):
            await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        found = pids.read_text().split() if pids.exists() else []
        assert all(_ends(int(pid)) for pid in found)


async def test_a_child_left_behind_with_the_pipes_is_not_waited_for(programs: Programs) -> None:
    output = await programs.run(["sh", "-c", "sleep 8 & echo $!; exit 0"], timeout=50)
    os.kill(int(output.stdout), 9)


async def test_gentle_is_at_low_priority(programs: Programs) -> None:
    assert (await programs.run(["nice"], timeout=10, gentle=True)).stdout == b"19\n"


def test_find_looks_inside_the_root(tmp_path: Path) -> None:
    programs: Programs = RealPrograms(str(tmp_path))
    assert programs.find("sh") == ""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/tool").touch(mode=0o755)
    (tmp_path / "usr/bin/data").touch(mode=0o644)
    (tmp_path / "usr/bin/sh").symlink_to("/usr/bin/tool")
    assert programs.find("tool") == "/usr/bin/tool"
    assert programs.find("sh") == "/usr/bin/sh"
    assert programs.find("data") == ""
