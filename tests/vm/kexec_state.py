"""Knows, from outside a machine, whether its kernel has a crash image and whether a kexec call is under way."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.machine import Machine

_LOCK, _IMAGE = "__kexec_lock", "kexec_crash_image"


@dataclass(frozen=True, slots=True, kw_only=True)
class KexecState:
    """The two words that decide whether a panic starts the capture kernel.

    `__crash_kexec` (kernel/kexec_core.c) takes __kexec_lock or gives up, and then looks whether kexec_crash_image is
    there. A load or unload holds that lock from its first look to its end, and has the old image freed in between.
    """

    is_locked: bool
    has_image: bool

    @property
    def is_inside_a_call(self) -> bool:
        """A load has freed the old image and not put the new one in its place."""
        return self.is_locked and not self.has_image

    @property
    def would_capture(self) -> bool:
        return self.has_image and not self.is_locked

    def __str__(self) -> str:
        if self.would_capture:
            return "loaded"
        if self.is_inside_a_call:
            return "inside a load call"
        return "loaded, the lock held" if self.has_image else "nothing loaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class KexecWords:
    """Where the two words lie in the memory of one boot."""

    machine: Machine
    lock: int
    image: int

    @classmethod
    def of(cls, machine: Machine) -> KexecWords:
        """Asks the running guest, whose kernel lies elsewhere after each boot."""
        lines = machine.sh(f"grep -wE '{_LOCK}|{_IMAGE}' /proc/kallsyms").splitlines()
        addresses = {line.split()[2]: int(line.split()[0], 16) for line in lines}
        assert all(addresses.get(name) for name in (_LOCK, _IMAGE)), lines
        return cls(machine=machine, lock=addresses[_LOCK], image=addresses[_IMAGE])

    def read(self) -> KexecState:
        """The state; of a moment only while the machine stands still."""
        return KexecState(
            is_locked=self._word(self.lock, size=4) != 0, has_image=self._word(self.image, size=8) != 0
        )

    def _word(self, address: int, *, size: int) -> int:
        path = self.machine.directory / "word"
        # By the page tables of the first processor: without page table isolation (mitigations=off) they hold the
        # kernel even while a program runs.
        # QMP knows signed numbers only.
        place = {"val": address - (1 << 64), "size": size}
        self.machine.qmp.ask("memsave", {**place, "filename": str(path), "cpu-index": 0})
        return int.from_bytes(path.read_bytes(), "little")


@contextlib.contextmanager
def standing_still(machine: Machine) -> Iterator[None]:
    """No processor of the machine runs in here."""
    machine.qmp.ask("stop")
    try:
        yield
    finally:
        machine.qmp.ask("cont")
