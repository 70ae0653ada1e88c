"""The chain of drivers that a device hangs on, as /sys/devices has it."""

from __future__ import annotations

from collections.abc import Iterator

from kdumpd.core.driver import Driver
from kdumpd.host.doors import Files, text


def drivers_from(files: Files, path: str, parents: dict[str, Driver | None]) -> Iterator[Driver]:
    """Of the device at `path` and of every parent that has one, from the device up; `parents` remembers what was read."""
    parent = path
    while parent.count("/") > 3:  # below /sys/devices/<root of a tree>
        if parent not in parents:
            parents[parent] = _driver(files, parent)
        driver = parents[parent]
        if driver is not None:
            yield driver
        parent = parent.rpartition("/")[0]


def _driver(files: Files, path: str) -> Driver | None:
    driver = files.link(f"{path}/driver")
    if not driver:
        return None
    module = files.link(f"{path}/driver/module").rpartition("/")[2]
    # A built-in driver has a directory below /sys/module as well, but no state of loading.
    is_loadable = bool(module) and files.exists(f"/sys/module/{module}/initstate")
    return Driver(
        name=driver.rpartition("/")[2],
        subsystem=files.link(f"{path}/subsystem").rpartition("/")[2],
        module=module if is_loadable else "",
        modalias=text(files, f"{path}/modalias"),
    )
