"""Where log records go: the journal with their fields where systemd started us, else the error output."""

from __future__ import annotations

import logging
import os
import sys

IDENTIFIER = "kdumpd"


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
    root = logging.getLogger()
    root.setLevel(os.environ.get("KDUMPD_LOG_LEVEL", "INFO").upper())
    if "JOURNAL_STREAM" in os.environ:
        root.addHandler(JournalHandler())
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)


def _sent(text: str) -> str:
    """File names are bytes, and the journal takes UTF-8: a record that cannot be encoded would be lost."""
    return text.encode(errors="backslashreplace").decode()


def _priority(level: int) -> str:
    """syslog(3)'s numbers."""
    steps = ((logging.CRITICAL, "2"), (logging.ERROR, "3"), (logging.WARNING, "4"), (logging.INFO, "6"))
    return next((priority for least, priority in steps if level >= least), "7")
