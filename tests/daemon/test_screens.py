"""kdumpctl for people: on a terminal and piped, watched, followed and edited."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from kdumpd.cli_screen import Screen, Tone, columns, cut, moment, screen, size, wrapped
from tests.daemon.test_kdumpctl import Said, kdumpctl
from tests.service.private_bus import PrivateBus
from tests.simulate import REPOSITORY, make_machine, simulated
from tests.terminal import PATIENCE, on_terminal
from tests.terminal import kdumpctl as argv

CTRL_C = "\x03"
CTRL_BACKSLASH = "\x1c"
CTRL_S = "\x13"


async def test_status_tells_all_that_matters_on_one_screen(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        piped = await kdumpctl(bus, "status")
        labels = [line[:13].strip() for line in piped.output.splitlines()[3:]]
        assert labels == ["target", "image", "", "reservation", "last dump", "target test", "next step"]
        assert "\x1b" not in piped.output
        async with on_terminal(argv("status"), {"KDUMPD_BUS": bus.address}, columns=200) as terminal:
            assert await terminal.ended() == 0
        assert terminal.shown.split() == piped.output.split()
        assert terminal.written.startswith("\x1b[32mKdump is operational\x1b[0m")
        for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            async with on_terminal(argv("status"), {"KDUMPD_BUS": bus.address, **plain}) as terminal:
                await terminal.ended()
            assert "\x1b" not in terminal.written


async def test_what_stands_in_the_way_is_to_be_fixed_before_anything_is_loaded(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        (machine.root / "etc/kdumpd.toml").write_text("keep_cont = 3\n")
        await machine.until(lambda now: now["State"] == "stale")
        said = await kdumpctl(bus, "status")
        assert "`keep_cont` is not a setting of kdumpd (did you mean keep_count?)" in said.output
        assert "\nnext step    fix the problem above" in said.output


async def test_status_answers_while_an_image_is_built_and_says_how_far_it_is(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus, heavy_bytes=30_000_000) as machine:
        await machine.until_armed()
        async with on_terminal(argv("rebuild"), {"KDUMPD_BUS": bus.address}) as rebuild:
            await rebuild.until("rebuild")
            said = await kdumpctl(bus, "status")
            assert said.status == 0
            assert "\nactivity     kdumpd is " in said.output
            assert "\nnext step    wait: " in said.output
            assert await rebuild.ended() == 0
        assert rebuild.written.count("\r") > 1, "one line was written over"
        assert rebuild.shown.endswith("Rebuilding the capture image: [OK]\n")


async def test_a_daemon_that_hangs_holds_nobody_up(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        os.kill(machine.pid, signal.SIGSTOP)
        try:
            said = await kdumpctl(bus, "status")
        finally:
            os.kill(machine.pid, signal.SIGCONT)
        assert said.status in {0, 3}, "as the kernel of this machine says"
        assert "kdumpd does not answer" in said.output


async def test_where_no_terminal_is_progress_is_a_line_for_each_stage(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        said = await kdumpctl(bus, "rebuild")
        lines = said.complaint.splitlines()
        assert lines[-1] == "kdump: rebuild: load"
        assert all(line.startswith("kdump: rebuild: ") for line in lines)


async def test_a_watch_on_a_terminal_is_one_screen_that_is_written_over(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        async with on_terminal(argv("watch"), {"KDUMPD_BUS": bus.address}) as watch:
            await watch.until("Kdump is operational")
            assert (await kdumpctl(bus, "stop")).status == 0
            await watch.until("Kdump is not operational")
            assert "\x1b[J" in watch.written
            await machine.kill()
            await watch.until("left the bus")
            await machine.start()
            await machine.until(lambda now: now["State"] == "disabled")
            await watch.until("disabled: ")
            watch.type(CTRL_C)
            assert await watch.ended() == 0
        assert watch.written.endswith("\x1b[?25h"), "the cursor is there again"
        assert "Traceback" not in watch.shown


async def test_a_watch_that_is_terminated_leaves_the_cursor_where_one_sees_it(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        async with on_terminal(argv("watch"), {"KDUMPD_BUS": bus.address}) as watch:
            await watch.until("Kdump is operational")
            watch.process.terminate()
            assert await watch.ended() == -signal.SIGTERM
        assert watch.written.endswith("\x1b[?25h")


async def test_a_watch_that_is_terminated_ends_also_where_its_terminal_takes_nothing(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        async with on_terminal(argv("watch"), {"KDUMPD_BUS": bus.address}) as watch:
            await watch.until("Ctrl-C ends")
            watch.type(CTRL_S)
            assert (await kdumpctl(bus, "stop")).status == 0
            await until_it_waits_to_write(watch.process.pid)
            watch.process.terminate()
            async with asyncio.timeout(PATIENCE):
                assert await watch.process.wait() == -signal.SIGTERM
        assert "Traceback" not in watch.shown


async def until_it_waits_to_write(pid: int) -> None:
    """As the kernel calls it where a terminal takes nothing; a process that waits for the bus is elsewhere."""
    seen = set[str]()
    try:
        async with asyncio.timeout(PATIENCE):
            while "wait_woken" not in seen:
                seen.add(Path(f"/proc/{pid}/wchan").read_text())  # noqa: ASYNC240
                await asyncio.sleep(0.05)  # nobody tells of it
    except TimeoutError:
        if seen <= {"", "0"}:
            pytest.skip("this kernel does not say where a process waits (/proc/PID/wchan)")
        raise


async def test_a_watch_that_is_piped_is_a_line_for_each_change(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        text = await _watched(bus)
        assert text[0].endswith("  idle, armed: a crash would be saved to /dev/vda1 (ext4) in /var/crash")
        assert any("  idle, disabled: " in line for line in text)
        assert any(" enable done" in line for line in text)
        told = [json.loads(line) for line in await _watched(bus, "--json")]
        assert told[0]["State"] == "armed"
        assert {"enable"} == {change["Job"]["Kind"] for change in told if "Job" in change}


async def _watched(bus: PrivateBus, *words: str) -> list[str]:
    """What is told of a stop and a start; ended as Ctrl-C would."""
    process = await asyncio.create_subprocess_exec(
        *argv("watch", *words),
        cwd=REPOSITORY,
        env={**os.environ, "KDUMPD_BUS": bus.address},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE):
        for verb, word in (("", "armed"), ("stop", "disabled: "), ("start", "armed: ")):
            if verb:
                assert (await kdumpctl(bus, verb)).status == 0
            while True:
                lines.append((await process.stdout.readline()).decode().rstrip())
                assert lines[-1]
                if word in lines[-1] and "idle" in lines[-1]:
                    break
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert "\x1b" not in "".join(lines)
    return lines


async def test_a_log_is_of_the_last_job_or_of_one_that_is_named(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        assert (await kdumpctl(bus, "rebuild")).status == 0
        told = json.loads((await kdumpctl(bus, "log", "--json")).output)
        assert (told["Kind"], told["Result"]) == ("rebuild", "done")
        again = await kdumpctl(bus, "log", str(told["Id"]))
        assert (again.status, again.output.splitlines()) == (0, told["Log"])
        nothing = await kdumpctl(bus, "log", "4000")
        assert (nothing.status, nothing.output) == (1, "")
        assert "there is no job 4000" in nothing.complaint


# --- config edit and diff -----------------------------------------------------------------------------------------


class Editor:
    """`EDITOR`: a program that writes a text over what it is given, and then does `then`, as sh."""

    def __init__(self, folder: Path, text: str, *, then: str = ":") -> None:
        self.folder = folder
        (folder / "wanted").write_text(text)
        self._program = folder / "editor"
        self._program.write_text(f'#!/bin/sh\ncat "{folder}/wanted" >"$1"\n{then}\n')
        self._program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        return {"EDITOR": str(self._program), "VISUAL": "", "TMPDIR": str(self.folder)}

    @property
    def kept(self) -> list[str]:
        """The texts that it left for the administrator."""
        return [path.read_text() for path in self.folder.glob("kdumpctl-*/*")]


async def test_what_is_edited_is_shown_written_and_effective(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        (machine.root / "var/one").mkdir()
        editor = Editor(tmp_path, "# mine\npath /var/one\n")
        said = await _edited(bus, editor)
        assert said.status == 0, said
        assert "path  /var/crash \N{RIGHTWARDS ARROW} /var/one" in said.output
        assert machine.conf.read_text() == "# mine\npath /var/one\n"
        assert machine.directory == "/var/one"
        assert (await _edited(bus, editor)).output == "nothing was changed\n"
        assert editor.kept == []


async def test_a_text_with_errors_is_kept_and_what_is_wrong_is_told_by_line(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.conf.read_text()
        editor = Editor(tmp_path, "path /var/crash\nfoo bar\n")
        said = await _edited(bus, editor)
        assert said.status == 1
        assert "/etc/kdump.conf:2: error: " in said.output
        assert editor.kept == ["path /var/crash\nfoo bar\n"]
        assert str(tmp_path) in said.complaint
        taken_back = Editor(tmp_path, "ext4 LABEL=nowhere\n")
        said = await _edited(bus, taken_back)
        assert said.status == 1
        assert "put back" in said.complaint
        assert "ext4 LABEL=nowhere\n" in taken_back.kept
        assert machine.conf.read_text() == before


async def test_on_a_terminal_one_edits_again(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        editor = Editor(tmp_path, "foo bar\n", then=f'echo "path /var/crash" >"{tmp_path}/wanted"')
        async with on_terminal(argv("config", "edit"), _with(bus, editor)) as terminal:
            await terminal.until("[e]dit again, or [q]uit?")
            terminal.type("e\n")
            await terminal.until("is written, and effective")
            assert await terminal.ended() == 0
        assert machine.conf.read_text() == "path /var/crash\n"
        assert editor.kept == []


async def test_somebody_elses_change_is_shown_and_written_over_only_where_one_says_so(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        mine, theirs = "# mine\npath /var/crash\n", "# theirs\npath /var/crash\n"
        editor = Editor(tmp_path, mine, then=f'echo "# theirs\npath /var/crash" >"{machine.conf}"')
        said = await _edited(bus, editor)
        assert said.status == 1
        assert "+# theirs" in said.output
        assert machine.conf.read_text() == theirs
        assert editor.kept == [mine]
        machine.conf.write_text("# once more\npath /var/crash\n")
        async with on_terminal(argv("config", "edit"), _with(bus, editor)) as terminal:
            await terminal.until("[w]rite yours over it")
            terminal.type("w\n")
            assert await terminal.ended() == 0
        assert machine.conf.read_text() == mine


async def test_a_file_is_edited_without_a_daemon(tmp_path: Path) -> None:
    file = tmp_path / "new.conf"
    editor = Editor(tmp_path, "path /srv\n")
    assert (await _edited(None, editor, "--file", str(file))).status == 0
    assert file.read_text() == "path /srv\n"
    failing = Editor(tmp_path, "path /other\n", then="exit 3")
    said = await _edited(None, failing, "--file", str(file))
    assert (said.status, file.read_text()) == (1, "path /srv\n")
    assert failing.kept == ["path /other\n"]
    assert "ended with 3" in said.complaint


async def test_what_ctrl_c_does_is_for_the_editor_to_say(tmp_path: Path) -> None:
    file = tmp_path / "new.conf"
    editor = Editor(
        tmp_path, "path /srv\n", then='trap "" INT QUIT\necho editing\nread word\necho "path /$word" >"$1"'
    )
    words = argv("config", "edit", "--file", str(file))
    async with on_terminal(words, editor.environment) as terminal:
        await terminal.until("editing")
        terminal.type(f"{CTRL_C}{CTRL_BACKSLASH}wanted\n")
        assert await terminal.ended() == 0, terminal.shown
    assert file.read_text() == "path /wanted\n"
    dying = Editor(tmp_path, "path /wanted\n", then='echo mine >"$1.swp"\necho editing\nread word')
    async with on_terminal(words, dying.environment) as terminal:
        await terminal.until("editing")
        terminal.type(CTRL_C)
        assert await terminal.ended() == 1
        assert "what your editor left is kept in" in terminal.shown
    assert "mine\n" in dying.kept


async def test_an_editor_that_is_no_command_line_is_told(tmp_path: Path) -> None:
    editor = {"EDITOR": "vi '", "VISUAL": ""}
    said = await kdumpctl(None, "config", "edit", "--file", str(tmp_path / "new.conf"), environment=editor)
    assert (said.status, said.output) == (1, "")
    assert "`vi '` is not a command line for an editor" in said.complaint


async def test_a_diff_tells_what_changes_and_what_has_to_be_done(tmp_path: Path) -> None:
    root = make_machine(tmp_path)
    (root / "var/one").mkdir()
    other = tmp_path / "other.conf"
    other.write_text("path /var/one\nfinal_action reboot\n")
    said = await kdumpctl(None, "config", "diff", str(other), "--root", str(root))
    assert said.status == 0, said
    assert said.output.splitlines()[0] == "path  /var/crash \N{RIGHTWARDS ARROW} /var/one", (
        "reboot is the default"
    )
    assert "makes the small part of the image again" in said.output
    told = json.loads(
        (await kdumpctl(None, "config", "diff", str(other), "--root", str(root), "--json")).output
    )
    assert told["changes"] == [{"name": "path", "before": ["/var/crash"], "after": ["/var/one"]}]
    same = "# only a comment\npath /var/crash\n"
    piped = await kdumpctl(None, "config", "diff", "-", "--root", str(root), stdin=same)
    assert piped == Said(0, "both say the same\n", "")
    wrong = await kdumpctl(None, "config", "diff", "-", "--root", str(root), stdin="foo bar\n")
    assert wrong.status == 1
    assert "/etc/kdump.conf:1: " in wrong.complaint


async def _edited(bus: PrivateBus | None, editor: Editor, *words: str) -> Said:
    return await kdumpctl(bus, "config", "edit", *words, environment=editor.environment)


def _with(bus: PrivateBus, editor: Editor) -> dict[str, str]:
    return {"KDUMPD_BUS": bus.address, **editor.environment}


# --- what is written on a screen ----------------------------------------------------------------------------------

NARROW = Screen(is_terminal=True, has_colours=True, columns=40, lines=10)


@pytest.mark.parametrize("text", ["a" * 200, "word " * 50, "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 90, "", " "])
def test_no_line_is_wider_than_the_terminal(text: str) -> None:
    assert all(columns(line) <= 30 for line in wrapped(text, 30))
    assert "".join(wrapped(text, 30)).replace(" ", "") == text.replace(" ", "")
    assert columns(cut(text, 30)) <= 30


def test_what_a_terminal_would_obey_is_not_painted() -> None:
    (line,) = NARROW.rows([("a\x1b[2J", "b\x9b2J", Tone.BAD)])
    assert line.count("\x1b") == 4, "ours alone"
    assert "\x9b" not in line


def test_rows_of_several_lines_stay_below_their_label() -> None:
    lines = Screen().rows([("one", "first\nsecond", Tone.PLAIN), ("other", "third", Tone.PLAIN)])
    assert lines == ["one    first", "       second", "other  third"]


def test_a_table_has_its_columns_below_each_other() -> None:
    rows = [[("a", Tone.PLAIN), ("bb", Tone.BAD), ("c " * 30, Tone.PLAIN)]]
    lines = Screen(is_terminal=True, columns=40).table(("one", "two", "three"), rows)
    assert lines[0] == "one  two  three"
    assert lines[1].startswith("a    bb   c c")
    assert all(line.startswith(" " * 10) for line in lines[2:])
    assert all(columns(line) <= 40 for line in lines)
    assert Screen().table(("one", "two"), []) == []
    narrow = Screen(is_terminal=True, columns=20).table(("one", "two", "three"), [*rows, *rows])
    assert narrow[:2] == ["one    a", "two    bb"]
    assert "" in narrow


def test_sizes_and_moments_are_for_people() -> None:
    assert [size(each) for each in (5, 2048, 3_250_586, 256 << 20)] == [
        "5 bytes",
        "2 KiB",
        "3.1 MiB",
        "256 MiB",
    ]
    assert moment(0) == "never"
    assert moment(1 << 63) == "at no time that a clock can show"


def test_a_pipe_is_no_terminal() -> None:
    with open(os.devnull, "w") as nowhere:
        assert screen(nowhere) == Screen()
