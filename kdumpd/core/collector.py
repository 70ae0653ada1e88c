"""The core collector's command: which are known, what makedumpfile takes, and where its stream must be flattened."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from kdumpd.core.problems import Problem, Severity
from kdumpd.core.targets import Filesystem, Nfs, Raw, Ssh, Target, Virtiofs

HIGHEST_DUMP_LEVEL = 31
HIGHEST_MESSAGE_LEVEL = 31
"""Both from makedumpfile(8)."""

SHORT_OPTIONS = "b:cDd:eEFfg:hi:lL:pRvXx:z"
"""As makedumpfile hands them to getopt; a colon follows those with an argument."""

LONG_OPTIONS_WITH_ARGUMENT = frozenset({
    *("config", "cyclic-buffer", "diskset", "eppic", "extension", "message-level", "num-threads"),
    *("splitblock-size", "vtop", "work-dir", "xen-syms", "xen-vmcoreinfo", "xen_phys_start"),
})  # fmt: skip
LONG_OPTIONS = LONG_OPTIONS_WITH_ARGUMENT | frozenset({
    *("check-params", "dry-run", "dump-dmesg", "help", "mem-usage", "non-cyclic", "non-mmap"),
    *("partial-dmesg", "reassemble", "show-stats", "split"),
})  # fmt: skip
"""Long options of makedumpfile up to 1.7.9."""

SAVES_NOTHING = (
    "-g",
    "-h",
    "-R",
    "-v",
    "--check-params",
    "--dry-run",
    "--dump-dmesg",
    "--help",
    "--mem-usage",
)
NEEDS_FILES = ("--split", "--reassemble", "--diskset")
COMPRESSIONS = ("-c", "-l", "-p", "-z")
READS_FILE = frozenset({"-i", "-x", "--config", "--eppic", "--extension", "--xen-syms", "--xen-vmcoreinfo"})
"""Options whose argument is a file that makedumpfile reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option as getopt sees it, and the words it stands in: `argv[first:last]`."""

    name: str
    value: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """The command as it will run for a target, and what is to be said of it."""

    argv: tuple[str, ...]
    problems: tuple[Problem, ...]


def is_makedumpfile(argv: Sequence[str]) -> bool:
    return _program(argv) == "makedumpfile"


def wants_stream(target: Target | None) -> bool:
    """Whether the dump leaves as a stream, which makedumpfile has to flatten."""
    match target:
        case Ssh() | Raw():
            return True
        case Filesystem() | Nfs() | Virtiofs() | None:
            return False
        case _:
            assert_never(target)


def fitted(argv: tuple[str, ...], target: Target | None) -> Collector:
    """The command fitted to the target: `-F` of makedumpfile added for a stream, left out for a file."""
    program = _program(argv)
    match program:
        case "makedumpfile":
            problems = tuple(_makedumpfile_problems(argv, flattened=wants_stream(target)))
            if any(problem.is_error for problem in problems):
                return Collector(argv=argv, problems=problems)
            argv, warning = _flattened(argv, wanted=wants_stream(target))
            return Collector(argv=argv, problems=(*problems, *warning))
        case "scp" if not isinstance(target, Ssh):
            return Collector(argv=argv, problems=(_unfit(program, "works with an ssh target only", "cp"),))
        case "cp" if wants_stream(target):
            instead = "scp" if isinstance(target, Ssh) else "makedumpfile"
            return Collector(argv=argv, problems=(_unfit(program, "cannot write to this target", instead),))
        case "cp" | "scp":
            return Collector(argv=argv, problems=tuple(_copy_problems(argv)))
        case _:
            return Collector(
                argv=argv,
                problems=(
                    Problem(
                        code="unknown-collector",
                        message=f"`{argv[0] if argv else ''}` is not a core collector that kdumpd knows",
                        hint="one of makedumpfile, cp, scp (ssh only)",
                    ),
                ),
            )


def for_file(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command that writes a file where `argv` may be fitted to a stream: for dump_to_rootfs."""
    return _flattened(argv, wanted=False)[0] if is_makedumpfile(argv) else argv


def files_read(argv: Sequence[str]) -> tuple[str, ...]:
    """The files that a makedumpfile command names for reading, as they are written."""
    if not is_makedumpfile(argv):
        return ()
    return tuple(
        dict.fromkeys(
            option.value
            for option in options(argv)
            if isinstance(option, Option) and option.name in READS_FILE and option.value
        )
    )


def options(argv: Sequence[str]) -> Iterator[Option | str]:
    """The options of a makedumpfile command as getopt_long takes them apart; what is no option comes as it is."""
    at = 1
    while at < len(argv):
        word = argv[at]
        if word == "--":
            yield from argv[at + 1 :]
            return
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = _unabbreviated(name)
            takes_next = name in LONG_OPTIONS_WITH_ARGUMENT and not equals
            last = min(at + 1 + takes_next, len(argv))
            value = argv[at + 1] if takes_next and at + 1 < len(argv) else value
            yield Option(name=f"--{name}", value=value, first=at, last=last)
            at = last
        elif word.startswith("-") and len(word) > 1:
            last = at + 1
            for option in _short_options(argv, at):
                last = option.last
                yield option
            at = last
        else:
            yield word
            at += 1


_LEVEL = re.compile(r"[0-9]{1,2}")


def _program(argv: Sequence[str]) -> str:
    return argv[0].rpartition("/")[2] if argv else ""


def _takes_argument(letter: str) -> bool:
    return f"{letter}:" in SHORT_OPTIONS


def _short_options(argv: Sequence[str], at: int) -> Iterator[Option]:
    word = argv[at]
    for place, letter in enumerate(word[1:], start=1):
        if letter == ":" or not _takes_argument(letter):
            yield Option(name=f"-{letter}", value="", first=at, last=at + 1)
            continue
        rest = word[place + 1 :]
        last = at + 1 if rest else min(at + 2, len(argv))
        value = rest or (argv[at + 1] if at + 1 < len(argv) else "")
        yield Option(name=f"-{letter}", value=value, first=at, last=last)
        return


def _unabbreviated(name: str) -> str:
    """getopt_long takes every beginning of a long option that fits only one."""
    fitting = [known for known in LONG_OPTIONS if known.startswith(name)]
    return fitting[0] if name not in LONG_OPTIONS and len(fitting) == 1 else name


def _is_known(option: Option) -> bool:
    if option.name.startswith("--"):
        return option.name[2:] in LONG_OPTIONS
    return option.name[1] in SHORT_OPTIONS.replace(":", "")


def _makedumpfile_problems(argv: Sequence[str], *, flattened: bool) -> Iterator[Problem]:
    given: dict[str, str] = {}
    for option in options(argv):
        if isinstance(option, str):
            yield _bad(
                f"`{option}` is not an option of makedumpfile", "the names of its input and output are added"
            )
            continue
        given[option.name] = option.value
        yield from _option_problems(option)
    names = frozenset(given)
    for one, other in (("-E", "-c"), ("-E", "-l"), ("-E", "-p"), ("-E", "-z"), ("-E", "--num-threads")):
        if {one, other} <= names:
            yield _bad(f"makedumpfile refuses {one} together with {other}", f"leave out {one} or {other}")
    if "-e" in names and "--work-dir" not in names:
        yield _bad("makedumpfile refuses -e without --work-dir", "leave out -e")
    several = [name for name in COMPRESSIONS if name in names]
    if len(several) > 1:
        yield _doubt(
            f"{' and '.join(several)} exclude each other; makedumpfile uses the last one", "leave one"
        )
    if flattened and "," in given.get("-d", ""):
        yield _doubt(
            "a list of dump levels falls back on a full disk only in a file, not in a flattened stream",
            "write one level",
        )


def _option_problems(option: Option) -> Iterator[Problem]:
    if not _is_known(option):
        yield _bad(
            f"makedumpfile has no option `{option.name}`",
            "see makedumpfile(8)",
            code="unknown-collector-option",
        )
    elif option.name in SAVES_NOTHING:
        yield _bad(f"makedumpfile saves no dump with {option.name}", f"leave out {option.name}")
    elif option.name in NEEDS_FILES:
        yield _bad(f"{option.name} needs file names, which kdumpd chooses", f"leave out {option.name}")
    elif _wants_value(option) and not option.value:
        yield _bad(f"{option.name} needs an argument", "see makedumpfile(8)")
    elif option.name == "-d":
        levels = option.value.split(",")
        wrong = [level for level in levels if not _LEVEL.fullmatch(level) or int(level) > HIGHEST_DUMP_LEVEL]
        if wrong:
            message = f"`{wrong[0]}` is not a dump level"
            yield _bad(
                message, f"write -d with a number from 0 to {HIGHEST_DUMP_LEVEL}", code="bad-dump-level"
            )
    elif option.name == "--message-level":
        if not _LEVEL.fullmatch(option.value) or int(option.value) > HIGHEST_MESSAGE_LEVEL:
            yield _bad(
                f"`{option.value}` is not a message level",
                f"write a number from 0 to {HIGHEST_MESSAGE_LEVEL}",
            )
    elif option.name == "--num-threads" and not re.fullmatch(r"[0-9]{1,4}", option.value):
        yield _bad(f"`{option.value}` is not a number of threads", "leave it out: kdumpd chooses the number")


def _wants_value(option: Option) -> bool:
    if option.name.startswith("--"):
        return option.name[2:] in LONG_OPTIONS_WITH_ARGUMENT
    return _takes_argument(option.name[1])


def _flattened(argv: tuple[str, ...], *, wanted: bool) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """With `-F` for a stream, without it for a file."""
    found = [option for option in options(argv) if isinstance(option, Option) and option.name == "-F"]
    if wanted == bool(found):
        return argv, ()
    if wanted:
        return (argv[0], "-F", *argv[1:]), (
            _doubt(
                "this target takes a flattened stream; -F is added",
                "write makedumpfile -F",
                code="flatten-added",
            ),
        )
    times = Counter(option.first for option in found)
    # -F stands before any argument in its cluster of letters, or getopt would have read it as part of that argument.
    words = (word.replace("F", "", times[place]) for place, word in enumerate(argv))
    return tuple(word for word in words if word != "-"), (
        _doubt("-F is for ssh and raw; it is left out for a file", "leave out -F", code="flatten-removed"),
    )


def _copy_problems(argv: Sequence[str]) -> Iterator[Problem]:
    for word in argv[1:]:
        if word.startswith("/"):
            yield _bad(
                f"`{word}` is not an option of {argv[0]}", "the names of its input and output are added"
            )


def _bad(message: str, hint: str, *, code: str = "bad-collector-option") -> Problem:
    return Problem(code=code, message=message, hint=hint)


def _doubt(message: str, hint: str, *, code: str = "doubtful-collector-option") -> Problem:
    return Problem(code=code, message=message, hint=hint, severity=Severity.WARNING)


def _unfit(program: str, why: str, instead: str) -> Problem:
    return Problem(
        code="unfit-collector", message=f"`{program}` {why}", hint=f"write core_collector {instead}"
    )
