"""kdumpctl: the administrator's words for kdumpd, and its exit statuses."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from kdumpd.cli_screen import Tone, complain, legible, say, screen
from kdumpd.cli_words import FAILED, parser, usage


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 or 1; 3 for a `status` that finds nothing armed; 2 as kdumpctl(8) says of single verbs."""
    words = tuple(sys.argv[1:] if argv is None else argv)
    if not words:
        print(usage(), file=sys.stderr)
        return FAILED
    for stream in (sys.stdout, sys.stderr):  # a file's name may be bytes that the terminal has no letters for
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    known = parser()
    asked, unknown = known.parse_known_args(words)
    if unknown:
        known.error(f"{unknown[0]} not recognized")
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
        complain(str(fault))
        return FAILED


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

            if len(asked.words) != 2:
                complain("dumps recover needs two names: the stream to read and the vmcore to write")
                return FAILED
            return cli_recover.run(*asked.words, as_json=asked.json)
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
    if not os.path.isdir(asked.root):
        complain(f"{asked.root} is not a directory")
        return FAILED
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
