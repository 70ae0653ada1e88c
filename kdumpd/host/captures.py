"""Remembers what captures took of their memory, so that what the next one needs is known and not guessed."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pydantic import RootModel, ValidationError

from kdumpd.core.estimate import Capture, learned
from kdumpd.host.doors import Files

logger = logging.getLogger(__name__)


class _Known(RootModel[tuple[Capture, ...]]):
    """The file."""


class Captures:
    """The last ones, in one file of the store. One that cannot be read is as good as none: it is only measured again."""

    def __init__(self, files: Files, *, path: str) -> None:
        self._files = files
        self._path = path
        self.known: tuple[Capture, ...] = self._read()
        """The oldest first."""

    def learn(self, found: Iterable[Capture]) -> bool:
        """Whether anything of `found` was new. Writes: call it in a thread."""
        known = learned(self.known, found)
        if known == self.known:
            return False
        self.known = known
        try:
            self._files.make_folder(self._path.rpartition("/")[0])
            self._files.write(self._path, _Known(known).model_dump_json(indent=1).encode())
        except OSError as fault:
            logger.warning(
                "%s cannot be written: what captures needed is guessed again: %s", self._path, fault
            )
        return True

    def _read(self) -> tuple[Capture, ...]:
        try:
            return _Known.model_validate_json(self._files.read_bytes(self._path)).root
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError, ValueError) as fault:
            logger.warning("%s cannot be read: what captures needed is guessed: %s", self._path, fault)
            return ()
