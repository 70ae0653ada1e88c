"""Reads what the firmware kept of crashes: /sys/fs/pstore, and where systemd-pstore moves it at the next boot."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from kdumpd.core.inventory import Kind
from kdumpd.core.last_words import call_trace, panic_line
from kdumpd.core.pstore import PstoreRecord
from kdumpd.host.doors import Files

logger = logging.getLogger(__name__)

FOLDERS = ("/sys/fs/pstore", "/var/lib/systemd/pstore")
DEPTH = 3  # systemd-pstore makes a directory for each record, and one in it for each of its counts
RECORDS_AT_MOST = 256
RECORD_BYTES = 1 << 18  # a record has some kilobytes; what systemd-pstore puts together, some dozens


class Pstore:
    """What was read is remembered by name, time and size: it does not change."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[tuple[str, int, int], PstoreRecord] = {}

    def records(self) -> tuple[PstoreRecord, ...]:
        """Raises nothing: what cannot be read tells nothing."""
        found: dict[tuple[str, int, int], PstoreRecord] = {}
        for folder in FOLDERS:
            for path in self._paths(folder, depth=DEPTH):
                if len(found) == RECORDS_AT_MOST:
                    break
                try:
                    facts = self._files.stat(path)
                    key = path, facts.modified_us, facts.size_bytes
                    found[key] = self._known.get(key) or self._read(path, facts.modified_us)
                except OSError as fault:
                    logger.debug("%s cannot be read: %s", path, fault)
        self._known = found
        return tuple(found.values())

    def _paths(self, folder: str, *, depth: int) -> Iterator[str]:
        """Plain files, the newest names first: they begin with a time."""
        try:
            names = self._files.names(folder)
        except OSError:
            return
        for name in reversed(names):
            path = f"{folder}/{name}"
            kind = Kind.MISSING if self._files.link(path) else self._files.stat(path).kind
            if kind is Kind.FILE:
                yield path
            elif kind is Kind.DIRECTORY and depth > 1:
                yield from self._paths(path, depth=depth - 1)

    def _read(self, path: str, modified_us: int) -> PstoreRecord:
        text = self._files.read_bytes(path, limit=RECORD_BYTES).decode("utf-8", "replace")
        return PstoreRecord(
            path=path,
            modified_us=modified_us,
            reason=panic_line(text),
            call_trace="\n".join(call_trace(text)),
        )
