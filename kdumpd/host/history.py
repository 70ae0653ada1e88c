"""Keeps the history in one private file of the store: a line is appended and synced, so a killed daemon loses the last at most."""

from __future__ import annotations

from collections.abc import Iterable

from kdumpd.core import history
from kdumpd.core.history import Entry
from kdumpd.host.doors import Files

LARGEST_BYTES = 8 << 20  # nothing of ours is ever so large


class HistoryFile:
    """All of it reads or writes: call it in a thread. Raises OSError."""

    def __init__(self, files: Files, *, path: str) -> None:
        self._files = files
        self._path = path

    def read(self) -> tuple[Entry, ...]:
        """The oldest first."""
        return history.read(self._data())

    def append(self, entries: Iterable[Entry]) -> None:
        before = self._data()
        added = tuple(entries)
        if history.is_to_be_written_anew(before):
            self._files.write(self._path, history.lines((*history.read(before), *added)[-history.KEPT :]))
            return
        self._files.make_folder(self._path.rpartition("/")[0])
        self._files.append(self._path, history.lines(added))

    def _data(self) -> bytes:
        try:
            return self._files.read_bytes(self._path, limit=LARGEST_BYTES)
        except FileNotFoundError:
            return b""
