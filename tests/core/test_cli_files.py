"""`kdumpctl check` and `kdumpctl config --file`: what they print, what they leave on the disk."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kdumpd.cli_files import (
    LARGEST_FILE_BYTES,
    check,
    check_file,
    get_directive,
    set_directive,
    unset_directive,
)

RHEL_6 = (Path(__file__).parent / "rhel6-kdump.conf").read_bytes()


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "kdump.conf"
    path.write_bytes(RHEL_6)
    path.chmod(0o640)
    return path


def test_a_valid_file(conf: Path) -> None:
    assert check_file(str(conf)) == (0, f"{conf}: valid")
    assert check_file(str(conf), as_json=True) == (0, "[]")


def test_warnings_are_told_and_let_the_file_pass() -> None:
    status, output = check("net u@h\ndefault halt\n", file="k.conf")
    assert status == 0
    assert output.splitlines() == [
        "k.conf:1: warning: `net` is an old spelling (write ssh in place of net)",
        (
            "k.conf:2: warning: `default` is the old name of `failure_action` "
            "(write failure_action halt, and on the next line final_action halt)"
        ),
        "k.conf: valid, 2 warnings",
    ]


def test_every_problem_is_told_with_its_line() -> None:
    status, output = check("pth /a\n\ndisk_timeout x\n", file="k.conf")
    assert status == 1
    assert output.splitlines() == [
        "k.conf:1: error: `pth` is not a directive (did you mean path?)",
        "k.conf:3: error: `x` is not a number from 0 to 86400 (write a number of seconds)",
    ]


def test_json_for_programs() -> None:
    status, output = check("\npth /a\udcff\x1b\n", file="k.conf", as_json=True)
    assert status == 1
    assert json.loads(output) == [
        {
            "line": 2,
            "severity": "error",
            "code": "unknown-directive",
            "key": "pth",
            "message": "`pth` is not a directive",
            "hint": "did you mean path?",
        }
    ]
    output.encode()


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"#" * (LARGEST_FILE_BYTES + 1))
    for path in (
        tmp_path,
        tmp_path / "missing",
        large,
        "/dev/zero",
        "/dev/tty",
        "a\x00b",
        "",
        tmp_path / "x\udcff",
    ):
        status, output = check_file(str(path))
        assert status == 1, path
        assert "error: " in output
        output.encode()
        status, output = check_file(str(path), as_json=True)
        assert [problem["code"] for problem in json.loads(output)] == ["unreadable-file"]
        assert get_directive(str(path), "path").status == 1


def test_a_pipe_can_be_checked(tmp_path: Path) -> None:
    """As `kdumpctl check <(generate)` does."""
    reading, writing = os.pipe()
    os.write(writing, b"pth /a\n")
    os.close(writing)
    status, output = check_file(f"/proc/self/fd/{reading}")
    os.close(reading)
    assert status == 1
    assert "did you mean path?" in output


def test_bytes_that_are_not_utf_8_are_told_and_kept(conf: Path) -> None:
    conf.write_bytes(b"# na\xefve\npath /a\n")
    status, output = check_file(str(conf))
    assert status == 0
    assert ":1: warning: this comment is not valid UTF-8" in output
    assert set_directive(str(conf), "path", ["/b"]).status == 0
    assert conf.read_bytes() == b"# na\xefve\npath /b\n"


def test_get(conf: Path) -> None:
    assert get_directive(str(conf), "path") == (0, "/var/crash")
    assert get_directive(str(conf), "link_delay") == (1, "")
    status, output = get_directive(str(conf), "pth")
    assert status == 1
    assert "did you mean path?" in output
    conf.write_text("blacklist a\nblacklist b c\n")
    assert get_directive(str(conf), "blacklist") == (0, "a\nb c")


def test_set_changes_the_value_alone_and_keeps_mode_and_owner(conf: Path) -> None:
    before = conf.stat()
    assert set_directive(str(conf), "path", ["/dumps"]) == (0, "")
    assert conf.read_bytes() == RHEL_6.replace(b"\npath /var/crash\n", b"\npath /dumps\n")
    after = conf.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert os.listdir(conf.parent) == [conf.name]


def test_a_hundred_saves_equal_one(conf: Path) -> None:
    assert set_directive(str(conf), "link_delay", ["30"]).status == 0
    saved, inode = conf.read_bytes(), conf.stat().st_ino
    for _ in range(100):
        assert set_directive(str(conf), "link_delay", ["30"]).status == 0
    assert conf.read_bytes() == saved
    assert conf.stat().st_ino == inode, "an unchanged file is not written at all"


def test_unset(conf: Path) -> None:
    set_directive(str(conf), "options", ["a x=1", "b y"])
    assert get_directive(str(conf), "options") == (0, "a x=1\nb y")
    assert unset_directive(str(conf), "options") == (0, "")
    assert conf.read_bytes() == RHEL_6
    assert unset_directive(str(conf), "options").status == 0
    assert unset_directive(str(conf), "optoins").status == 1
    assert unset_directive(str(conf.parent / "missing"), "options").status == 1


def test_a_new_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new.conf"
    assert set_directive(str(path), "path", ["/dumps"]) == (0, "")
    assert path.read_text() == "path /dumps\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_symbolic_link_stays_one(conf: Path) -> None:
    link = conf.parent / "link.conf"
    link.symlink_to(conf.name)
    assert set_directive(str(link), "path", ["/dumps"]).status == 0
    assert link.is_symlink()
    assert b"\npath /dumps\n" in conf.read_bytes()


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("pth", ["/a"]),
        ("path", ["/a#b"]),
        ("path", ["/a\nb"]),
        ("path", []),
        ("disk_timeout", ["soon"]),
        ("scp", ["x"]),
    ],
)
def test_a_refused_change_leaves_the_file(conf: Path, key: str, values: list[str]) -> None:
    status, output = set_directive(str(conf), key, values)
    assert status == 1
    assert "error: " in output
    assert conf.read_bytes() == RHEL_6


def test_a_folder_that_cannot_be_written_to_is_a_problem() -> None:
    status, output = set_directive("/proc/kdump.conf", "path", ["/a"])
    assert status == 1
    assert "cannot be written" in output


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert set_directive(str(fifo), "path", ["/a"]).status == 1
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_checking_a_file_needs_no_event_loop_and_no_bus() -> None:
    code = "import sys, kdumpd.cli_files; print(sorted({'asyncio', 'dbus_next', 'kdumpd.host'} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert found.stdout == "[]\n"
