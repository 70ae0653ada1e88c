"""Asks ssh of this machine what it would do for a target, and looks at the keys; connects to nobody."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Mapping
from dataclasses import replace

from kdumpd.core import ssh
from kdumpd.core.inventory import Kind
from kdumpd.core.ssh import SshKey, SshServer, SshWish
from kdumpd.host.doors import Files, ProgramFailed, Programs, text

USER_CONFIG = "/root/.ssh/config"
SYSTEM_CONFIG = "/etc/ssh/ssh_config"
ASK_SECONDS = 20.0
"""`ssh -G` resolves names where CanonicalizeHostname asks for it."""
FILES_AT_MOST = 100
"""Of ssh's configuration; ssh itself follows Include sixteen files deep."""
LARGEST_KEY_BYTES = 64 * 1024
_FOUND_NOTHING = frozenset({0, 1})  # of ssh-keygen -F


async def look(files: Files, programs: Programs, wish: SshWish) -> SshServer:
    """What ssh says of `wish`; never raises for what is missing, unreadable or refused: that becomes `fault`."""
    keys = tuple([await _key(files, programs, path) for path in wish.keys])
    read = (*await asyncio.to_thread(_configuration, files), *wish.keys)
    try:
        plain = await _options(programs, wish, "-F", "none")
        where = await asyncio.to_thread(_where, files)
        server = SshServer(options=await _options(programs, wish, *where), plain=plain)
    except (ProgramFailed, OSError) as fault:
        return SshServer(keys=keys, read=read, fault=str(fault))
    known: list[str] = []
    unread: list[str] = []
    for path in server.known_hosts_files:
        try:
            known += await _known(files, programs, path, server.looked_up)
        except (ProgramFailed, OSError) as fault:
            why = fault.reason if isinstance(fault, ProgramFailed) else fault.strerror
            unread.append(f"{path} cannot be read: {why}")
    return replace(
        server,
        keys=keys,
        known_hosts=tuple(dict.fromkeys(known)),
        unread=tuple(unread),
        read=(*read, *server.known_hosts_files),
    )


def _configuration(files: Files) -> tuple[str, ...]:
    """The files that ssh reads, with all that they include, and the folders in which more of those would lie."""
    found: dict[str, None] = {}
    ahead = [(USER_CONFIG, "/root/.ssh"), (SYSTEM_CONFIG, "/etc/ssh")]
    while ahead and len(found) < FILES_AT_MOST:
        path, beside = ahead.pop()
        if path in found:
            continue
        found[path] = None
        for pattern in ssh.included(text(files, path), beside=beside):
            folder, _, name = _inside(files, pattern).rpartition("/")
            if _is_pattern(folder):
                continue  # only a poll hears of it
            if _is_pattern(name):
                found[folder] = None
                fitting = (each for each in _names(files, folder) if fnmatch.fnmatchcase(each, name))
                ahead += ((f"{folder}/{each}", beside) for each in fitting)
            else:
                ahead.append((f"{folder}/{name}", beside))
    return tuple(found)


def _is_pattern(path: str) -> bool:
    return any(mark in path for mark in "*?[")


def _names(files: Files, folder: str) -> tuple[str, ...]:
    try:
        return files.names(folder)
    except OSError:
        return ()


def _inside(files: Files, path: str) -> str:
    """Ssh that is run here on a copy of another machine's files takes the paths in them for those of this machine."""
    return path.removeprefix(files.outside("/").rstrip("/"))


def _where(files: Files) -> tuple[str, ...]:
    """On this machine ssh reads its own files by itself; those of a copy of another machine have to be named, and only one can be."""
    if files.outside("/") == "/":
        return ()
    path = USER_CONFIG if files.exists(USER_CONFIG) else SYSTEM_CONFIG
    return ("-F", files.outside(path) if files.exists(path) else "none")


async def _options(programs: Programs, wish: SshWish, *where: str) -> Mapping[str, str]:
    said = await programs.run(["ssh", *where, "-G", "-T", "--", wish.destination], timeout=ASK_SECONDS)
    return ssh.parse_options(said.stdout.decode("utf-8", "replace"))


async def _known(files: Files, programs: Programs, path: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """What one file has under the first of the names that it has anything under. Raises OSError and ProgramFailed."""
    outside = await asyncio.to_thread(_outside, files, path)
    for name in names if outside else ():
        said = await programs.run(
            ["ssh-keygen", "-F", name, "-f", outside], timeout=ASK_SECONDS, good=_FOUND_NOTHING
        )
        found = ssh.parse_known_hosts(said.stdout.decode("utf-8", "replace"))
        if found:
            return found
    return ()


def _outside(files: Files, path: str) -> str:
    """What a program has to be told of a plain file; "" where there is none. Raises OSError."""
    return files.outside(path) if files.stat(path).kind is Kind.FILE else ""


async def _key(files: Files, programs: Programs, path: str) -> SshKey:
    try:
        outside = await asyncio.to_thread(_outside, files, path)
        if not outside:
            return SshKey(path=path, is_there=False)
        found, text = await asyncio.to_thread(_read_key, files, path)
    except OSError as fault:
        return SshKey(path=path, is_there=True, fault=f"cannot be read: {fault.strerror}")
    wrong = ssh.key_fault(text)
    if wrong or found.is_too_open:
        return replace(found, fault=wrong)  # ssh-keygen looks into no key that others can read
    try:
        await programs.run(["ssh-keygen", "-y", "-P", "", "-f", outside], timeout=ASK_SECONDS)
    except ProgramFailed:
        return replace(found, fault="is refused by ssh-keygen -y")
    return found


def _read_key(files: Files, path: str) -> tuple[SshKey, str]:
    mode = files.stat(path).mode
    text = files.read_bytes(path, limit=LARGEST_KEY_BYTES).decode("ascii", "replace")
    return SshKey(path=path, is_there=True, mode=mode), text
