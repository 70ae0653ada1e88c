"""kdumpctl: the administrator's words for kdumpd, and its exit statuses."""

from __future__ import annotations

import kdumpd.lean  # noqa: F401  # before all others: see there

# isort: split
import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Sequence

from kdumpd.cli_screen import Tone, complain, complain_of, legible, say, screen
from kdumpd.cli_words import FAILED, innermost, parser


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 or 1; 3 for a `status` that finds nothing armed; 2 as kdumpctl(8) says of single verbs.

    Ended by Ctrl-C, or because nobody reads its output any more, it ends as a signal ends a program.
    """
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):  # a file's name may be bytes that the terminal has no letters for
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _status_of(tuple(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_output()
        return _ended_by(signal.SIGPIPE)
    except KeyboardInterrupt:
        return _ended_by(signal.SIGINT)
    except OSError as fault:
        try:
            sys.stdout.flush()  # what was said before
        except OSError:
            _give_up_output()
        complain_of(fault)
        return FAILED
    return status


def _status_of(words: Sequence[str]) -> int:
    known = parser()
    if not words:
        print(known.usage_line, file=sys.stderr)
        return FAILED
    try:
        asked, unknown = known.parse_known_args(words)
        if unknown:
            innermost(known, asked).error(f"{unknown[0]} not recognized")
    except SystemExit as end:  # --help and --version end like this too
        return end.code if isinstance(end.code, int) else FAILED
    root = getattr(asked, "root", "/")
    if not os.path.isdir(root):
        complain(f"{root} is not a directory")
        return FAILED
    return _verb(asked)


def _open_what_is_closed() -> None:
    """So that no other file of ours gets the number of a closed stream, and each can be asked for what it is.

    The input is then one that cannot be read: its end would pass for an empty text.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # to the end
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _give_up_output() -> None:
    """What is not written yet goes nowhere, so that the exit does not complain of it again."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _ended_by(number: signal.Signals) -> int:
    """A shell ends its loop on Ctrl-C only where the program was ended by the signal itself."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    return 128 + number  # where the signal is blocked


def _verb(asked: argparse.Namespace) -> int:
    """What is heavy to import is imported only by the verb that needs it: `status` is to be quick."""
    match asked.verb:
        case "plan" | "why" | "setup-crypttab":
            return _offline(asked)
        case "import":
            from kdumpd import cli_import

            return cli_import.run(asked)
        case "doctor":
            from kdumpd import cli_doctor

            return cli_doctor.run(asked)
        case "check":
            from kdumpd import cli_files

            outcome = cli_files.check_file(asked.file, as_json=asked.json)
            return _tell(outcome.status, outcome.output)
        case "dumps" if asked.action == "recover":
            from kdumpd import cli_recover

            return cli_recover.run(asked.stream, asked.core, as_json=asked.json)
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
        case "test-crash" | "test":
            from kdumpd import cli_test_crash

            return cli_test_crash.run(asked)
        case "propagate":
            from kdumpd import cli_propagate

            return cli_propagate.run(asked.file, as_json=asked.json)
        case "config" if asked.action == "diff":
            from kdumpd import cli_diff

            return cli_diff.run(asked)
        case "config" if asked.action == "edit":
            from kdumpd import cli_edit

            return cli_edit.run(asked)
        case "config" if getattr(asked, "file", ""):
            return _config_of_file(asked)
        case "config":
            from kdumpd import cli_config

            return cli_config.run(asked)
        case "watch":
            from kdumpd import cli_watch

            return cli_watch.run(asked)
        case "log":
            from kdumpd import cli_log

            return cli_log.run(asked)
        case "status":
            from kdumpd import cli_status

            return cli_status.run(asked)
        case _:
            from kdumpd import cli_bus

            return cli_bus.run(asked)


def _offline(asked: argparse.Namespace) -> int:
    if asked.verb == "setup-crypttab":
        from kdumpd import crypttab

        answer = crypttab.set_up(root=asked.root, is_dry=asked.dry_run, as_json=asked.json)
    else:
        from kdumpd import offline

        show = offline.plan if asked.verb == "plan" else offline.why
        answer = show(root=asked.root, as_json=asked.json)
    if answer.complaint:
        print(legible(answer.complaint), file=sys.stderr)
    if answer.rows:
        on = screen()
        print("\n".join(on.rows([(label, text, Tone.PLAIN) for label, text in answer.rows])))
    return _tell(answer.status, answer.output)


def _config_of_file(asked: argparse.Namespace) -> int:
    from kdumpd import cli_files

    match asked.action:
        case "get":
            outcome = cli_files.get_directive(asked.file, asked.key, as_json=asked.json)
        case "set":
            outcome = cli_files.set_directive(asked.file, asked.key, asked.values, as_json=asked.json)
        case _:
            outcome = cli_files.unset_directive(asked.file, asked.key, as_json=asked.json)
    return _tell(outcome.status, outcome.output)


def _tell(status: int, text: str) -> int:
    if text:
        say(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
