"""The firmware that the drivers of the image load into their devices."""

from __future__ import annotations

from collections.abc import Iterator

from kdumpd.core.contents import Contents
from kdumpd.core.ground import Ground, image_modules
from kdumpd.core.problems import Problem, Severity


def put(base: Contents, ground: Ground) -> Iterator[Problem]:
    """Put it into the base, as far as this machine has it; without it many a card does not come up."""
    needed = set(ground.modules.closure(ground.needs.modules).load)
    for name in image_modules(ground):
        fed = base.inventory.firmware.get(ground.modules.path(name))
        if fed is None:
            continue
        if not fed.files and name in needed:
            yield Problem(
                code="firmware-missing",
                message=f"the module {name}, which the target needs, may load firmware ({fed.names[0]}), which is "
                "not installed",
                hint="if the device works without it now, it also does in the capture kernel",
                severity=Severity.WARNING,
            )
        for path in fed.files:
            base.add(path, said_by=Problem(code="file-unreadable", message=f"{path} is gone"))
