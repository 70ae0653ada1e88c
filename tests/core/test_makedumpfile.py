"""What a build of makedumpfile can do, as it says itself, and what becomes of a collector's command by it."""

from __future__ import annotations

import pytest

from kdumpd.core.makedumpfile import (
    LATEST_KERNELS,
    Abilities,
    Suited,
    capture_cpus,
    check,
    latest_kernel,
    parse,
    refusal,
    suited,
)

DEBIAN_12 = """\
makedumpfile: version 1.7.2 (released on 20 Oct 2022)
lzo\tenabled
snappy\tdisabled
zstd\tdisabled

"""
BARE = Abilities(version=(1, 7, 9))
EVERYTHING = Abilities(version=(1, 7, 9), compressions=frozenset({"-c", "-l", "-p", "-z"}))
DEFAULT = "makedumpfile -l --message-level 7 -d 31"


def of(
    command: str,
    abilities: Abilities | None,
    *,
    was_written: bool = True,
    release: str = "6.1.0",
    command_line: str = "nr_cpus=1",
) -> Suited:
    return suited(
        tuple(command.split()),
        abilities,
        was_written=was_written,
        kernel_release=release,
        command_line=command_line,
    )


def test_version_and_compressions_are_read_as_debian_prints_them() -> None:
    assert parse(DEBIAN_12) == Abilities(version=(1, 7, 2), compressions=frozenset({"-c", "-l"}))


def test_a_version_between_two_releases_is_read() -> None:
    able = parse("makedumpfile: version 1.7.9++ (released on 20 Apr 2026)\nlzo\tdisabled\nzstd\tenabled\n")
    assert able == Abilities(version=(1, 7, 9), compressions=frozenset({"-c", "-z"}))


def test_what_is_no_makedumpfile_is_not_taken_for_one() -> None:
    assert parse("usage: something else\n") is None


@pytest.mark.shows(
    "core_collector makedumpfile -l", "core_collector makedumpfile -p", "core_collector makedumpfile -z"
)
@pytest.mark.parametrize(
    ("option", "name"),
    [("-l", "lzo"), ("-p", "snappy"), ("-z", "zstd"), ("-zd31", "zstd"), ("-d 31 -Fz", "zstd")],
)
def test_a_compression_that_the_build_lacks_is_refused_and_what_it_has_is_named(
    option: str, name: str
) -> None:
    (problem,) = of(f"makedumpfile {option}", BARE).problems
    assert (problem.code, problem.is_error) == ("collector-lacks-compression", True)
    assert name in problem.message
    assert "-c (zlib)" in problem.hint


@pytest.mark.parametrize("option", ["-c", "-l", "-p", "-z", "-E", "-d 0"])
def test_a_build_with_everything_takes_everything(option: str) -> None:
    assert of(f"makedumpfile {option}", EVERYTHING).problems == ()


@pytest.mark.parametrize(
    ("compressions", "instead"), [({"-c"}, "-c"), ({"-c", "-p"}, "-c"), ({"-c", "-z"}, "-z")]
)
def test_our_own_default_falls_back_on_what_the_build_has_and_says_so(
    compressions: set[str], instead: str
) -> None:
    able = Abilities(version=(1, 7, 9), compressions=frozenset(compressions))
    runs = of(DEFAULT, able, was_written=False)
    assert runs.argv == tuple(DEFAULT.replace("-l ", f"{instead} ").split())
    (problem,) = runs.problems
    assert (problem.code, problem.is_error) == ("collector-compression-replaced", False)
    assert " ".join(runs.argv) in problem.hint


def test_of_a_build_that_is_not_known_nothing_is_said_and_no_thread_added() -> None:
    assert of("makedumpfile -z", None, command_line="") == Suited(argv=("makedumpfile", "-z"))


def test_what_the_program_itself_refuses_is_told_in_its_words() -> None:
    said = "-e requires --work-dir\nCommandline parameter is invalid.\nTry `makedumpfile --help' for more information.\n"
    able = Abilities(version=(1, 7, 9), refusal=refusal(said))
    (problem,) = of("makedumpfile -c --extension x", able).problems
    assert problem.code == "collector-refused"
    assert "-e requires --work-dir" in problem.message


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("makedumpfile -l -d 31", "/sbin/m --check-params -l -d 31 /proc/vmcore vmcore"),
        ("makedumpfile -F -l", "/sbin/m --check-params -F -l /proc/vmcore"),
    ],
)
def test_the_options_are_judged_with_the_file_names_they_will_have(command: str, asked: str) -> None:
    assert check(tuple(command.split()), "/sbin/m") == tuple(asked.split())


@pytest.mark.parametrize(
    ("version", "release", "is_told"),
    [
        ((1, 7, 6), "6.12.48+deb13-amd64", True),
        ((1, 7, 6), "6.11.9", False),
        ((1, 7, 2), "6.1.0-37-amd64", True),
        ((1, 7, 2), "5.10.0-30-amd64", False),
        ((1, 7, 9), "6.17.1-300.fc43.x86_64", False),
        ((1, 7, 9), "7.1.0", True),
        ((1, 8, 0), "7.1.0", False),  # newer than what is known here
        ((1, 7, 6), "unreadable", False),
    ],
)
def test_a_kernel_newer_than_makedumpfile_is_a_warning(
    version: tuple[int, ...], release: str, *, is_told: bool
) -> None:
    problems = of("makedumpfile -c", Abilities(version=version), release=release).problems
    assert [problem.code for problem in problems] == ["kernel-newer-than-makedumpfile"] * is_told
    assert not any(problem.is_error for problem in problems)


def test_each_release_knows_newer_kernels_than_the_one_before() -> None:
    assert list(LATEST_KERNELS) == sorted(LATEST_KERNELS)
    assert [kernel for _, kernel in LATEST_KERNELS] == sorted(kernel for _, kernel in LATEST_KERNELS)
    assert latest_kernel((1, 7, 6, 1)) == (6, 11, 4)
    assert latest_kernel((1, 5, 0)) is None


@pytest.mark.parametrize(
    ("command_line", "cpus"),
    [
        ("irqpoll nr_cpus=1 quiet", 1),
        ("nr_cpus=8 maxcpus=4", 4),
        ("maxcpus=0", 1),
        ("xnr_cpus=3 nr_cpus=a", None),
        ("", None),
    ],
)
def test_the_capture_kernels_processors_are_those_of_its_command_line(
    command_line: str, cpus: int | None
) -> None:
    assert capture_cpus(command_line) == cpus


@pytest.mark.shows("core_collector makedumpfile --num-threads")
@pytest.mark.parametrize(
    ("command", "version", "command_line", "threads"),
    [
        ("makedumpfile -c", (1, 7, 9), "nr_cpus=1", 0),
        ("makedumpfile -c", (1, 7, 9), "nr_cpus=3", 0),
        ("makedumpfile -c", (1, 7, 9), "nr_cpus=4", 3),
        ("makedumpfile -F -c", (1, 7, 8), "nr_cpus=16", 15),
        ("makedumpfile -c", (1, 7, 9), "nr_cpus=128", 32),
        ("makedumpfile -c", (1, 7, 9), "", 32),
        ("makedumpfile -c", (1, 7, 7), "nr_cpus=16", 0),
        ("makedumpfile -E", (1, 7, 9), "nr_cpus=16", 0),
        ("makedumpfile -c --num-threads 2", (1, 7, 9), "nr_cpus=16", 0),
        ("makedumpfile --num=2", (1, 7, 9), "nr_cpus=16", 0),
        ("cp --sparse=always", (1, 7, 9), "nr_cpus=16", 0),
    ],
)
def test_threads_are_one_less_than_processors_and_only_where_they_pay(
    command: str, version: tuple[int, ...], command_line: str, threads: int
) -> None:
    assert of(command, Abilities(version=version), command_line=command_line).most_threads == threads


@pytest.mark.parametrize(
    ("version", "command_line", "codes"),
    [
        ((1, 7, 9), "nr_cpus=8", []),
        ((1, 7, 9), "nr_cpus=4", ["too-many-threads"]),
        ((1, 7, 7), "nr_cpus=8", ["threads-may-spoil-the-dump"]),
        ((1, 7, 7), "nr_cpus=1", ["threads-may-spoil-the-dump", "too-many-threads"]),
    ],
)
def test_threads_of_ones_own_are_kept_with_a_warning_where_they_do_harm(
    version: tuple[int, ...], command_line: str, codes: list[str]
) -> None:
    runs = of("makedumpfile -c --num-threads 4", Abilities(version=version), command_line=command_line)
    assert [problem.code for problem in runs.problems] == codes
    assert runs.argv == ("makedumpfile", "-c", "--num-threads", "4")
