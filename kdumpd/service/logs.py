"""Where log records go: the journal with their fields where systemd started us, else the error output."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

IDENTIFIER = "kdumpd"
LEVELS: Mapping[str, int] = MappingProxyType(
    {
        "debug": logging.DEBUG,
        "info": logging.INFO,
        "notice": logging.INFO + 5,
        "warning": logging.WARNING,
        "err": logging.ERROR,
        "crit": logging.CRITICAL,
        "alert": logging.CRITICAL + 10,
        "emerg": logging.CRITICAL + 20,
    }
)
"""syslog(3)'s words, as org.freedesktop.LogControl1(5) has them."""
JOURNAL, CONSOLE, NOWHERE = "journal", "console", "null"
_JOURNAL_SOCKET = "/run/systemd/journal/socket"
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JournalHandler(logging.Handler):
    """Sends the message, and every field of `extra` whose name is in capitals."""

    def emit(self, record: logging.LogRecord) -> None:
        from systemd import journal

        try:
            fields = {name: _sent(str(v)) for name, v in vars(record).items() if name.isupper() and v}
            journal.send(
                _sent(self.format(record)),
                PRIORITY=_priority(record.levelno),
                SYSLOG_IDENTIFIER=IDENTIFIER,
                LOGGER=record.name,
                CODE_FILE=record.pathname,
                CODE_LINE=record.lineno,
                CODE_FUNC=record.funcName,
                **fields,
            )
        except Exception:  # noqa: BLE001  # as every handler of the standard library does: logging must not end us
            self.handleError(record)


def begin() -> None:
    """Log from INFO on, or from what KDUMPD_LOG_LEVEL names."""
    logging.getLogger().setLevel(os.environ.get("KDUMPD_LOG_LEVEL", "INFO").upper())
    set_target(JOURNAL if "JOURNAL_STREAM" in os.environ else CONSOLE)


def level() -> str:
    """The word for the least that is logged."""
    least = logging.getLogger().level
    return max((word for word in LEVELS if LEVELS[word] <= least), key=LEVELS.__getitem__, default="debug")


def set_level(word: str) -> None:
    """`word` is among LEVELS."""
    logging.getLogger().setLevel(LEVELS[word])


def targets() -> tuple[str, ...]:
    """Where records can go on this machine."""
    return (*((JOURNAL,) if os.path.exists(_JOURNAL_SOCKET) else ()), CONSOLE, NOWHERE)


def target() -> str:
    """Where they go now."""
    return next((str(handler.name) for handler in _ours()), NOWHERE)


def set_target(word: str) -> None:
    """From now on there and nowhere else."""
    root = logging.getLogger()
    for handler in _ours():
        root.removeHandler(handler)
    chosen = _handler(word)
    chosen.name = word
    root.addHandler(chosen)


def _ours() -> list[logging.Handler]:
    known = {JOURNAL, CONSOLE, NOWHERE}
    return [handler for handler in logging.getLogger().handlers if handler.name in known]


def _handler(word: str) -> logging.Handler:
    match word:
        case "journal":
            return JournalHandler()
        case "console":
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter(_FORMAT))
            return handler
        case _:
            return logging.NullHandler()


def _sent(text: str) -> str:
    """File names are bytes, and the journal takes UTF-8: a record that cannot be encoded would be lost."""
    return text.encode(errors="backslashreplace").decode()


def _priority(level: int) -> str:
    """syslog(3)'s numbers."""
    steps = ((logging.CRITICAL, "2"), (logging.ERROR, "3"), (logging.WARNING, "4"), (logging.INFO, "6"))
    return next((priority for least, priority in steps if level >= least), "7")
