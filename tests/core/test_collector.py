"""The core collector's command, as makedumpfile's own option parser would take it apart."""

from __future__ import annotations

import pytest

from kdumpd.core.collector import Option, fitted, is_makedumpfile, options
from kdumpd.core.targets import Filesystem, Nfs, Raw, Ssh, Target, Virtiofs

SSH = Ssh(user="u", host="h")
RAW = Raw(device="/dev/sda")
FILES: tuple[Target | None, ...] = (
    None,
    Filesystem(fstype="ext4", device="/dev/sda"),
    Nfs(host="h", export="/e"),
    Virtiofs(tag="t"),
)


def argv(command: str) -> tuple[str, ...]:
    return tuple(command.split())


def codes(command: str, target: Target | None = None) -> list[str]:
    return [problem.code for problem in fitted(argv(command), target).problems]


@pytest.mark.parametrize("target", [SSH, RAW])
@pytest.mark.parametrize(
    ("written", "runs"),
    [
        ("makedumpfile -l -d 31", "makedumpfile -F -l -d 31"),
        ("makedumpfile -F -l", "makedumpfile -F -l"),
        ("makedumpfile -lF", "makedumpfile -lF"),
        ("makedumpfile -d 31 -F", "makedumpfile -d 31 -F"),
        ("makedumpfile -x F -l", "makedumpfile -F -x F -l"),
        ("makedumpfile -xF -l", "makedumpfile -F -xF -l"),
        ("/usr/sbin/makedumpfile -c", "/usr/sbin/makedumpfile -F -c"),
    ],
)
@pytest.mark.shows("core_collector makedumpfile -F")
def test_a_stream_is_flattened(target: Target, written: str, runs: str) -> None:
    collector = fitted(argv(written), target)
    assert collector.argv == argv(runs)
    assert [problem.code for problem in collector.problems] == ([] if written == runs else ["flatten-added"])
    assert not any(problem.is_error for problem in collector.problems)


@pytest.mark.parametrize("target", FILES)
@pytest.mark.parametrize(
    ("written", "runs"),
    [
        ("makedumpfile -l -d 31", "makedumpfile -l -d 31"),
        ("makedumpfile -F -l", "makedumpfile -l"),
        ("makedumpfile -lFd31", "makedumpfile -ld31"),
        ("makedumpfile -FFl -F", "makedumpfile -l"),
        ("makedumpfile -xF -l", "makedumpfile -xF -l"),
        ("makedumpfile -Fx F", "makedumpfile -x F"),
    ],
)
@pytest.mark.shows("core_collector makedumpfile -F")
def test_a_file_is_not(target: Target | None, written: str, runs: str) -> None:
    collector = fitted(argv(written), target)
    assert collector.argv == argv(runs)
    assert [problem.code for problem in collector.problems] == (
        [] if written == runs else ["flatten-removed"]
    )


@pytest.mark.parametrize("target", [None, SSH, RAW])
@pytest.mark.parametrize(
    "written", ["makedumpfile -F -l -d 31", "makedumpfile -lF", "makedumpfile -FFl", "makedumpfile -d31 -F"]
)
def test_fitting_twice_is_fitting_once(target: Target | None, written: str) -> None:
    once = fitted(argv(written), target).argv
    again = fitted(once, target)
    assert (again.argv, again.problems) == (once, ())


@pytest.mark.parametrize(
    "command",
    [
        "makedumpfile",
        "makedumpfile -c --message-level 1 -d 31",
        "makedumpfile --message-level=7 -d31",
        "makedumpfile --message 7",
        "makedumpfile -d 11,31",
        "makedumpfile -d 0",
        "makedumpfile -z -D -f -e --work-dir /tmp",
        "makedumpfile -X -L 4G -b 8",
        "makedumpfile -x /usr/lib/debug/vmlinux --config /etc/filter",
        "makedumpfile -E --cyclic-buffer 1024 --non-mmap --non-cyclic --show-stats",
        "makedumpfile -l --num-threads 3",
        "cp",
        "cp --sparse=always",
    ],
)
@pytest.mark.shows(
    "core_collector",
    "core_collector makedumpfile",
    "core_collector makedumpfile -c",
    "core_collector makedumpfile -l",
    "core_collector makedumpfile -p",
    "core_collector makedumpfile -z",
    "core_collector makedumpfile -E",
)
def test_what_makedumpfile_takes(command: str) -> None:
    assert codes(command) == []


@pytest.mark.shows("core_collector scp")
def test_scp_goes_with_ssh() -> None:
    assert codes("scp", SSH) == []
    assert codes("scp -C -l 8192", SSH) == []


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("", "unknown-collector"),
        ("makedumpfil", "unknown-collector"),
        ("/bin/dd", "unknown-collector"),
        ("makedumpfile -d 32", "bad-dump-level"),
        ("makedumpfile -d -1", "bad-dump-level"),
        ("makedumpfile -d 11,32", "bad-dump-level"),
        ("makedumpfile -d x", "bad-dump-level"),
        ("makedumpfile -d 1,", "bad-dump-level"),
        ("makedumpfile -d", "bad-collector-option"),
        ("makedumpfile --message-level 32", "bad-collector-option"),
        ("makedumpfile --message-level", "bad-collector-option"),
        ("makedumpfile --num-threads many", "bad-collector-option"),
        ("makedumpfile -Z", "unknown-collector-option"),
        ("makedumpfile -:", "unknown-collector-option"),
        ("makedumpfile --zstd", "unknown-collector-option"),
        ("makedumpfile --s", "unknown-collector-option"),
        ("makedumpfile -l /proc/vmcore /tmp/vmcore", "bad-collector-option"),
        ("makedumpfile -- x", "bad-collector-option"),
        ("makedumpfile --dump-dmesg", "bad-collector-option"),
        ("makedumpfile -R", "bad-collector-option"),
        ("makedumpfile --split", "bad-collector-option"),
        ("makedumpfile -E -c", "bad-collector-option"),
        ("makedumpfile -E --num-threads 2", "bad-collector-option"),
        ("makedumpfile -e", "bad-collector-option"),
        ("cp /proc/vmcore /tmp", "bad-collector-option"),
        ("scp", "unfit-collector"),
    ],
)
def test_what_fails_now_and_not_at_the_crash(command: str, code: str) -> None:
    collector = fitted(argv(command), None)
    assert {problem.code for problem in collector.problems} == {code}
    assert all(problem.is_error and problem.hint for problem in collector.problems)


def test_doubts() -> None:
    assert codes("makedumpfile -c -l") == ["doubtful-collector-option"]
    assert codes("makedumpfile -F -d 11,31", SSH) == ["doubtful-collector-option"]
    assert codes("makedumpfile -d 11,31", FILES[1]) == []


@pytest.mark.shows("core_collector cp")
def test_copying_does_not_go_everywhere() -> None:
    assert codes("cp", SSH) == ["unfit-collector"]
    assert codes("cp", RAW) == ["unfit-collector"]
    assert codes("scp", RAW) == ["unfit-collector"]


def test_options_are_taken_apart_as_getopt_does() -> None:
    assert list(options(argv("makedumpfile -ld31 --message-level=1 -d 5 word --work 7 -- -c"))) == [
        Option(name="-l", value="", first=1, last=2),
        Option(name="-d", value="31", first=1, last=2),
        Option(name="--message-level", value="1", first=2, last=3),
        Option(name="-d", value="5", first=3, last=5),
        "word",
        Option(name="--work-dir", value="7", first=6, last=8),
        "-c",
    ]


def test_a_path_does_not_hide_makedumpfile() -> None:
    assert is_makedumpfile(("/usr/sbin/makedumpfile",))
    assert not is_makedumpfile(("makedumpfile-R.pl",))
    assert not is_makedumpfile(())
