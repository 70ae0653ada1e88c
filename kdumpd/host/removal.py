"""Takes a dump directory away: only one that is what it was when it was found, that nobody reads, whole or not at all."""

from __future__ import annotations

import logging
import re

from kdumpd.core.dumps import Dump, is_dump_name
from kdumpd.core.inventory import Kind
from kdumpd.core.machine import Mount
from kdumpd.core.problems import Problem, Trouble
from kdumpd.host.doors import Files
from kdumpd.host.folders import is_of_root

logger = logging.getLogger(__name__)

SUMMARY = "summary.json"
_HIDDEN = re.compile(r"\.(?P<name>.+)\.removed")


class Removals:
    """A directory goes under a hidden name first, in one step; what a daemon that was killed left so is swept away."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def is_read(self, dump: Dump) -> bool:
        """Whether anybody has one of its files open. What its file system does not tell counts as yes."""
        return bool(self._why_read(dump))

    def _why_read(self, dump: Dump) -> Problem | None:
        try:
            is_read = any(
                self._files.is_open(f"{dump.folder}/{name}")
                for name in self._files.names(dump.folder)
                if self._is_plain(f"{dump.folder}/{name}")
            )
        except OSError as fault:
            logger.info("whether %s is being read is not known: %s", dump.folder, fault.strerror)
            return _stays(dump, f"whether it is being read cannot be told here: {fault.strerror or fault}")
        return _stays(dump, "somebody is reading it", code="busy") if is_read else None

    def remove(self, dump: Dump, *, mounts: tuple[Mount, ...], must_be_ours: bool = True) -> None:
        """Raises Trouble where it stays: it is being read, is no dump directory any more, or cannot be written to.

        `must_be_ours`: without the agent's summary in it, all of it root's, it stays.
        """
        folder = dump.folder
        above, _, name = folder.rpartition("/")
        if not folder or not is_dump_name(name):
            raise Trouble(_stays(dump, "it is not a directory that this machine can reach now"))
        if any(mount.target == folder or mount.target.startswith(f"{folder}/") for mount in mounts):
            raise Trouble(_stays(dump, "something is mounted in it"))
        before = self._files.stat(folder)
        if self._files.link(folder) or before.kind is not Kind.DIRECTORY:
            raise Trouble(_stays(dump, "it is not a directory any more"))
        if must_be_ours and not self._is_plain(f"{folder}/{SUMMARY}"):
            raise Trouble(_stays(dump, f"it has no {SUMMARY}"))
        if must_be_ours and not (is_of_root(before) and is_of_root(self._files.stat(f"{folder}/{SUMMARY}"))):
            raise Trouble(_stays(dump, "somebody else than root may write in it"))
        reading = self._why_read(dump)
        if reading is not None:
            raise Trouble(reading)
        hidden = f"{above}/.{name}.removed"
        try:
            self._files.remove(hidden)
            self._files.rename(folder, hidden)
            # Whoever may write beside it may have put something else there since the look. Under the hidden name a
            # link stays a link, and is not followed.
            if self._files.link(hidden) or self._files.stat(hidden).inode != before.inode:
                self._files.rename(hidden, folder)
                raise Trouble(_stays(dump, "it was exchanged meanwhile"))
            self._files.remove(hidden)
            self._files.sync(above)
        except OSError as fault:
            raise Trouble(_stays(dump, fault.strerror or str(fault))) from fault

    def sweep(self, above: str) -> None:
        """Finish what was begun in the directory `above`."""
        try:
            for name in self._files.names(above):
                found = _HIDDEN.fullmatch(name)
                if found is not None and is_dump_name(found["name"]):
                    self._files.remove(f"{above}/{name}")
        except OSError as fault:
            logger.warning("%s cannot be swept: %s", above, fault)

    def free_bytes(self, above: str) -> int:
        return self._files.free_bytes(above)

    def _is_plain(self, path: str) -> bool:
        return not self._files.link(path) and self._files.stat(path).kind is Kind.FILE


def _stays(dump: Dump, why: str, *, code: str = "dump-stays") -> Problem:
    return Problem(code=code, message=f"the dump {dump.path} stays: {why}")
