"""Asks makedumpfile what its build can do and whether it takes the planned options; remembers what it said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kdumpd.core import makedumpfile
from kdumpd.core.inventory import FileFacts, Kind
from kdumpd.core.makedumpfile import Abilities
from kdumpd.host.doors import Files, ProgramFailed, Programs

ASK_SECONDS = 30.0
REMEMBERED_AT_MOST = 100
_REFUSED = frozenset({0, 1})


async def of_collector(
    argv: Sequence[str], program: FileFacts, *, files: Files, programs: Programs
) -> Abilities | None:
    """None where it cannot be known: it is missing, does not answer, or is part of a copy of another machine's files.

    A program out of such a copy is nothing to be run here.
    """
    if program.kind is not Kind.FILE or not program.is_executable or program.unreadable:
        return None
    if files.outside(program.path) != program.path:
        return None
    key = (program.path, program.digest, *argv)
    if key in _told_before:
        return _told_before[key]
    try:
        said = await programs.run([program.path, "-v"], timeout=ASK_SECONDS, good=_REFUSED)
        able = makedumpfile.parse((said.stdout + b"\n" + said.stderr).decode("utf-8", "replace"))
        if able is not None and able.version >= makedumpfile.FIRST_WITH_CHECK:
            judged = await programs.run(
                makedumpfile.check(argv, program.path), timeout=ASK_SECONDS, good=_REFUSED
            )
            words = (judged.stderr + b"\n" + judged.stdout).decode("utf-8", "replace")
            able = replace(able, refusal=makedumpfile.refusal(words) if judged.status else "")
    except ProgramFailed:
        return None  # one that cannot be run is told by the proof of the image
    if len(_told_before) > REMEMBERED_AT_MOST:
        _told_before.clear()
    _told_before[key] = able
    return able


_told_before: dict[tuple[str, ...], Abilities | None] = {}
"""By the program's place, the digest of its contents, and the options that it was asked to judge."""
