"""The words of kdumpctl: every verb with its options, as argparse knows them; nothing of what they do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from functools import partial
from typing import NoReturn, TypeAlias

from kdumpd import __version__

FAILED = 1
DEFAULT_CONFIG = "/etc/kdump.conf"
KERNELS = "PATH|ALL|DEFAULT"


class Words(argparse.ArgumentParser):
    """Ends with status 1, as kdumpctl always did, where argparse has 2."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"{self.prog}: {message}\n")


Verbs: TypeAlias = "argparse._SubParsersAction[Words]"  # noqa: SLF001  # it has no other name


def parser() -> Words:
    """Every verb with its options. Each one takes --json, so that a program need not read what is for people."""
    top = Words(prog="kdumpctl", description="Look after the crash kernel of this machine.")
    top.add_argument("--bus", default=os.environ.get("KDUMPD_BUS", ""), help="address of the message bus")
    top.add_argument("--version", action="version", version=f"kdumpd {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, parser_class=Words)
    _add_state(verbs)
    _add_arming(verbs)
    _add_test_crash(verbs)
    _add_reserve(verbs)
    _add_offline(verbs)
    _add_config(verbs)
    _add_dumps(verbs)
    verbs.metavar = f"{{{'|'.join(verbs.choices)}}}"
    return top


def choices_of(words: Words) -> Mapping[str, Words]:
    """The verbs below one, none where it has none."""
    for action in words._actions:  # noqa: SLF001  # argparse tells nobody otherwise
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return action.choices
    return {}


def usage() -> str:
    """The line that kdumpctl always said where it was called without a word."""
    return f"Usage: kdumpctl {{{'|'.join(choices_of(parser()))}}}"


def _verb(verbs: Verbs, name: str, does: str, *, as_json: str = "the outcome as JSON") -> Words:
    verb = verbs.add_parser(name, help=does, description=does[:1].upper() + does[1:] + ".")
    verb.add_argument("--json", action="store_true", help=as_json)
    return verb


def _count(word: str) -> int:
    if not word.isascii() or not word.isdigit() or not 0 < int(word) < 1 << 32:
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number above 0")
    return int(word)


def _add_state(verbs: Verbs) -> None:
    """What only asks the daemon."""
    _verb(
        verbs,
        "status",
        "say whether a crash would be captured; exit status 0, or 3 where not",
        as_json="everything kdumpd knows, as JSON",
    )
    history = _verb(
        verbs,
        "history",
        "show what kdumpd did and said so far, the newest last",
        as_json="everything that is kept of each, the newest first",
    )
    history.add_argument("-n", "--number", type=_count, default=0, metavar="N", help="the last N entries")
    _verb(
        verbs,
        "watch",
        "show what kdumpd does as it does it, until Ctrl-C",
        as_json="each change as an object on a line of its own",
    )
    log = _verb(
        verbs,
        "log",
        "print what the job under way says, until it ends, or else what the last one said",
        as_json="the job with all its lines, once it is over",
    )
    log.add_argument(
        "job", nargs="?", type=_count, default=0, metavar="JOB", help="the number of another job"
    )
    _verb(verbs, "showmem", "say how much memory is reserved for the crash kernel")
    _verb(verbs, "estimate", "say how much memory a capture needs, and what to reserve")


def _add_arming(verbs: Verbs) -> None:
    """What has the daemon do something to the crash kernel, or to the target."""
    add = partial(_verb, verbs)
    add("start", "keep the machine armed from now on, and wait until it is")
    add("stop", "unload the crash kernel, and leave it so")
    add("restart", "as start, and load again what is loaded; never unloads")
    add("reload", "load again, as after a change of memory")
    add("rebuild", "build the image anew and load it")
    add("test-target", "write a small file to the target as after a crash, and remove it")
    propagate = add("propagate", "make a key where there is none, and give it to the ssh target")
    propagate.add_argument("--file", default=DEFAULT_CONFIG, metavar="FILE", help="another kdump.conf")


def _add_test_crash(verbs: Verbs) -> None:
    """By our name, and by that of kdump-utils."""
    for name in ("test-crash", "test"):
        test = _verb(
            verbs,
            name,
            "crash this machine now, to see whether that is captured; asks first"
            if name == "test-crash"
            else "as test-crash",
            as_json="what would happen as JSON, and nothing more unless --yes is given; with --outcome, that",
        )
        test.add_argument("--yes", "--force", action="store_true", help="do not ask")
        test.add_argument("--dry-run", action="store_true", help="only say what would happen")
        test.add_argument(
            "--outcome",
            action="store_true",
            help="crash nothing, say what became of the last one; exit status 0 passed, 1 failed, 3 not known",
        )
        test.add_argument("--wait", action="store_true", help="with --outcome: until it is known")


def _add_reserve(verbs: Verbs) -> None:
    """Of crashkernel=: by our names, and by those of kdump-utils."""
    mine = verbs.add_parser("reserve", help="say or set which crashkernel= the next boots have")
    actions = mine.add_subparsers(dest="action", required=True, parser_class=Words)
    _verb(actions, "get-default", "print what is recommended for this machine")
    _verb(actions, "estimate", "as kdumpctl estimate")
    setting = _verb(actions, "set", "write it into the boot entries; shown before it is done")
    setting.add_argument(
        "value", nargs="?", default="", help="such as 256M; what is recommended where none is given"
    )
    setting.add_argument("--kernel", default="", metavar=KERNELS, help="whose entry; ALL where none is given")
    setting.add_argument("--dry-run", action="store_true", help="show it and do nothing")

    default = _verb(verbs, "get-default-crashkernel", "as reserve get-default, without a line's end")
    default.add_argument("mode", nargs="?", choices=("kdump", "fadump"), default="kdump")
    reset = _verb(verbs, "reset-crashkernel", "set what is recommended, for the kernel that captures")
    reset.add_argument("--kernel", default="", metavar=KERNELS)
    reset.add_argument(
        "--fadump", default="", metavar="on|off|nocma", help="on PPC only, and not done by kdumpd"
    )
    reset.add_argument("--reboot", action="store_true", help="and reboot at once where anything was changed")


def _add_offline(verbs: Verbs) -> None:
    """What needs no daemon."""
    for name, does in (
        ("plan", "show what would be built and loaded"),
        ("why", "show what differs from what is loaded, and what has to be done because of it"),
    ):
        verb = _verb(verbs, name, f"{does}; touches nothing, needs no daemon")
        verb.add_argument("--root", default="/", metavar="DIR", help="a copy of another machine's files")
    keys = _verb(
        verbs,
        "setup-crypttab",
        "have the volume keys of the target's LUKS devices kept for a capture kernel; needs no daemon",
    )
    keys.add_argument("--root", default="/", metavar="DIR", help="a copy of another machine's files")
    keys.add_argument("--dry-run", action="store_true", help="show it and do nothing")
    check = _verb(verbs, "check", "check a configuration file; needs no daemon")
    check.add_argument("file", nargs="?", default=DEFAULT_CONFIG, metavar="FILE")
    doctor = _verb(
        verbs,
        "doctor",
        "name every reason why a capture could fail here, each with its remedy; needs no daemon",
    )
    doctor.add_argument("--root", default="/", metavar="DIR", help="a copy of another machine's files")
    taken = _verb(
        verbs, "import", "turn the configuration of kdump-tools or of openSUSE's kdump into a kdump.conf"
    )
    taken.add_argument(
        "--from",
        dest="tool",
        choices=("kdump-tools", "opensuse"),
        default="",
        help="whose it is, where it does not tell",
    )
    taken.add_argument("file", metavar="FILE", help="such as /etc/default/kdump-tools")
    where = taken.add_mutually_exclusive_group()
    where.add_argument(
        "--write", action="store_true", help=f"write {DEFAULT_CONFIG}, and what belongs beside it"
    )
    where.add_argument("--output", default="", metavar="FILE", help="write the kdump.conf there")


def _add_config(verbs: Verbs) -> None:
    config = verbs.add_parser("config", help="read or change the configuration")
    actions = config.add_subparsers(dest="action", required=True, parser_class=Words)
    for name, does in (
        ("get", "print the values of a directive"),
        ("set", "set a directive"),
        ("unset", "remove a directive"),
    ):
        action = _verb(actions, name, does)
        action.add_argument("--file", default="", metavar="FILE", help="this file, without a daemon")
        action.add_argument("key")
        if name == "set":
            action.add_argument("values", nargs="+", metavar="value")
    edit = actions.add_parser(
        "edit", help="edit the configuration in $VISUAL or $EDITOR, and make it effective"
    )
    edit.add_argument("--file", default="", metavar="FILE", help="this file, without a daemon")
    diff = _verb(
        actions, "diff", "show what FILE would change, and what has to be done for it; needs no daemon"
    )
    diff.add_argument("--root", default="/", metavar="DIR", help="a copy of another machine's files")
    diff.add_argument("new", metavar="FILE", help="another kdump.conf; - is the input")
    export = _verb(actions, "export", "print a program that gives another machine this configuration")
    export.add_argument("format", choices=("shell", "ansible"))
    text = _verb(actions, "text", "print the whole text, or replace it by that of FILE (- is the input)")
    text.add_argument("new", nargs="?", default="", metavar="FILE")


def _add_dumps(verbs: Verbs) -> None:
    dumps = _verb(verbs, "dumps", "list the dumps that were found, show, delete or check them")
    dumps.add_argument(
        "action", nargs="?", choices=("list", "show", "delete", "prune", "verify", "recover"), default="list"
    )
    dumps.add_argument(
        "words",
        nargs="*",
        metavar="dump",
        help="the directory of the dump, or the end of it; recover: a flattened stream and the vmcore to make of it",
    )
    dumps.add_argument("--dry-run", action="store_true", help="prune: only say what would go, and why")
