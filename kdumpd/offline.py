"""`kdumpctl plan`, `why` and `config diff`: what would be built and loaded on a machine, or on a copy of its files; touches nothing."""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple

from kdumpd.core import document, explain
from kdumpd.core.armed import Armed, is_what_was_loaded
from kdumpd.core.comparing import Change, changes
from kdumpd.core.located import KDUMP_CONF
from kdumpd.core.machine import CrashKernel
from kdumpd.core.plan import FromHost, Json, Plan, Resolution, describe
from kdumpd.core.targets import where_to
from kdumpd.host.image import Store
from kdumpd.host.kexec import Kexec
from kdumpd.host.real import RealFiles, RealPrograms
from kdumpd.reading import Reading, read, tuning_of

OK = 0
FAILED = 1


class Answer(NamedTuple):
    """An exit status, what to print, and what to say beside it; the texts end without a line feed.

    What has labels is in `rows` instead of `output`.
    """

    status: int
    output: str
    complaint: str
    rows: tuple[tuple[str, str], ...] = ()


def plan(*, root: str = "/", as_json: bool = False) -> Answer:
    """The plan; status 1 where a problem stands in its way."""
    resolution = asyncio.run(read(RealFiles(root), RealPrograms(root))).resolution
    if as_json:
        return _answer(resolution, json.dumps(_as_json(resolution), indent=2, sort_keys=True))
    rows = _rows(resolution.plan) if resolution.plan is not None else ()
    return _answer(resolution, "", complaint=_problems(resolution))._replace(rows=rows)


def why(*, root: str = "/", as_json: bool = False) -> Answer:
    """In which respects the plan differs from what is loaded, or else from the last good one; status as of `plan`."""
    files, programs = RealFiles(root), RealPrograms(root)
    reading = asyncio.run(read(files, programs))
    before = _before(files, programs, reading)
    resolution = reading.resolution
    found: tuple[explain.Difference, ...] = ()
    plan, crash = resolution.plan, reading.machine.crash
    if plan is not None and before is not None and not is_what_was_loaded(plan, before, crash):
        found = explain.differences(before.description, describe(plan))
    if as_json:
        told = {
            "before": before.load if before is not None else None,
            "differences": [str(each) for each in found],
            "follows": explain.what_follows(found) if before is not None else _without_record(crash),
            "problems": [describe(problem) for problem in resolution.problems],
        }
        return _answer(resolution, json.dumps(told, indent=2, sort_keys=True))
    said = "\n".join((*map(str, found), explain.what_follows(found)))
    if not found:
        said = "what is loaded is what the configuration says"
    if before is None:
        said = _without_record(crash)
    elif not crash.loaded:
        said = "\n".join(("nothing is loaded; compared with the last good image:", *map(str, found)))
    return _answer(resolution, said if resolution.plan is not None else "", complaint=_problems(resolution))


def _without_record(crash: CrashKernel) -> str:
    """Where neither a record of what is loaded nor of a last good one can be read."""
    if crash.loaded:
        return "a crash kernel is loaded, but no record of it can be read: somebody else loaded it, or you are not root"
    return "kdumpd has loaded nothing yet: everything has to be built"


class _OtherwiseConfigured(RealFiles):
    """A machine whose kdump.conf has another text."""

    def __init__(self, root: str, text: str) -> None:
        super().__init__(root)
        self._text = text.encode("utf-8", "surrogateescape")

    def read_bytes(self, path: str, *, limit: int | None = None) -> bytes:
        return self._text[:limit] if path == KDUMP_CONF else super().read_bytes(path, limit=limit)

    def exists(self, path: str) -> bool:
        return path == KDUMP_CONF or super().exists(path)


class Comparison(NamedTuple):
    """Two texts of kdump.conf on one machine: what they say otherwise, and what the machine would make of it."""

    changes: tuple[Change, ...]
    differences: tuple[explain.Difference, ...]
    before: Resolution
    after: Resolution


def compare(text: str, *, root: str = "/") -> Comparison:
    """The machine as it is configured, and as it would be with `text`; touches nothing."""

    async def both() -> tuple[Reading, Reading]:
        programs = RealPrograms(root)
        first = await read(RealFiles(root), programs)
        return first, await read(_OtherwiseConfigured(root, text), programs)

    before, after = asyncio.run(both())
    old, new = before.resolution.plan, after.resolution.plan
    differences = (
        explain.differences(describe(old), describe(new)) if old is not None and new is not None else ()
    )
    return Comparison(
        changes=changes(document.parse(before.config.text), document.parse(text)),
        differences=differences,
        before=before.resolution,
        after=after.resolution,
    )


def _answer(resolution: Resolution, output: str, *, complaint: str = "") -> Answer:
    return Answer(FAILED if resolution.plan is None else OK, output, complaint)


def _before(files: RealFiles, programs: RealPrograms, reading: Reading) -> Armed | None:
    armed = Kexec(files, programs).armed() if reading.machine.crash.loaded else None
    return armed or Store(files, folder=tuning_of(files).store).last_good()


def _rows(of: Plan) -> tuple[tuple[str, str], ...]:
    base, overlay, load = of.base, of.overlay, of.load
    from_host = [item for item in (*base.items, *overlay.items) if isinstance(item, FromHost)]
    return (
        ("target", where_to(of.target)),
        ("engine", f"{base.engine}: {of.engine_reason}"),
        ("kernel", f"{base.kernel_release} ({load.kernel_image})"),
        ("command line", load.command_line),
        ("kexec", " ".join(load.kexec_flags)),
        ("packing", f"base {base.packing}, overlay {overlay.packing}: {of.packing_reason}"),
        ("base", f"{of.base_fingerprint}: {len(base.modules)} modules, {len(base.items)} files"),
        *(("  module", f"{module.name} ({module.source})") for module in base.modules),
        ("overlay", f"{of.overlay_fingerprint}: {len(overlay.items)} files"),
        *(("  file", item.path) for item in from_host),
        ("load", of.load_fingerprint),
    )


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
