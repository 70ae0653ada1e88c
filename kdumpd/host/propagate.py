"""Gives an ssh server a key of ours without a terminal: makes it, has ssh-copy-id install it, and writes a file with it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from kdumpd.core import propagate, ssh
from kdumpd.core.problems import Problem, Trouble
from kdumpd.host.doors import Files, ProgramFailed, Programs, text

ASKPASS = "/usr/libexec/kdumpd/askpass"
"""Prints the variable PASSWORD_IN to ssh: neither a file nor an argv ever holds the password."""
PASSWORD_IN = "KDUMPD_PASSWORD"  # noqa: S105  the name of a variable
SECONDS = 60.0
"""Of each command, the slow answers of a server's name service included."""
NOTHING: Mapping[str, str] = MappingProxyType({})
USER_KNOWN_HOSTS = "/root/.ssh/known_hosts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Propagation:
    """What is wished for: `host`, `port` and `name` as ssh of this machine would use them for `destination`."""

    destination: str
    directory: str
    key: str
    host: str
    port: str
    name: str
    host_name: str
    is_known: bool
    """Whether a known_hosts file has a key of the server."""
    password: str = field(default="", repr=False)
    host_key: str = ""
    """The fingerprint of the server's key that is to be believed, where none is known."""


class Propagations:
    """The key, and the server's own where it is told, are the only things that change on this machine."""

    def __init__(self, files: Files, programs: Programs, *, askpass: str = ASKPASS) -> None:
        self._files = files
        self._programs = programs
        self._askpass = askpass

    async def give(self, wish: Propagation, *, say: Callable[[str], None]) -> None:
        """Raises Trouble where the server does not take the key, or no file can be written with it."""
        await self._make_key(wish, say)
        if not wish.is_known:
            await self._believe(wish, say)
        asking = {
            "SSH_ASKPASS": self._askpass,
            "SSH_ASKPASS_REQUIRE": "force",
            PASSWORD_IN: wish.password,
        }
        say(f"giving {wish.key}.pub to {wish.destination}")
        await self._run(
            propagate.copy(self._files.outside(wish.key), wish.destination),
            f"{wish.destination} does not take the key",
            "give the option password, or put the key on the server by hand"
            if not wish.password
            else "see whether the password is right and the server takes passwords",
            environment=asking if wish.password else {},
        )
        await self._write_a_file(wish, say)

    async def _make_key(self, wish: Propagation, say: Callable[[str], None]) -> None:
        key, public = wish.key, f"{wish.key}.pub"
        has_key, has_public = await asyncio.to_thread(
            lambda: (self._files.exists(key), self._files.exists(public))
        )
        if has_key and has_public:
            say(f"the key {key} is there")
            return
        if has_key:
            half = await self._run(
                propagate.public_half(self._files.outside(key)), f"{key} cannot be used", ""
            )
            await asyncio.to_thread(lambda: self._files.write(public, half, mode=0o644))
            return
        is_fips = await asyncio.to_thread(lambda: text(self._files, propagate.FIPS) == "1")
        await asyncio.to_thread(lambda: self._files.make_folder(key.rpartition("/")[0]))
        argv = propagate.new_key(self._files.outside(key), is_fips=is_fips, host_name=wish.host_name)
        try:
            await self._run(argv, f"the key {key} cannot be made", "")
        except asyncio.CancelledError:
            for path in (key,) if has_public else (key, public):  # half a one would be taken for a key
                try:
                    self._files.remove(path)
                except OSError as fault:  # which is not to stand in the way of the end
                    say(f"{path} may be half a key: {fault.strerror or fault}")
            raise
        say(f"made the key {key}")

    async def _believe(self, wish: Propagation, say: Callable[[str], None]) -> None:
        """The server's key comes into known_hosts where its fingerprint is the one that was told, and only then."""
        unknown = f"{wish.name} is not in known_hosts"
        said = await self._run(propagate.scan(wish.host, wish.port), unknown, "see whether it answers")
        lines = said.decode("utf-8", "replace").splitlines()
        entries = propagate.entries_with(lines, wish.host_key, name=wish.name) if wish.host_key else ()
        if not entries:
            offered = ", ".join(dict.fromkeys(filter(None, map(propagate.fingerprint, lines)))) or "none"
            told = (
                f"{unknown}, and none of its keys is {wish.host_key}"
                if wish.host_key
                else f"{unknown}: nobody has said that it is the right machine"
            )
            hint = f"compare what it offers with the server's own ({offered}) and give the right one as the option host-key"
            raise Trouble(Problem(code="ssh-host-unknown", message=told, hint=hint))
        await asyncio.to_thread(self._remember, entries)
        say(f"{wish.name} is known by {wish.host_key} from now on")

    def _remember(self, entries: Sequence[str]) -> None:
        known = text(self._files, USER_KNOWN_HOSTS)
        joined = "\n".join([*([known] if known else []), *entries])
        self._files.make_folder(USER_KNOWN_HOSTS.rpartition("/")[0])
        self._files.write(USER_KNOWN_HOSTS, f"{joined}\n".encode("utf-8", "surrogateescape"), mode=0o600)

    async def _write_a_file(self, wish: Propagation, say: Callable[[str], None]) -> None:
        asking = propagate.with_key_alone(self._files.outside(wish.key), wish.destination)
        make, write, rename, remove = ssh.trial(wish.directory, f".kdumpd-{secrets.token_hex(6)}")
        told = f"a dump could not be saved to {wish.directory} on {wish.destination}"
        await self._run((*asking, make), told, "")
        try:
            await self._run((*asking, write), told, "", stdin=b"written by kdumpd\n")
            await self._run((*asking, rename), told, "")
        finally:
            await self._run((*asking, remove), told, "")
        say(f"a file could be written to {wish.directory}")

    async def _run(
        self,
        argv: tuple[str, ...],
        told: str,
        hint: str,
        *,
        environment: Mapping[str, str] = NOTHING,
        stdin: bytes = b"",
    ) -> bytes:
        """What it printed. Raises Trouble that says `told` and the program's last words."""
        try:
            output = await self._programs.run(
                argv, timeout=SECONDS, environment={"HOME": "/root", **environment}, stdin=stdin
            )
        except ProgramFailed as fault:
            words = fault.output.stderr.decode("utf-8", "replace").strip().splitlines()
            why = words[-1] if words else f"{argv[0]} {fault.reason}"
            problem = Problem(code="target-unreachable", message=f"{told}: {why}", hint=hint)
            raise Trouble(problem) from fault
        return output.stdout
