"""Keeps what stood in kdump.conf before a write that is not yet armed, for root's eyes alone, until it is or is taken back."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pydantic import RootModel, ValidationError

from kdumpd.core.unconfirmed import Unconfirmed
from kdumpd.host.doors import Files

logger = logging.getLogger(__name__)


class _Known(RootModel[tuple[Unconfirmed, ...]]):
    """The file."""


class UnconfirmedFile:
    """All of it touches the disk: call it in a thread."""

    def __init__(self, files: Files, *, path: str) -> None:
        self._files = files
        self._path = path

    def read(self) -> tuple[Unconfirmed, ...]:
        """The oldest first; none where the file cannot be read, which is said."""
        try:
            return _Known.model_validate_json(self._files.read_bytes(self._path)).root
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError) as fault:
            logger.warning("%s cannot be read: a change that fails is not taken back: %s", self._path, fault)
            return ()

    def write(self, known: Sequence[Unconfirmed]) -> None:
        """No file where nothing is to be remembered. What cannot be written is said, and keeps nobody from a change."""
        try:
            if not known:
                self._files.remove(self._path)
                return
            self._files.make_folder(self._path.rpartition("/")[0])
            self._files.write(self._path, _Known(tuple(known)).model_dump_json().encode())
        except OSError as fault:
            logger.warning(
                "%s cannot be written: after a restart a change that fails is not taken back: %s",
                self._path,
                fault,
            )
