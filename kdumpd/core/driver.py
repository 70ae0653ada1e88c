"""The drivers that a device hangs on: its own, and those of its parents up to the root of the device tree."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """One parent of a device that has a driver; `module` is "" where the driver is built in or unknown."""

    name: str
    subsystem: str
    module: str = ""
    modalias: str = ""
