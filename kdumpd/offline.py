"""`kdumpctl plan` and `kdumpctl why`: what would be built and loaded on a machine, or on a copy of its files; touches nothing."""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple

from kdumpd.core import explain
from kdumpd.core.armed import Armed, is_what_was_loaded
from kdumpd.core.plan import FromHost, Json, Plan, Resolution, describe
from kdumpd.core.targets import where_to
from kdumpd.host.image import Store
from kdumpd.host.kexec import Kexec
from kdumpd.host.real import RealFiles, RealPrograms
from kdumpd.reading import Reading, read, tuning_of

OK = 0
FAILED = 1


class Answer(NamedTuple):
    """An exit status, what to print, and what to say beside it; the texts end without a line feed."""

    status: int
    output: str
    complaint: str


def plan(*, root: str = "/", as_json: bool = False) -> Answer:
    """The plan; status 1 where a problem stands in its way."""
    resolution = asyncio.run(read(RealFiles(root), RealPrograms(root))).resolution
    if as_json:
        return _answer(resolution, json.dumps(_as_json(resolution), indent=2, sort_keys=True))
    lines = _lines(resolution.plan) if resolution.plan is not None else []
    return _answer(resolution, "\n".join(lines), complaint=_problems(resolution))


def why(*, root: str = "/", as_json: bool = False) -> Answer:
    """In which respects the plan differs from what is loaded, or else from the last good one; status as of `plan`."""
    files, programs = RealFiles(root), RealPrograms(root)
    reading = asyncio.run(read(files, programs))
    before = _before(files, programs, reading)
    resolution = reading.resolution
    differences: tuple[str, ...] = ()
    plan, crash = resolution.plan, reading.machine.crash
    if plan is not None and before is not None and not is_what_was_loaded(plan, before, crash):
        differences = explain.why(before.description, describe(plan))
    if as_json:
        told = {
            "before": before.load if before is not None else None,
            "differences": list(differences),
            "problems": [describe(problem) for problem in resolution.problems],
        }
        return _answer(resolution, json.dumps(told, indent=2, sort_keys=True))
    said = "\n".join(differences) or "what is loaded is what the configuration says"
    if before is None:
        said = "kdumpd has loaded nothing yet: everything is to be built"
    elif not reading.machine.crash.loaded:
        said = "\n".join(("nothing is loaded; compared with the last good image:", *differences))
    return _answer(resolution, said if resolution.plan is not None else "", complaint=_problems(resolution))


def _answer(resolution: Resolution, output: str, *, complaint: str = "") -> Answer:
    return Answer(FAILED if resolution.plan is None else OK, output, complaint)


def _before(files: RealFiles, programs: RealPrograms, reading: Reading) -> Armed | None:
    armed = Kexec(files, programs).armed() if reading.machine.crash.loaded else None
    return armed or Store(files, folder=tuning_of(files).store).last_good()


def _lines(of: Plan) -> list[str]:
    base, overlay, load = of.base, of.overlay, of.load
    from_host = [item for item in (*base.items, *overlay.items) if isinstance(item, FromHost)]
    return [
        f"target       {where_to(of.target)}",
        f"engine       {base.engine}: {of.engine_reason}",
        f"kernel       {base.kernel_release} ({load.kernel_image})",
        f"command line {load.command_line}",
        f"kexec        {' '.join(load.kexec_flags)}",
        f"base         {of.base_fingerprint}: {len(base.modules)} modules, {len(base.items)} files",
        *(f"  module     {module.name} ({module.source})" for module in base.modules),
        f"overlay      {of.overlay_fingerprint}: {len(overlay.items)} files",
        *(f"  file       {item.path}" for item in from_host),
        f"load         {of.load_fingerprint}",
    ]


def _as_json(resolution: Resolution) -> Json:
    of = resolution.plan
    return {
        "plan": describe(of) if of is not None else None,
        "fingerprints": {
            "base": of.base_fingerprint,
            "overlay": of.overlay_fingerprint,
            "image": of.image_fingerprint,
            "load": of.load_fingerprint,
        }
        if of is not None
        else None,
        "problems": [describe(problem) for problem in resolution.problems],
    }


def _problems(resolution: Resolution) -> str:
    told = [f"kdump: {'' if problem.is_error else 'WARNING: '}{problem}" for problem in resolution.problems]
    return "\n".join(told)
