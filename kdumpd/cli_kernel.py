"""What the kernel itself says of the crash kernel, for the verbs that have an answer without the daemon."""

from __future__ import annotations

BEGINNINGS = ("/sys/kernel/kexec/crash_", "/sys/kernel/kexec_crash_")
"""What the names begin with: since Linux 6.19, and before."""


def is_loaded() -> bool:
    return _said("loaded") == "1"


def reserved_bytes() -> int:
    """0 also where the kernel knows nothing of it."""
    said = _said("size")
    return int(said) if said.isdecimal() else 0


def _said(name: str) -> str:
    for beginning in BEGINNINGS:
        try:
            with open(f"{beginning}{name}", encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            continue
    return ""
