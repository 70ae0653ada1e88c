"""What the kernel's uevents say, and which of them are about processors and memory."""

from __future__ import annotations

from collections.abc import Mapping

ABOUT_LAYOUT = frozenset({"cpu", "memory"})
"""Subsystems whose devices a crash kernel's headers describe (Documentation/admin-guide/kdump/kdump.rst)."""


def parse(data: bytes) -> Mapping[str, str]:
    """The variables of one message of lib/kobject_uevent.c: `ACTION@DEVPATH`, then NAME=VALUE, each ended by a zero.

    Empty for anything else; udevd's own messages, which begin with `libudev`, among it.
    """
    head, *rest = data.split(b"\0")
    if b"@" not in head:
        return {}
    pairs = (each.decode("utf-8", "replace").partition("=") for each in rest)
    return {name: value for name, equals, value in pairs if equals}


def news(data: bytes) -> str:
    """Why to look, where a uevent is about processors or memory; "" for all others."""
    variables = parse(data)
    subsystem = variables.get("SUBSYSTEM", "")
    if subsystem not in ABOUT_LAYOUT:
        return ""
    device = variables.get("DEVPATH", "").rpartition("/")[2]
    return f"the kernel says {variables.get('ACTION', 'change')} of {device or subsystem}"
