"""What kdumpd makes of each machine, in the few words of CASE/expect/plan.json. To write those words anew:

    python tests/machines/expect.py [CASE ...]

and read the difference that git shows before it is committed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kdumpd.core import config, environment, locate, sysconfig
from kdumpd.core.config import Config
from kdumpd.core.document import parse
from kdumpd.core.inventory import Inventory
from kdumpd.core.machine import Machine
from kdumpd.core.modules import ModuleIndex
from kdumpd.core.plan import FromHost, Json, OverlayPlan, Plan, Resolution, Written
from kdumpd.core.resolve import resolve, wants
from kdumpd.core.sysconfig import Sysconfig
from kdumpd.core.tuning import Tuning
from kdumpd.host import network, observe
from kdumpd.host.real import RealFiles, RealPrograms
from tests.machines.roots import HERE, unpack

CASES = tuple(sorted(path.parent.name for path in HERE.glob("*/root.txt")))


class Looked:
    """A machine with its configuration, as far as a plan needs them."""

    def __init__(
        self,
        *,
        config: Config,
        sysconfig: Sysconfig,
        machine: Machine,
        modules: ModuleIndex,
        inventory: Inventory,
        tuning: Tuning | None = None,
    ) -> None:
        self.config = config
        self.sysconfig = sysconfig
        self.tuning = tuning or Tuning()
        self.machine = machine
        self.modules = modules
        self.inventory = inventory

    def resolve(self) -> Resolution:
        return resolve(
            config=self.config,
            sysconfig=self.sysconfig,
            tuning=self.tuning,
            machine=self.machine,
            modules=self.modules,
            inventory=self.inventory,
        )


async def look(root: Path, *, conf: str | None = None) -> Looked:
    """Through the real doors; `conf` instead of the root's own kdump.conf."""
    files, programs = RealFiles(str(root)), RealPrograms(str(root))
    text = conf if conf is not None else _text(files, "/etc/kdump.conf")
    reading = config.read(parse(text), file="/etc/kdump.conf")
    settings = sysconfig.read(
        _text(files, "/etc/sysconfig/kdump") or _text(files, "/etc/default/kdump"), file="/etc/default/kdump"
    )
    if reading.config is None or settings.sysconfig is None:
        raise ValueError(f"the configuration itself is wrong: {reading.problems} {settings.problems}")
    machine = await observe.machine(files, programs)
    machine = observe.followed(files, machine, locate.paths(reading.config, machine))
    tuning = Tuning()
    first = wants(reading.config, settings.sysconfig, tuning, machine)
    if first.hosts:
        machine = replace(machine, network=await network.look(files, programs, first.hosts))
    modules = observe.kernel_modules(files, first.modules_directory)
    second = wants(reading.config, settings.sysconfig, tuning, machine, modules)
    return Looked(
        config=reading.config,
        sysconfig=settings.sysconfig,
        machine=machine,
        modules=modules,
        inventory=await observe.inventory(files, programs, second),
        tuning=tuning,
    )


def told(resolution: Resolution) -> dict[str, Json]:
    """The outcome in few words; fingerprints are left out, for they move with every edit of the agent."""
    found: dict[str, Json] = {}
    if resolution.plan is not None:
        found = _plan(resolution.plan)
    found["problems"] = [f"{problem.severity} {problem.code}: {problem}" for problem in resolution.problems]
    return found


def written(overlay: OverlayPlan, path: str) -> str:
    return next(item.text for item in overlay.items if isinstance(item, Written) and item.path == path)


def _plan(plan: Plan) -> dict[str, Json]:
    told_agent = environment.parse(written(plan.overlay, "/kdump/plan.env"))
    modules = environment.items(told_agent["plan_modules"])
    names = [path.rpartition("/")[2].removesuffix(".ko") for path in modules[::2]]
    links = environment.items(told_agent["plan_network"])
    return {
        **({"network": list(links)} if links else {}),
        "target": dict(plan.target),
        "mount_options": told_agent["plan_target_mount_options"],
        **_of_server(told_agent),
        "root": f"{told_agent['plan_root_device']} {told_agent['plan_root_directory']}".strip(),
        "engine": plan.engine_reason,
        "modules": [f"{name} {options}".strip() for name, options in zip(names, modules[1::2], strict=True)],
        "modules_not_loaded": sorted(
            {module.path.rpartition("/")[2].removesuffix(".ko") for module in plan.base.modules} - set(names)
        ),
        "programs": [item.path for item in plan.base.items if isinstance(item, FromHost)],
        "bring_up": list(environment.items(told_agent["plan_bring_up"])),
        "overlay": [item.path for item in plan.overlay.items if isinstance(item, FromHost)],
        "kernel": plan.load.kernel_image,
        "kexec_flags": list(plan.load.kexec_flags),
        "layout": plan.load.layout,
        "command_line": plan.load.command_line.rpartition(" kdumpd.id=")[0],
    }


def _of_server(told_agent: Mapping[str, str]) -> dict[str, Json]:
    """How an export is mounted, where the dump goes to one."""
    tries = environment.items(told_agent["plan_mount_tries"])
    each = zip(tries[1::3], tries[2::3], strict=True)
    return {"mounts": [f"{words}: {options}" for options, words in each]} if tries else {}


def _text(files: RealFiles, path: str) -> str:
    return files.read_text(path) if files.exists(path) else ""


def main(cases: list[str]) -> None:
    for case in cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            unpack(case, Path(folder))
            outcome = told(asyncio.run(look(Path(folder))).resolve())
        expected = HERE / case / "expect" / "plan.json"
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(json.dumps(outcome, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
