"""kdumpctl: the administrator's words for kdumpd, and its exit statuses."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

FAILED = 1

VERBS = (
    "start|stop|status|restart|reload|rebuild|propagate|showmem|estimate|reserve|get-default-crashkernel|"
    "reset-crashkernel|history|plan|why|check|config|dumps|test-target"
)
DEFAULT_CONFIG = "/etc/kdump.conf"


class _Parser(argparse.ArgumentParser):
    """Ends with status 1, as kdumpctl always did, where argparse has 2."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"{self.prog}: {message}\n")


def _count(word: str) -> int:
    if not word.isascii() or not word.isdigit() or not 0 < int(word) < 1 << 32:
        raise argparse.ArgumentTypeError(f"{word!r} is no number from 1 on")
    return int(word)


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    top = _Parser(prog="kdumpctl", description="Look after the crash kernel of this machine.")
    top.add_argument("--bus", default=os.environ.get("KDUMPD_BUS", ""), help="address of the message bus")
    verbs = top.add_subparsers(dest="verb", metavar=f"{{{VERBS}}}", required=True, parser_class=_Parser)

    status = verbs.add_parser(
        "status", help="say whether a crash would be captured; exit status 0, or 3 where not"
    )
    status.add_argument("--json", action="store_true", help="everything kdumpd knows, as JSON")
    verbs.add_parser("start", help="keep the machine armed from now on, and wait until it is")
    verbs.add_parser("stop", help="unload the crash kernel, and leave it so")
    verbs.add_parser("restart", help="as start, and load again what is loaded; never unloads")
    verbs.add_parser("reload", help="load again, as after a change of memory")
    verbs.add_parser("rebuild", help="build the image anew and load it")
    propagate = verbs.add_parser(
        "propagate", help="make a key where there is none, and give it to the ssh target"
    )
    propagate.add_argument("--file", default=DEFAULT_CONFIG, metavar="FILE", help="another kdump.conf")
    verbs.add_parser("showmem", help="say how much memory is reserved for the crash kernel")

    estimate = verbs.add_parser("estimate", help="say how much memory a capture needs, and what to reserve")
    estimate.add_argument("--json", action="store_true")

    history = verbs.add_parser("history", help="what kdumpd did and said so far, the newest last")
    history.add_argument("-n", "--number", type=_count, default=0, metavar="N", help="the last N entries")
    history.add_argument(
        "--json", action="store_true", help="everything that is kept of each, the newest first"
    )

    _add_reserve(verbs)

    for name, does in (
        ("plan", "show what would be built and loaded"),
        ("why", "show what differs from what is loaded"),
    ):
        verb = verbs.add_parser(name, help=f"{does}; touches nothing, needs no daemon")
        verb.add_argument("--root", default="/", metavar="DIR", help="a copy of another machine's files")
        verb.add_argument("--json", action="store_true")

    check = verbs.add_parser("check", help="check a configuration file; needs no daemon")
    check.add_argument("file", nargs="?", default=DEFAULT_CONFIG, metavar="FILE")
    check.add_argument("--json", action="store_true")

    config = verbs.add_parser("config", help="read or change the configuration")
    actions = config.add_subparsers(dest="action", required=True, parser_class=_Parser)
    for name, does in (
        ("get", "print the values of a directive"),
        ("set", "set a directive"),
        ("unset", "remove a directive"),
    ):
        action = actions.add_parser(name, help=does)
        action.add_argument("--file", default="", metavar="FILE", help="this file, without a daemon")
        action.add_argument("key")
        if name == "set":
            action.add_argument("values", nargs="+", metavar="value")
    export = actions.add_parser(
        "export", help="print a program that gives another machine this configuration"
    )
    export.add_argument("format", choices=("shell", "ansible"))
    text = actions.add_parser(
        "text", help="print the whole text, or replace it by that of FILE (- is the input)"
    )
    text.add_argument("new", nargs="?", default="", metavar="FILE")

    dumps = verbs.add_parser("dumps", help="list the dumps that were found, show, delete or check them")
    dumps.add_argument(
        "action", nargs="?", choices=("list", "show", "delete", "prune", "verify", "recover"), default="list"
    )
    dumps.add_argument(
        "words",
        nargs="*",
        metavar="dump",
        help="the directory of the dump, or the end of it; recover: a flattened stream and the vmcore to make of it",
    )
    dumps.add_argument("--json", action="store_true")
    dumps.add_argument("--dry-run", action="store_true", help="prune: only say what would go, and why")

    test = verbs.add_parser(
        "test-target", help="write a small file to the target as after a crash, and remove it"
    )
    test.add_argument("--json", action="store_true", help="the outcome as JSON")
    return top


def _add_reserve(verbs: argparse._SubParsersAction[_Parser]) -> None:
    """Of crashkernel=: by our names, and by those of kdump-utils."""
    kernels = "PATH|ALL|DEFAULT"
    mine = verbs.add_parser("reserve", help="say or set which crashkernel= the next boots have")
    actions = mine.add_subparsers(dest="action", required=True, parser_class=_Parser)
    actions.add_parser("get-default", help="print what is recommended for this machine")
    estimate = actions.add_parser("estimate", help="as kdumpctl estimate")
    estimate.add_argument("--json", action="store_true")
    setting = actions.add_parser("set", help="write it into the boot entries; shown before it is done")
    setting.add_argument(
        "value", nargs="?", default="", help="such as 256M; what is recommended where none is given"
    )
    setting.add_argument("--kernel", default="", metavar=kernels, help="whose entry; ALL where none is given")
    setting.add_argument("--dry-run", action="store_true", help="show it and do nothing")

    default = verbs.add_parser("get-default-crashkernel", help="as reserve get-default, without a line's end")
    default.add_argument("mode", nargs="?", choices=("kdump", "fadump"), default="kdump")
    reset = verbs.add_parser(
        "reset-crashkernel", help="set what is recommended, for the kernel that captures"
    )
    reset.add_argument("--kernel", default="", metavar=kernels)
    reset.add_argument(
        "--fadump", default="", metavar="on|off|nocma", help="on PPC only, and not done by kdumpd"
    )
    reset.add_argument("--reboot", action="store_true", help="and reboot at once where anything was changed")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 or 1; 3 for a `status` that finds nothing armed, 2 for an `estimate` without a plan."""
    words = tuple(sys.argv[1:] if argv is None else argv)
    if not words:
        print(f"Usage: kdumpctl {{{VERBS}}}", file=sys.stderr)
        return FAILED
    for stream in (sys.stdout, sys.stderr):  # a file's name may be bytes that the terminal has no letters for
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    asked = parser().parse_args(words)
    try:
        return _verb(asked)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # so that the exit does not complain again
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    except OSError as fault:
        print(f"kdump: {fault}", file=sys.stderr)
        return FAILED


def _verb(asked: argparse.Namespace) -> int:
    """What is heavy to import is imported only by the verb that needs it: `status` is to be quick."""
    match asked.verb:
        case "plan" | "why":
            from kdumpd import offline

            if not os.path.isdir(asked.root):
                print(f"kdump: {asked.root} is no directory", file=sys.stderr)
                return FAILED
            show = offline.plan if asked.verb == "plan" else offline.why
            answer = show(root=asked.root, as_json=asked.json)
            if answer.complaint:
                print(answer.complaint, file=sys.stderr)
            return _tell(answer.status, answer.output)
        case "check":
            from kdumpd import cli_files

            outcome = cli_files.check_file(asked.file, as_json=asked.json)
            return _tell(outcome.status, outcome.output)
        case "dumps" if asked.action == "recover":
            from kdumpd import cli_recover

            if len(asked.words) != 2:
                print("kdump: dumps recover wants the stream and the vmcore to make of it", file=sys.stderr)
                return FAILED
            return cli_recover.run(*asked.words)
        case "dumps":
            from kdumpd import cli_dumps

            return cli_dumps.run(asked)
        case "reserve" if asked.action == "estimate":
            from kdumpd import cli_estimate

            return cli_estimate.run(asked)
        case "reserve" | "get-default-crashkernel" | "reset-crashkernel":
            from kdumpd import cli_reserve

            return cli_reserve.run(asked)
        case "estimate":
            from kdumpd import cli_estimate

            return cli_estimate.run(asked)
        case "history":
            from kdumpd import cli_history

            return cli_history.run(asked)
        case "propagate":
            from kdumpd import cli_propagate

            return cli_propagate.run(asked.file)
        case "config" if getattr(asked, "file", ""):
            return _config_of_file(asked)
        case "config":
            from kdumpd import cli_config

            return cli_config.run(asked)
        case _:
            from kdumpd import cli_bus

            return cli_bus.run(asked)


def _config_of_file(asked: argparse.Namespace) -> int:
    from kdumpd import cli_files

    match asked.action:
        case "get":
            outcome = cli_files.get_directive(asked.file, asked.key)
        case "set":
            outcome = cli_files.set_directive(asked.file, asked.key, asked.values)
        case _:
            outcome = cli_files.unset_directive(asked.file, asked.key)
    return _tell(outcome.status, outcome.output)


def _tell(status: int, text: str) -> int:
    if text:
        print(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
