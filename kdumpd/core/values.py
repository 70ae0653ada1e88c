"""What the value of one directive may be: text in, a value or the Problems with it out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from kdumpd.core import quoting
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.targets import Target


class FailureAction(StrEnum):
    """What the capture kernel does when the dump failed."""

    REBOOT = "reboot"
    HALT = "halt"
    POWEROFF = "poweroff"
    SHELL = "shell"
    DUMP_TO_ROOTFS = "dump_to_rootfs"


class FinalAction(StrEnum):
    """What the capture kernel does after a saved dump, and after a shell or a dump to the root file system."""

    REBOOT = "reboot"
    HALT = "halt"
    POWEROFF = "poweroff"


Value = str | int | bool | tuple[str, ...] | FailureAction | FinalAction | Target
"""Whatever one directive can mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A value, or None where it was refused, with what is to be said of it."""

    value: Value | None
    problems: tuple[Problem, ...] = ()


Parse = Callable[[str], Parsed]

LONGEST_WAIT_SECONDS = 86_400
DEFAULT_SSH_KEY = "/root/.ssh/kdump_id_rsa"


def refused(code: str, message: str, hint: str = "") -> Parsed:
    return Parsed(value=None, problems=(Problem(code=code, message=message, hint=hint),))


def warned(value: Value, code: str, message: str, hint: str = "") -> Parsed:
    warning = Problem(code=code, message=message, hint=hint, severity=Severity.WARNING)
    return Parsed(value=value, problems=(warning,))


def text(value: str) -> Parsed:
    return Parsed(value=value)


def target(outcome: Target | Problem) -> Parsed:
    if isinstance(outcome, Problem):
        return Parsed(value=None, problems=(outcome,))
    return Parsed(value=outcome)


def directory(value: str) -> Parsed:
    """A directory below the target, without doubled or trailing slashes; relative is left relative."""
    parts = [part for part in value.split("/") if part not in {"", "."}]
    if ".." in parts:
        return refused(
            "bad-path", f"`{value}` leaves its directory with `..`", "write the directory that is meant"
        )
    return Parsed(value=("/" if value.startswith("/") else "") + "/".join(parts) or "/")


def executable(value: str) -> Parsed:
    """The absolute path of one program."""
    if not value.startswith("/"):
        return refused(
            "bad-path", f"`{value}` is not an absolute path", "write the whole path of the program"
        )
    if _BLANKS.search(value):
        return refused(
            "bad-path",
            f"`{value}` holds a blank",
            "it takes one path and no arguments; wrap them in a script",
        )
    return Parsed(value=value)


def files(value: str) -> Parsed:
    """Absolute paths, separated by blanks."""
    paths = quoting.split(value)
    relative = [path for path in paths if not path.startswith("/")]
    if relative:
        return refused(
            "bad-path", f"`{relative[0]}` is not an absolute path", "write the whole path of each file"
        )
    return Parsed(value=tuple(dict.fromkeys(paths)))


def words(value: str) -> Parsed:
    """Words as a shell would split them."""
    return Parsed(value=quoting.split(value))


def modules(value: str) -> Parsed:
    """Names of kernel modules, separated by blanks; a `.ko` is dropped with a warning."""
    names = [_module(name) for name in value.split()]
    wrong = [name for name in names if not _MODULE.fullmatch(name)]
    if wrong:
        return refused(
            "bad-module-name",
            f"`{wrong[0]}` is not the name of a kernel module",
            "write names separated by blanks",
        )
    parsed = tuple(dict.fromkeys(names))
    suffixed = [name for name in value.split() if _module(name) != name]
    if suffixed:
        return warned(
            parsed,
            "module-file-suffix",
            f"`{suffixed[0]}` is read as `{_module(suffixed[0])}`",
            "leave out .ko",
        )
    return Parsed(value=parsed)


def module_options(value: str) -> Parsed:
    """A module and its options, as one pair."""
    name, _blank, options = value.replace("\t", " ").partition(" ")
    if not options.strip():
        return refused("missing-value", f"`{name}` has no options", "write options MODULE OPTION=VALUE ...")
    parsed = modules(name)
    if parsed.value is None:
        return parsed
    return Parsed(value=(_module(name), options.strip()), problems=parsed.problems)


def seconds(value: str) -> Parsed:
    """Whole seconds, at most a day."""
    return number(value, most=LONGEST_WAIT_SECONDS, unit=" seconds")


def number(value: str, *, most: int, unit: str = "") -> Parsed:
    if not _NUMBER.fullmatch(value) or int(value) > most:
        return refused(
            "bad-number",
            f"`{value}` is not a number from 0 to {most}",
            f"write a number{' of' + unit if unit else ''}",
        )
    return Parsed(value=int(value))


def level(value: str) -> Parsed:
    return number(value, most=3)


def flag(value: str) -> Parsed:
    """0 or 1."""
    if value not in {"0", "1"}:
        return refused("bad-choice", f"`{value}` is neither 0 nor 1", "write 0 or 1")
    return Parsed(value=value == "1")


def yes_or_no(value: str) -> Parsed:
    if value not in {"yes", "no"}:
        return refused("bad-choice", f"`{value}` is neither yes nor no", "write yes or no")
    return Parsed(value=value == "yes")


def failure_action(value: str) -> Parsed:
    """An action; RHEL 6's `mount_root_run_init` means dump_to_rootfs."""
    if value == "mount_root_run_init":
        return warned(
            FailureAction.DUMP_TO_ROOTFS,
            "deprecated-value",
            "`mount_root_run_init` is read as `dump_to_rootfs`",
            "write failure_action dump_to_rootfs",
        )
    if value in set(FailureAction):
        return Parsed(value=FailureAction(value))
    return _not_one_of(value, tuple(FailureAction))


def also_final(action: FailureAction) -> FinalAction | None:
    """What RHEL 6's `default` says of final_action where that is not given: its halt and poweroff hold after a dump too."""
    return FinalAction(action.value) if action in {FailureAction.HALT, FailureAction.POWEROFF} else None


def final_action(value: str) -> Parsed:
    if value in set(FinalAction):
        return Parsed(value=FinalAction(value))
    return _not_one_of(value, tuple(FinalAction))


def ssh_key(value: str) -> Parsed:
    """A private key's absolute path; anything else is replaced by the default, as kdump always did."""
    if value.startswith("/"):
        return Parsed(value=value)
    message = f"`{value}` is not an absolute path; {DEFAULT_SSH_KEY} is used"
    return warned(DEFAULT_SSH_KEY, "bad-path", message, "write the whole path of the private key")


def hosts(value: str) -> Parsed:
    """Names or addresses, separated by blanks."""
    names = tuple(dict.fromkeys(value.split()))
    wrong = [name for name in names if not _HOST.fullmatch(name)]
    if wrong:
        return refused(
            "bad-host", f"`{wrong[0]}` is not a host name or address", "write names separated by blanks"
        )
    return Parsed(value=names)


def fence_arguments(value: str) -> Parsed:
    """Options of fence_kdump_send(8), all but the nodes; what makes it send nothing is refused."""
    ahead = list(quoting.split(value))
    given: list[str] = []
    while ahead:
        word = ahead.pop(0)
        name, equals, attached = word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])
        letter = _FENCE_NAMES.get(name, name)
        takes = _FENCE_VALUES.get(letter)
        if takes is None and not (letter in _FENCE_FLAGS and not attached):
            return refused(
                "bad-fence-argument",
                f"`{word}` is not an option of fence_kdump_send",
                "one of -p PORT, -f auto|ipv4|ipv6, -c COUNT, -i SECONDS, -v",
            )
        given.append(word)
        if takes is None:
            continue
        if not attached and not equals:
            attached = ahead.pop(0) if ahead else ""
            given.append(attached)
        problem = takes(attached)
        if problem:
            return refused(
                "bad-fence-argument",
                f"`{word}` of fence_kdump_send needs {problem}",
                "see fence_kdump_send(8)",
            )
    return Parsed(value=tuple(given))


def anything(_value: str) -> Parsed:
    """For a line that is tolerated and means nothing."""
    return Parsed(value="")


def _within(least: int, most: int, what: str) -> Callable[[str], str]:
    def wrong(text: str) -> str:
        return "" if _NUMBER.fullmatch(text) and least <= int(text) <= most else what

    return wrong


def _family(text: str) -> str:
    return "" if text in {"auto", "ipv4", "ipv6"} else "auto, ipv4 or ipv6"


_FENCE_NAMES = {
    "--ipport": "-p",
    "--family": "-f",
    "--count": "-c",
    "--interval": "-i",
    "--verbose": "-v",
}
_FENCE_VALUES: dict[str, Callable[[str], str]] = {
    "-p": _within(1, 65535, "a port from 1 to 65535"),
    "-f": _family,
    "-c": _within(0, 999_999_999, "a number of messages, 0 for no end"),
    "-i": _within(1, LONGEST_WAIT_SECONDS, "a number of seconds from 1 on"),
}
_FENCE_FLAGS = frozenset({"-v"})
_BLANKS = re.compile(r"\s")
_NUMBER = re.compile(r"[0-9]{1,9}")
_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*")
_KO = re.compile(r"\.ko(?:\.(?:gz|xz|zst))?$")


def _module(name: str) -> str:
    return _KO.sub("", name)


def _not_one_of(value: str, choices: tuple[str, ...]) -> Parsed:
    return refused("bad-choice", f"`{value}` is not a valid choice", f"one of {', '.join(choices)}")
