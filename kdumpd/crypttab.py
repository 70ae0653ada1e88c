"""`kdumpctl setup-crypttab`: has the volume keys of the target's encrypted devices kept for a capture kernel; no daemon."""

from __future__ import annotations

import asyncio
import difflib
import json
from dataclasses import dataclass

from kdumpd.core import locate, volume_keys
from kdumpd.core.plan import describe
from kdumpd.core.problems import Problem, errors
from kdumpd.core.volume_keys import BACKUP, CRYPTTAB, KEYS
from kdumpd.host.real import RealFiles, RealPrograms
from kdumpd.offline import FAILED, OK, Answer
from kdumpd.reading import read

NOTHING = "No LUKS-encrypted device found to process. Exiting."
ALREADY = f"{CRYPTTAB} keeps the volume keys already"
DONE = f"Success! {CRYPTTAB} has been updated. {BACKUP} is what it was."
AFTERWARDS = (
    "The keys are kept from the next boot on; an initramfs that opens such a device has to be built anew before: "
    "run 'dracut -f --regenerate-all' where it is dracut's."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """`difference`: of crypttab, as diff(1) has it; it was made where `is_done`."""

    said: tuple[str, ...] = ()
    difference: str = ""
    is_done: bool = False
    problems: tuple[Problem, ...] = ()


def set_up(*, root: str = "/", is_dry: bool = False, as_json: bool = False) -> Answer:
    """Status 1 where it cannot be done; crypttab is then as it was."""
    files = RealFiles(root)
    try:
        outcome = _outcome(files, RealPrograms(root), is_dry=is_dry)
    except OSError as fault:
        why = f"not changed: {fault.strerror or fault}"
        outcome = _Outcome(problems=(Problem(code="not-changed", message=why, file=CRYPTTAB),))
    status = FAILED if errors(outcome.problems) else OK
    if as_json:
        told = {
            "difference": outcome.difference,
            "done": outcome.is_done,
            "problems": [describe(problem) for problem in outcome.problems],
        }
        return Answer(status, json.dumps(told, indent=2, sort_keys=True), "")
    complaints = (f"kdump: {'' if each.is_error else 'WARNING: '}{each}" for each in outcome.problems)
    return Answer(status, "\n".join(outcome.said), "\n".join(complaints))


def _outcome(files: RealFiles, programs: RealPrograms, *, is_dry: bool) -> _Outcome:
    reading = asyncio.run(read(files, programs))
    if reading.config.config is None:
        return _Outcome(problems=errors(reading.config.problems))
    target = locate.target(reading.config.config, reading.machine).located
    wanted = () if target is None else volume_keys.volumes(target)
    if isinstance(wanted, Problem):
        return _Outcome(problems=(wanted,))
    if target is None or not wanted:
        return _Outcome(said=(NOTHING,))
    unable = volume_keys.inability(reading.machine, hands_keys_over=files.exists(KEYS))
    if unable is not None:
        return _Outcome(problems=(unable,))
    data = files.read_bytes(CRYPTTAB)
    before = data.decode("utf-8", "surrogateescape")
    after = volume_keys.with_volume_keys(before, wanted)
    if isinstance(after, Problem):
        return _Outcome(problems=(after,))
    warnings = volume_keys.doubts(target, reading.machine)
    if after == before:
        return _Outcome(said=(ALREADY,), problems=warnings)
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), CRYPTTAB, CRYPTTAB, n=0, lineterm=""
    )
    difference = "\n".join(lines)
    if not is_dry:
        mode = files.stat(CRYPTTAB).mode & 0o7777
        files.write(BACKUP, data, mode=mode)
        files.write(CRYPTTAB, after.encode("utf-8", "surrogateescape"), mode=mode)
    said = ("would change:", difference) if is_dry else (difference, DONE, AFTERWARDS)
    return _Outcome(said=said, difference=difference, is_done=not is_dry, problems=warnings)
