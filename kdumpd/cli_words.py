"""The words of kdumpctl: every verb with its options, as argparse knows them, and its exit statuses; nothing of what they do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import NoReturn, TypeAlias

from kdumpd import __version__

OK = 0
FAILED = 1
NOT_OPERATIONAL = 3
"""Of `status` where nothing is loaded, as kdumpctl always had it, and of an outcome that is not known."""
DEFAULT_CONFIG = "/etc/kdump.conf"
KERNELS = "PATH|ALL|DEFAULT"
VERB = "COMMAND"


class Words(argparse.ArgumentParser):
    """Ends with status 1, as kdumpctl always did, where argparse has 2; takes no word that is cut short."""

    def error(self, message: str) -> NoReturn:
        print(self.usage_line, file=sys.stderr)
        self.exit(FAILED, f"{self.prog}: {message}\n")

    @property
    def usage_line(self) -> str:
        """`Usage: kdumpctl {status|...}`, as kdumpctl always said it, in one line; else what the verb takes."""
        verbs = choices_of(self)
        if verbs:
            return f"Usage: {self.prog} {{{'|'.join(verbs)}}}"
        return f"U{self.format_usage()[1:]}".rstrip()

    def _check_value(self, action: argparse.Action, value: str) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:  # noqa: SLF001
            close = get_close_matches(value, action.choices, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise argparse.ArgumentError(None, f"there is no command {value!r}{meant}")
        super()._check_value(action, value)


Verbs: TypeAlias = "argparse._SubParsersAction[Words]"  # noqa: SLF001  # it has no other name


def parser() -> Words:
    """Every verb with its options. Each one takes --json, so that a program need not read what is for people."""
    top = Words(
        prog="kdumpctl",
        description="Look after the crash kernel of this machine.",
        epilog="`kdumpctl COMMAND --help` says more about a command, and kdumpctl(8) says all.",
        allow_abbrev=False,
    )
    top.add_argument(
        "--bus",
        default=os.environ.get("KDUMPD_BUS", ""),
        metavar="ADDRESS",
        help="the address of the message bus, if it is not the system bus",
    )
    top.add_argument("--json", action="store_true", help="the same as --json behind the command")
    top.add_argument(
        "--version", action="version", version=f"kdumpd {__version__}", help="print the version of kdumpd"
    )
    verbs = top.add_subparsers(dest="verb", metavar=VERB, required=True, parser_class=Words)
    _add_state(verbs)
    _add_arming(verbs)
    _add_test_crash(verbs)
    _add_reserve(verbs)
    _add_offline(verbs)
    _add_config(verbs)
    _add_dumps(verbs)
    return top


def innermost(words: Words, asked: argparse.Namespace) -> Words:
    """The parser of the verb that was asked for, which knows what it takes."""
    for name in (asked.verb, getattr(asked, "action", None)):
        words = choices_of(words).get(name or "", words)
    return words


def choices_of(words: Words) -> Mapping[str, Words]:
    """The verbs below one, none where it has none."""
    for action in words._actions:  # noqa: SLF001  # argparse tells nobody otherwise
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return action.choices
    return {}


def _verb(verbs: Verbs, name: str, does: str, *, as_json: str = "the outcome as JSON") -> Words:
    """--json may stand behind the verb or before it: so the verb itself leaves it as it is."""
    verb = _plain_verb(verbs, name, does)
    verb.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=as_json)
    return verb


def _plain_verb(verbs: Verbs, name: str, does: str) -> Words:
    sentence = f"{does[:1].upper()}{does[1:]}."
    return verbs.add_parser(name, help=does, description=sentence, allow_abbrev=False)


def _actions_of(words: Words, *, required: bool = True) -> Verbs:
    return words.add_subparsers(dest="action", metavar=VERB, required=required, parser_class=Words)


def _add_root(verb: Words) -> None:
    verb.add_argument(
        "--root",
        type=_name,
        default="/",
        metavar="DIR",
        help="look at the copy of another machine's files in DIR",
    )


def _name(word: str) -> str:
    """Of a file or directory: an empty one is of a variable that is not set, and nobody meant the machine's own."""
    if not word:
        raise argparse.ArgumentTypeError("the name is empty")
    return word


def _count(word: str) -> int:
    if not word.isascii() or not word.isdigit() or not 0 < int(word) < 1 << 32:
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number above 0")
    return int(word)


def _add_state(verbs: Verbs) -> None:
    """What only asks the daemon."""
    _verb(
        verbs,
        "status",
        "say whether a crash would be captured; exit status 0 if a crash kernel is loaded, 3 if not",
        as_json="everything kdumpd knows, as JSON",
    )
    history = _verb(
        verbs,
        "history",
        "show what kdumpd did and reported, the newest last",
        as_json="all that is recorded of each entry, the newest first",
    )
    history.add_argument(
        "-n", "--number", type=_count, default=0, metavar="N", help="only the last N entries"
    )
    _verb(
        verbs,
        "watch",
        "show live what kdumpd does, until Ctrl-C",
        as_json="one JSON object per change, each on its own line",
    )
    log = _verb(
        verbs,
        "log",
        "print the log of the running job until it ends, or else that of the last job",
        as_json="the job with its whole log, once it is over",
    )
    log.add_argument(
        "job", nargs="?", type=_count, default=0, metavar="JOB", help="the number of the job to print instead"
    )
    _verb(verbs, "showmem", "say how much memory is reserved for the crash kernel")
    _verb(verbs, "estimate", "say how much memory a capture needs, and how much to reserve")


def _add_arming(verbs: Verbs) -> None:
    """What has the daemon do something to the crash kernel, or to the target."""
    add = partial(_verb, verbs)
    add("start", "arm the machine in this boot, and wait until it is armed")
    add("stop", "unload the crash kernel, until the next start or reboot")
    add("restart", "like start, but load again also what is loaded already; never unloads")
    add("reload", "load the crash kernel again with the image that exists")
    add("rebuild", "build the capture image again and load it")
    add("test-target", "test the dump target: write a small file there as after a crash, and remove it")
    propagate = add("propagate", "give the ssh target this machine's key, which is made if there is none")
    propagate.add_argument(
        "--file", type=_name, default=DEFAULT_CONFIG, metavar="FILE", help="another kdump.conf"
    )


def _add_test_crash(verbs: Verbs) -> None:
    """By our name, and by that of kdump-utils."""
    for name in ("test-crash", "test"):
        test = _verb(
            verbs,
            name,
            "crash this machine now, to see whether the crash is captured; asks first"
            if name == "test-crash"
            else "the same as test-crash, but with exit status 0 if you answer no",
            as_json="what would happen, as JSON; it crashes only if --yes is given too; with --outcome: the outcome",
        )
        test.add_argument("--yes", "--force", action="store_true", help="do not ask")
        test.add_argument("--dry-run", action="store_true", help="say what would happen, and do nothing")
        test.add_argument(
            "--outcome",
            action="store_true",
            help="say how the last test crash went, and crash nothing; exit status 0 passed, 1 failed, 3 not known",
        )
        test.add_argument("--wait", action="store_true", help="with --outcome: wait until it is known")


def _add_reserve(verbs: Verbs) -> None:
    """Of crashkernel=: by our names, and by those of kdump-utils."""
    actions = _actions_of(_verb(verbs, "reserve", "show or set the crashkernel= of the next boots"))
    _verb(actions, "get-default", "print the recommended value for this machine")
    _verb(actions, "estimate", "the same as kdumpctl estimate")
    setting = _verb(actions, "set", "write a value into the boot entries, and show first what will be done")
    setting.add_argument(
        "values",
        nargs="*",
        metavar="VALUE",
        help="such as 256M, or 1G,high 128M,low; if none is given, the recommended value",
    )
    setting.add_argument(
        "--kernel",
        metavar=KERNELS,
        help="the kernel whose boot entry is changed; ALL if none is given",
    )
    setting.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")

    default = _verb(verbs, "get-default-crashkernel", "the same as reserve get-default, without a newline")
    default.add_argument(
        "mode",
        nargs="?",
        choices=("kdump", "fadump"),
        default="kdump",
        help="the kind of dump to reserve for; kdump if none is given",
    )
    reset = _verb(verbs, "reset-crashkernel", "set the recommended crashkernel= for the kernel that captures")
    reset.add_argument(
        "--kernel",
        metavar=KERNELS,
        help="the kernel whose boot entry is changed; the one that captures if none is given",
    )
    reset.add_argument("--fadump", default="", metavar="on|off|nocma", help="only for PPC; kdumpd refuses it")
    reset.add_argument("--reboot", action="store_true", help="reboot at once if anything was changed")


def _add_offline(verbs: Verbs) -> None:
    """What needs no daemon."""
    for name, does in (
        ("plan", "show what would be built and loaded"),
        ("why", "show what differs from what is loaded, and what kdumpd does about it"),
    ):
        verb = _verb(verbs, name, f"{does}; changes nothing, needs no daemon")
        _add_root(verb)
    keys = _verb(
        verbs,
        "setup-crypttab",
        "let systemd keep the volume keys of the target's LUKS devices for the capture kernel; needs no daemon",
    )
    _add_root(keys)
    keys.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    check = _verb(verbs, "check", "list the errors of a kdump.conf with their lines; needs no daemon")
    check.add_argument(
        "file",
        nargs="?",
        type=_name,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"{DEFAULT_CONFIG} if none is given; - is the standard input",
    )
    doctor = _verb(
        verbs,
        "doctor",
        "list every reason why a capture could fail on this machine, and how to fix it; needs no daemon",
    )
    _add_root(doctor)
    taken = _verb(
        verbs, "import", "turn the configuration of kdump-tools or of openSUSE's kdump into a kdump.conf"
    )
    taken.add_argument(
        "--from",
        dest="tool",
        choices=("kdump-tools", "opensuse"),
        default="",
        help="which tool FILE belongs to, if that cannot be seen",
    )
    taken.add_argument("file", type=_name, metavar="FILE", help="such as /etc/default/kdump-tools")
    where = taken.add_mutually_exclusive_group()
    where.add_argument(
        "--write", action="store_true", help=f"write {DEFAULT_CONFIG}, and the other files that it needs"
    )
    where.add_argument("--output", type=_name, metavar="FILE", help="write the kdump.conf to this FILE")


def _add_config(verbs: Verbs) -> None:
    actions = _actions_of(_verb(verbs, "config", "read or change the configuration"))
    for name, does in (
        ("get", "print the values of a directive"),
        ("set", "set a directive"),
        ("unset", "remove a directive"),
    ):
        action = _verb(actions, name, does)
        action.add_argument(
            "--file", type=_name, metavar="FILE", help="read or write this FILE; needs no daemon"
        )
        action.add_argument("key", metavar="NAME", help="the directive, as in kdump.conf(5)")
        if name == "set":
            action.add_argument("values", nargs="+", metavar="VALUE", help="its new value")
    edit = _plain_verb(
        actions, "edit", "edit the configuration in $VISUAL or $EDITOR, check it, and make it effective"
    )
    edit.add_argument("--file", type=_name, metavar="FILE", help="read or write this FILE; needs no daemon")
    diff = _verb(
        actions, "diff", "show what FILE would change, and what kdumpd would have to do; needs no daemon"
    )
    _add_root(diff)
    diff.add_argument("new", type=_name, metavar="FILE", help="another kdump.conf; - is the standard input")
    export = _verb(
        actions, "export", "print a script or Ansible tasks that give another machine this configuration"
    )
    export.add_argument("format", choices=("shell", "ansible"), help="what is to run it there")
    text = _verb(
        actions, "text", "print the whole kdump.conf, or replace it with FILE (- is the standard input)"
    )
    text.add_argument("new", nargs="?", type=_name, metavar="FILE", help="the whole new text")


def _add_dumps(verbs: Verbs) -> None:
    dumps = _verb(verbs, "dumps", "list, show, delete or check the dumps that were found")
    actions = _actions_of(dumps, required=False)
    add = partial(_verb, actions)
    add("list", "list the dumps that were found, the newest last; the same as dumps alone")
    for name, does, count in (
        ("show", "show all that is known of a dump; of the last one if none is named", "*"),
        ("delete", "delete dumps", "+"),
        ("verify", "read each vmcore and say whether it has changed since it was found", "*"),
    ):
        which = "its directory, or the end of it" if name == "show" else "its name or its directory"
        add(name, does).add_argument("words", nargs=count, metavar="DUMP", help=which)
    prune = add("prune", "delete the dumps that kdumpd.toml(5) does not keep, and say why")
    prune.add_argument("--dry-run", action="store_true", help="say what would be deleted, and do nothing")
    recover = add("recover", "make a vmcore of a flattened stream; needs no daemon")
    recover.add_argument(
        "stream", type=_name, metavar="STREAM", help="such as vmcore.flat, or the copy of a raw device"
    )
    recover.add_argument(
        "core", type=_name, metavar="VMCORE", help="the file to write, which must not exist yet"
    )
