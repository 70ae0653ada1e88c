"""What the builds of makedumpfile and of a kernel can do, as the one says and the other's configuration; it is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kdumpd.core import makedumpfile, unpackers
from kdumpd.core.identity import digest_of
from kdumpd.core.inventory import FileFacts, Kind
from kdumpd.core.makedumpfile import Abilities
from kdumpd.core.unpackers import Unpackers
from kdumpd.host.doors import Files, ProgramFailed, Programs, contents

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


def of_kernel(configs: Iterable[FileFacts], *, files: Files) -> Unpackers | None:
    """From the first of `configs` that can be read and is a kernel's; None where none is."""
    for facts in configs:
        if facts.kind is not Kind.FILE or facts.unreadable:
            continue
        key = (facts.path, facts.digest)
        if key not in _built_before:
            told = contents(files, facts.path)
            built = unpackers.parse(told.decode("utf-8", "replace"), file=facts.path)
            if digest_of(told) != facts.digest:
                return built  # it has been changed just now, which another look is to come of
            if len(_built_before) > KERNELS_REMEMBERED:
                _built_before.clear()
            _built_before[key] = built
        if (known := _built_before[key]) is not None:
            return known
    return None


KERNELS_REMEMBERED = 16
_built_before: dict[tuple[str, str], Unpackers | None] = {}
"""By the place of a kernel's configuration and its digest: it has a quarter of a megabyte."""
