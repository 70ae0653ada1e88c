"""Which files the answer of a look hangs on: those it took, those it missed, and those that would take their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kdumpd.core import modules
from kdumpd.core.inventory import Inventory, Kind, Wants
from kdumpd.core.plan import FromHost, Plan

READ_ALWAYS = (
    *("/etc/crypttab", "/etc/fstab", "/etc/hostname", "/etc/localtime", "/etc/machine-id"),
    *("/proc/sys/kernel/hostname", "/proc/sys/kernel/kexec_load_disabled"),
    "/proc/sys/kernel/kexec_load_limit_panic",
)
"""By every look at a machine. inotify tells of what is written to files of sysctl(8), though not of sethostname(2)."""
LIBRARIES_CACHE = "/etc/ld.so.cache"
"""Written anew when libraries come or go: where a program finds those it was looked for in vain with."""


def watched(
    wants: Wants, inventory: Inventory, plan: Plan | None, *, search_path: Sequence[str]
) -> frozenset[str]:
    """Paths whose change may change the plan. Without one everything that was looked at may be what is to be mended."""
    return frozenset(
        {
            *wants.files,
            *wants.directories,
            *wants.trees,
            *modules.read_from(wants.modules_directory),
            *_first_on(search_path, wants.programs, inventory),
            *(path for fed in inventory.firmware.values() for path in fed.looked_for),
            *(inventory.files if plan is None else _taken(plan, inventory)),
            LIBRARIES_CACHE,
        }
    )


def _taken(plan: Plan, inventory: Inventory) -> Iterator[str]:
    """By the names under which they were asked for: another file may be put in the place of a link."""
    items = (*plan.base.items, *plan.overlay.items)
    sources = {item.source for item in items if isinstance(item, FromHost)}
    sources |= {source.path for source in plan.base.dracut_sources}
    sources |= {path for name, path in inventory.programs.items() if name == "kexec"}
    yield from sources
    for path, facts in inventory.files.items():
        if facts.kind is not Kind.FILE or {path, facts.real} & sources:
            yield path


def _first_on(search_path: Sequence[str], names: Iterable[str], inventory: Inventory) -> Iterator[str]:
    """Where a program would have to appear to be taken instead of the one that was found, if any was."""
    for name in names:
        found = inventory.programs.get(name, "")
        for folder in search_path:
            yield f"{folder}/{name}"
            if f"{folder}/{name}" == found:
                break
