"""What one build of makedumpfile can do, and what follows from it for a collector's command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kdumpd.core.collector import Option, is_makedumpfile, options
from kdumpd.core.config import printable
from kdumpd.core.problems import Problem, Severity

COMPRESSIONS = {"-c": "zlib", "-l": "lzo", "-p": "snappy", "-z": "zstd"}
"""By option; zlib is in every build."""

LATEST_KERNELS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((1, 6, 8), (5, 9, 4)),
    ((1, 6, 9), (5, 12, 1)),
    ((1, 7, 0), (5, 15, 0)),
    ((1, 7, 1), (5, 17, 1)),
    ((1, 7, 2), (6, 0, 1)),
    ((1, 7, 3), (6, 3, 0)),
    ((1, 7, 4), (6, 6, 0)),
    ((1, 7, 5), (6, 8, 4)),
    ((1, 7, 6), (6, 11, 4)),
    ((1, 7, 7), (6, 14, 2)),
    ((1, 7, 8), (6, 17, 4)),
    ((1, 7, 9), (7, 0, 0)),
)
"""Release and the newest kernel it says it supports: LATEST_VERSION in makedumpfile.h of each tag."""

FIRST_WITH_SOUND_THREADS = (1, 7, 8)
"""Before, a race between the threads could spoil a dump (fixed by commit 65bf4c9 of June 2025)."""
FIRST_WITH_ZSTD = (1, 7, 0)
FIRST_WITH_CHECK = (1, 6, 8)
"""The release that has --check-params."""
LEAST_CPUS_FOR_THREADS = 4
MOST_THREADS = 32
"""The writer and its threads spin: with fewer processors they are slower by far, above 32 there is no gain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What `makedumpfile -v` says, and what `--check-params` thinks of the command that is planned."""

    version: tuple[int, ...]
    compressions: frozenset[str] = frozenset({"-c"})
    refusal: str = ""
    """The last words of a `--check-params` that failed; "" where the command is taken."""

    @property
    def shown(self) -> str:
        return _dotted(self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suited:
    """A collector's command as this machine's build takes it, and the most threads that may be added to it."""

    argv: tuple[str, ...]
    most_threads: int = 0
    problems: tuple[Problem, ...] = ()


def suited(
    argv: tuple[str, ...],
    abilities: Abilities | None,
    *,
    was_written: bool,
    kernel_release: str,
    command_line: str,
) -> Suited:
    """`was_written` tells the user's own command from our default. `kernel_release` is of the kernel that may crash,
    `command_line` that of the capture kernel. Where nothing is known of the build, nothing is said of it.
    """
    if abilities is None or not is_makedumpfile(argv):
        return Suited(argv=argv)
    cpus = capture_cpus(command_line)
    runs = argv if was_written else _remedied(argv, abilities)
    return Suited(
        argv=runs,
        most_threads=_most_threads(runs, abilities, cpus=cpus),
        problems=(
            *_command_problems(argv, runs, abilities),
            *_thread_problems(argv, abilities, cpus),
            *_kernel_problems(abilities, kernel_release),
        ),
    )


def parse(said: str) -> Abilities | None:
    """What `makedumpfile -v` prints on its two outputs; None where it is not that."""
    found = _VERSION.search(said)
    if found is None:
        return None
    enabled = {name for name, state in _FEATURE.findall(said) if state == "enabled"}
    return Abilities(
        version=tuple(map(int, found[1].split("."))),
        compressions=frozenset({"-c", *(option for option, name in COMPRESSIONS.items() if name in enabled)}),
    )


def check(argv: Sequence[str], program: str) -> tuple[str, ...]:
    """The command that makes `program` judge the options of `argv` without reading or writing anything."""
    streams = any(isinstance(option, Option) and option.name == "-F" for option in options(argv))
    return (program, "--check-params", *argv[1:], "/proc/vmcore", *([] if streams else ["vmcore"]))


def refusal(said: str) -> str:
    """The sentence in which a failing --check-params names what it does not take."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Commandline parameter", "Try `"))]
    return printable((telling or lines or ["it gives no reason"])[0])


def latest_kernel(version: tuple[int, ...]) -> tuple[int, ...] | None:
    """The newest kernel that a release knows; None where nobody here can tell: newer than the table, or much older."""
    known = [kernel for release, kernel in LATEST_KERNELS if release <= version]
    return known[-1] if known and version <= LATEST_KERNELS[-1][0] else None


def capture_cpus(command_line: str) -> int | None:
    """The most processors that a kernel with this command line takes up; None where nothing limits them."""
    limits = [int(found) for found in _CPUS.findall(command_line)]
    return min((max(limit, 1) for limit in limits), default=None)


_VERSION = re.compile(r"makedumpfile: version ([0-9]+(?:\.[0-9]+)+)")
_FEATURE = re.compile(r"^(lzo|snappy|zstd)\s+(enabled|disabled)\s*$", re.MULTILINE)
_KERNEL = re.compile(r"([0-9]+)\.([0-9]+)")
_NO_THREADS_WITH = frozenset({"-E", "--split", "--num-threads", "-X", "--xen-syms", "--xen-vmcoreinfo"})
_CPUS = re.compile(r"(?:^|(?<=\s))(?:nr_cpus|maxcpus)=([0-9]{1,6})(?=\s|$)")


def _remedied(argv: tuple[str, ...], abilities: Abilities) -> tuple[str, ...]:
    """Our own default with the best compression that this build has."""
    instead = "-z" if "-z" in abilities.compressions else "-c"
    return tuple(
        instead if word in COMPRESSIONS and word not in abilities.compressions else word for word in argv
    )


def _command_problems(
    argv: tuple[str, ...], runs: tuple[str, ...], abilities: Abilities
) -> Iterator[Problem]:
    lacking = [name for name in _compressions(runs) if name not in abilities.compressions]
    if lacking:
        yield _lacks(lacking[0], abilities)
    elif argv != runs:
        before, after = COMPRESSIONS[_compressions(argv)[0]], COMPRESSIONS[_compressions(runs)[0]]
        yield Problem(
            code="collector-compression-replaced",
            message=f"makedumpfile {abilities.shown} is built without {before}, which the default core collector "
            f"compresses with: {after} is used instead",
            hint=f"write core_collector {shlex.join(runs)}",
            severity=Severity.WARNING,
        )
    if abilities.refusal and not lacking:
        yield Problem(
            code="collector-refused",
            message=f"makedumpfile {abilities.shown} refuses the core collector's options: {abilities.refusal}",
            hint="see makedumpfile(8)",
        )


def _kernel_problems(abilities: Abilities, kernel_release: str) -> Iterator[Problem]:
    """Makedumpfile goes on with a kernel that it does not know; it may take free pages for used ones."""
    latest = latest_kernel(abilities.version)
    found = _KERNEL.match(kernel_release)
    kernel = (int(found[1]), int(found[2])) if found else ()
    # A stable update of a kernel that it knows changes nothing that it looks at.
    if latest is not None and kernel > latest[:2]:
        yield Problem(
            code="kernel-newer-than-makedumpfile",
            message=f"makedumpfile {abilities.shown} knows kernels up to {_dotted(latest[:2])}: for "
            f"{_dotted(kernel)} it may save more pages than it needs to",
            hint="look at the size of the dump after a test crash; a newer makedumpfile knows this kernel",
            severity=Severity.WARNING,
        )


def _most_threads(argv: Sequence[str], abilities: Abilities, *, cpus: int | None) -> int:
    """The most that the agent may add, which goes by the processors that it finds; 0: none."""
    names = {option.name for option in options(argv) if isinstance(option, Option)}
    if abilities.version < FIRST_WITH_SOUND_THREADS or names & _NO_THREADS_WITH:
        return 0
    if cpus is None:
        return MOST_THREADS
    return min(cpus - 1, MOST_THREADS) if cpus >= LEAST_CPUS_FOR_THREADS else 0


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _compressions(argv: Sequence[str]) -> tuple[str, ...]:
    """Those that are asked for; of several makedumpfile goes by the last, and the others do no harm."""
    asked = [
        option.name for option in options(argv) if isinstance(option, Option) and option.name in COMPRESSIONS
    ]
    return tuple(asked[-1:])


def _lacks(option: str, abilities: Abilities) -> Problem:
    has = ", ".join(f"{name} ({COMPRESSIONS[name]})" for name in sorted(abilities.compressions))
    too_old = option == "-z" and abilities.version < FIRST_WITH_ZSTD
    return Problem(
        code="collector-lacks-compression",
        message=f"makedumpfile {abilities.shown} "
        + ("knows no" if too_old else "is built without")
        + f" {COMPRESSIONS[option]}: with {option} it would save the dump uncompressed",
        hint=f"this makedumpfile has {has}",
    )


def _thread_problems(argv: Sequence[str], abilities: Abilities, cpus: int | None) -> Iterator[Problem]:
    own = next(
        (o for o in options(argv) if isinstance(o, Option) and o.name == "--num-threads" and o.value), None
    )
    if own is None or not own.value.isdigit() or int(own.value) == 0:
        return
    if abilities.version < FIRST_WITH_SOUND_THREADS:
        yield Problem(
            code="threads-may-spoil-the-dump",
            message=f"makedumpfile {abilities.shown} may write a damaged dump with --num-threads",
            hint="leave --num-threads out; a makedumpfile from 1.7.8 on is sound, and kdumpd adds it by itself",
            severity=Severity.WARNING,
        )
    if cpus is not None and int(own.value) >= cpus:
        yield Problem(
            code="too-many-threads",
            message=f"--num-threads {own.value} needs {int(own.value) + 1} processors, and the capture kernel has "
            f"{cpus}: the threads spin, so the dump may take a hundred times as long",
            hint="leave --num-threads out: kdumpd adds it where there are 4 processors or more (nr_cpus=)",
            severity=Severity.WARNING,
        )
