"""The libraries that programs need, as ldd says; it is asked again only where its answer may be another one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from kdumpd.core import facts
from kdumpd.core.facts import Libraries
from kdumpd.core.inventory import FileFacts
from kdumpd.core.sources import LIBRARIES_CACHE
from kdumpd.host.doors import Files, ProgramFailed, Programs

ASK_SECONDS = 30.0
REMEMBERED_AT_MOST = 500
_NOT_DYNAMIC = frozenset({0, 1})  # of ldd, when any of its arguments is no dynamic program


async def with_libraries(
    files: Files, programs: Programs, read: Mapping[str, FileFacts], beginnings: Mapping[str, bytes]
) -> dict[str, FileFacts]:
    """One run of ldd for all programs of `read` that it was not asked of before."""
    outside = {
        path: files.outside(path)
        for path, each in read.items()
        if each.is_executable and facts.is_elf_program(beginnings.get(path, b""))
    }
    keys = {path: (where, read[path].digest) for path, where in outside.items()}
    told = await asyncio.to_thread(_still_true, files, keys)
    wanted = dict.fromkeys(where for path, where in outside.items() if path not in told)
    if wanted and programs.find("ldd"):
        try:
            said = await programs.run(["ldd", *wanted], timeout=ASK_SECONDS, good=_NOT_DYNAMIC)
        except ProgramFailed as fault:
            why = f"its libraries are not known: {fault}"
            return {
                path: replace(each, unreadable=why) if outside.get(path) in wanted else each
                for path, each in read.items()
            }
        answers = facts.parse_ldd(
            said.stdout.decode("utf-8", "surrogateescape"),
            only=next(iter(wanted)) if len(wanted) == 1 else "",
        )
        told |= {path: answers.get(where, Libraries()) for path, where in outside.items() if where in wanted}
    await asyncio.to_thread(_remember, files, {key: told[path] for path, key in keys.items() if path in told})
    return {
        path: replace(each, libraries=told[path].found, missing_libraries=told[path].missing)
        if path in told
        else each
        for path, each in read.items()
    }


_Program = tuple[str, str]  # its place, and the digest of its contents
_told_before: dict[_Program, tuple[Libraries, Mapping[str, str]]] = {}
"""What ldd said, which takes longer than all else in a look, and the digests of what its answer hangs on: a library that
is replaced may need others than before, and where each is found stands in the loader's cache."""


def _still_true(files: Files, asked: Mapping[str, _Program]) -> dict[str, Libraries]:
    """By path, what ldd would say again."""
    digests: dict[str, str] = {}
    found: dict[str, Libraries] = {}
    for path, key in asked.items():
        libraries, hangs_on = _told_before.get(key, (None, {}))
        for each in hangs_on.keys() - digests.keys():
            digests[each] = _digest(files, each)
        if libraries is not None and all(digests[each] == digest for each, digest in hangs_on.items()):
            found[path] = libraries
    return found


def _remember(files: Files, answers: Mapping[_Program, Libraries]) -> None:
    if len(_told_before) > REMEMBERED_AT_MOST:
        _told_before.clear()
    digests: dict[str, str] = {}
    for key, each in answers.items():
        if each.missing:
            continue
        hangs_on = (*each.found, LIBRARIES_CACHE)
        for path in hangs_on:
            if path not in digests:
                digests[path] = _digest(files, path)
        _told_before[key] = (each, MappingProxyType({path: digests[path] for path in hangs_on}))


def _digest(files: Files, path: str) -> str:
    try:
        return files.digest(path)
    except OSError:
        return ""
