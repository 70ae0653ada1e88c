"""Asks modinfo which firmware a module may load, and looks which of it this machine has; remembers the answers."""

from __future__ import annotations

from collections.abc import Mapping

from kdumpd.core.inventory import FileFacts, Firmware, Kind
from kdumpd.host.doors import Files, ProgramFailed, Programs

ASK_SECONDS = 60.0
REMEMBERED_AT_MOST = 2000
_ANSWERED = frozenset({0, 1})  # 1 where any of its arguments is no module
_FOLDERS = ("/lib/firmware/updates/{}", "/lib/firmware/updates", "/lib/firmware/{}", "/lib/firmware")
_ENDINGS = ("", ".zst", ".xz")
"""Where the kernel looks and in which order (fw_path and fw_get_filesystem_firmware of firmware_loader/main.c)."""


async def of_modules(
    modules: Mapping[str, FileFacts], *, release: str, files: Files, programs: Programs
) -> Mapping[str, Firmware]:
    """By the module's path, for those that name any. A name with a wildcard is not one that a driver asks for."""
    unknown = [
        path
        for path, facts in sorted(modules.items())
        if facts.kind is Kind.FILE and not facts.unreadable and (path, facts.digest) not in _told_before
    ]
    if unknown and programs.find("modinfo"):
        try:
            said = await programs.run(
                ["modinfo", *map(files.outside, unknown)], timeout=ASK_SECONDS, good=_ANSWERED
            )
        except ProgramFailed:
            return {}  # a driver that wants firmware and gets none says so in the capture kernel's log
        told = _parsed(said.stdout.decode("utf-8", "surrogateescape"))
        if len(_told_before) > REMEMBERED_AT_MOST:
            _told_before.clear()
        for path in unknown:
            _told_before[path, modules[path].digest] = told.get(files.outside(path), ())
    found: dict[str, Firmware] = {}
    for path, facts in modules.items():
        names = _told_before.get((path, facts.digest), ())
        if names:
            there = [_file(name, release, files) for name in names]
            looked_for = tuple(place for places, _ in there for place in places)
            found[path] = Firmware(
                names=names,
                files=tuple(dict.fromkeys(file for _, file in there if file)),
                looked_for=looked_for,
            )
    return found


_told_before: dict[tuple[str, str], tuple[str, ...]] = {}
"""The names, by a module's path and the digest of its contents."""


def _parsed(said: str) -> dict[str, tuple[str, ...]]:
    """The fields follow the name of their file; a module has the field once for each piece of firmware."""
    told: dict[str, tuple[str, ...]] = {}
    path = ""
    for line in said.splitlines():
        field, _, value = line.partition(":")
        value = value.strip()
        if field == "filename":
            path = value
        elif field == "firmware" and "*" not in value and ".." not in value.split("/"):
            told[path] = (*told.get(path, ()), value)
    return told


def _file(name: str, release: str, files: Files) -> tuple[tuple[str, ...], str]:
    """Where it was looked for, and the last of those places if it is there, else ""."""
    places = [f"{folder.format(release)}/{name}{ending}" for ending in _ENDINGS for folder in _FOLDERS]
    for number, place in enumerate(places, start=1):
        if files.stat(place).kind is Kind.FILE:
            return tuple(places[:number]), place
    return tuple(places), ""
