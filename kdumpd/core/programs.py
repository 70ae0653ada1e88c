"""Which programs of the host the image has: the collector, what the layers need, and what the agent runs on."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from kdumpd import agent
from kdumpd.core import dracut, packages
from kdumpd.core.collector import is_makedumpfile
from kdumpd.core.config import Config
from kdumpd.core.contents import SKELETON, Contents, merged
from kdumpd.core.inventory import Inventory, Kind
from kdumpd.core.located import KDUMP_CONF
from kdumpd.core.needs import Needs
from kdumpd.core.plan import Engine, Link, Packing
from kdumpd.core.problems import Problem

MAKEDUMPFILE = "makedumpfile"
"""It saves the kernel log apart from the memory, whatever the core collector is: the agent looks for it on PATH, and
goes on without it where there is none."""

OUTSIDE = frozenset({"kexec", "zstd"})
"""Needed outside the image, zstd not always."""

_ON_PATH = (f"/usr/bin/{MAKEDUMPFILE}", f"/usr/sbin/{MAKEDUMPFILE}")


def wanted(config: Config, needs: Needs) -> frozenset[str]:
    """Names to be looked up."""
    collector = config.core_collector[0]
    return frozenset(
        {
            *("busybox", *agent.PROGRAMS, *agent.WELCOME_PROGRAMS, "env", *OUTSIDE),
            *needs.programs,
            *needs.applets,
            *(MAKEDUMPFILE, *([] if "/" in collector else [collector])),
        }
    )


def missing_outside(
    inventory: Inventory, *, packing: Packing, modules: Collection[str] = ()
) -> Iterable[Problem]:
    """`modules` are the files of those that engine direct puts in."""
    if "kexec" not in inventory.programs:
        yield packages.missing("kexec", why="it loads the crash kernel")
    if "zstd" in inventory.programs:
        return
    if packing is Packing.ZSTD:
        yield packages.missing("zstd", why="it packs the image")
    elif any(path.endswith(".zst") for path in modules):
        yield packages.missing("zstd", why="it unpacks the kernel's modules")


def of_base(config: Config, inventory: Inventory, needs: Needs, engine: Engine) -> Contents:
    """The collector, what the layers need, and busybox for all else, or where there is none the host's own."""
    base = Contents(inventory=inventory)
    # dracut takes the machine's own configuration of the layers, and udev brings them up.
    asked_for = (*needs.programs, config.core_collector[0])
    base.put(
        dracut.items(inventory, asked_for=asked_for) if engine is Engine.DRACUT else (*SKELETON, *needs.files)
    )
    _put(base, config.core_collector[0], why="it is the core collector", config=config, key="core_collector")
    _put_makedumpfile(base, config)
    for name in needs.programs:
        _put(base, name, why="a layer below the target needs it", config=config)
    if "busybox" in inventory.programs:
        _put(base, "busybox", why="the agent runs on it", config=config)
        if engine is Engine.DRACUT:
            return base
        busybox = merged(inventory.programs["busybox"])
        base.put(
            Link(path=f"/usr/{folder}/{name}", target=busybox)
            for folder, names in packages.APPLETS.items()
            for name in names
            if not {f"/usr/bin/{name}", f"/usr/sbin/{name}"} & base.paths
        )
        return base
    for name in (*agent.PROGRAMS, *needs.applets):
        _put(base, name, why="the agent needs it; busybox would do as well", config=config)
    for name in (*agent.WELCOME_PROGRAMS, "env"):
        if name in inventory.programs:
            _put(base, name, why="", config=config)
    return base


def _put(base: Contents, name: str, *, why: str, config: Config, key: str = "") -> None:
    path = name if "/" in name else base.inventory.programs.get(name, "")
    line = config.lines.get(key, 0)
    problem = packages.missing(name, why=why, file=KDUMP_CONF, line=line, key=key)
    if not path:
        base.problems[problem.code, name] = problem
        return
    base.add(path, said_by=problem)


def _put_makedumpfile(base: Contents, config: Config) -> None:
    """On PATH beside the collector. One that kdump.conf names by its path is the one that is meant here too."""
    collector = config.core_collector[0]
    if is_makedumpfile(config.core_collector):
        named = merged(collector)
        if collector.startswith("/") and named in base.paths and named not in _ON_PATH:
            base.put([Link(path=_ON_PATH[0], target=named)])
        return
    path = base.inventory.programs.get(MAKEDUMPFILE, "")
    facts = base.inventory.facts(path)
    # One that could not run is left out: the dump does not wait for it.
    if facts.kind is Kind.FILE and not facts.unreadable and not facts.missing_libraries:
        base.add(path, said_by=Problem(code="program-missing", message=f"{path} is gone"))
