"""Does to the target what the agent would do after a crash: reach it, write, sync, rename, read back and remove."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shlex
from collections.abc import Callable, Mapping

from kdumpd.core import ssh
from kdumpd.core.forecast import Pages, parse_mem_usage
from kdumpd.core.inventory import Kind
from kdumpd.core.mounts import TEST_POINT
from kdumpd.core.problems import Trouble
from kdumpd.core.target_test import Reached, SshTrial, free_of_df, unreachable
from kdumpd.core.targets import bracketed
from kdumpd.host.doors import Files, ProgramFailed, Programs

logger = logging.getLogger(__name__)

SSH_FOLDER = "/run/kdumpd/ssh-test"
NO_CONNECTION = 255  # ssh(1), EXIT STATUS
REACH_SECONDS = 60.0
"""For each program: mounting may replay a journal, and a server may be slow; one that is dead must not hold us up."""
COUNT_SECONDS = 120.0  # of --mem-usage, which took 10 s for 2 GiB under emulation
PAYLOAD_BYTES = 64 << 10
SECTOR_BYTES = 512  # the unit of /sys/class/block/*/size, whatever the device's own is


class TargetTests:
    """Everything that may hang on a dead server or disk is done by programs, which are ended when their time is over."""

    def __init__(self, files: Files, programs: Programs) -> None:
        self._files = files
        self._programs = programs
        self._is_swept = False

    async def reach(
        self,
        target: Mapping[str, str],
        *,
        say: Callable[[str], None],
        trial: SshTrial | None = None,
    ) -> Reached:
        """`target` is as a plan tells it, and `trial` belongs to one of kind ssh.

        Raises Trouble with what went wrong; nothing of the test is left behind.
        """
        try:
            if target["type"] == "raw":
                return await self._read(target, say)
            if target["type"] == "ssh":
                return await self._sent(target, trial, say)
            return await self._mounted(target, say)
        except ProgramFailed as fault:
            raise Trouble(unreachable(_shown(target), _last_words(fault))) from fault
        except OSError as fault:
            raise Trouble(unreachable(_shown(target), fault.strerror or str(fault))) from fault

    async def pages(self) -> Pages | None:
        """The kinds of pages there are now; None where makedumpfile cannot count them, as without a reservation."""
        program = self._programs.find("makedumpfile")
        if not program or self._files.outside(program) != program:
            return None  # in a copy of another machine's files nothing is to be run
        try:
            counted = await self._programs.run(
                (program, "--mem-usage", "/proc/kcore"), timeout=COUNT_SECONDS, gentle=True
            )
        except ProgramFailed as fault:
            logger.info("pages cannot be counted: %s", fault.reason)
            return None
        return parse_mem_usage(counted.stdout.decode("ascii", "replace"))

    async def _mounted(self, target: Mapping[str, str], say: Callable[[str], None]) -> Reached:
        """Mounted once more, out of the way: so the file system is seen from its top, as the agent sees it."""
        point = self._files.outside(TEST_POINT)
        if not self._is_swept:
            await self._unmount(point)  # a daemon that was killed may have left it
            self._is_swept = True
        self._files.make_folder(TEST_POINT)
        fstype, source, options = _mounting(target)
        source = self._files.outside(source) if source.startswith("/dev/") else source
        say(f"mounting {source}")
        try:
            await self._run("mount", "-t", fstype, "-o", options, "--", source, point)
            return await self._written(point, f"{point}{target.get('directory', '')}", _shown(target), say)
        finally:
            await asyncio.shield(self._unmount(point))

    async def _written(self, point: str, folder: str, shown: str, say: Callable[[str], None]) -> Reached:
        real = (
            (await self._run("realpath", "-m", "--", folder)).decode("utf-8", "surrogateescape").rstrip("\n")
        )
        if not f"{real}/".startswith(f"{point}/"):
            raise Trouble(unreachable(shown, "a link leads out of its file system"))
        await self._run("mkdir", "-p", "--", folder)
        name = f"{folder}/.kdumpd-test-{secrets.token_hex(6)}"
        incomplete = f"{name}-incomplete"
        payload = secrets.token_bytes(PAYLOAD_BYTES)
        try:
            say(f"writing, syncing and renaming a file of {PAYLOAD_BYTES} bytes")
            await self._run(
                "dd", f"of={incomplete}", "bs=64k", "conv=excl,fsync", "status=none", stdin=payload
            )
            await self._run("mv", "-T", "--", incomplete, name)
            await self._run("sync", "--", folder)
            read_back = await self._run("cat", "--", name)
        finally:
            with contextlib.suppress(ProgramFailed):  # what failed before is what is told
                await asyncio.shield(self._run("rm", "-f", "--", incomplete, name))
        if read_back != payload:
            raise Trouble(unreachable(shown, "what was read back is not what was written"))
        told = (await self._run("stat", "-f", "-c", "%a %S", "--", folder)).split()
        return Reached(free_bytes=int(told[0]) * int(told[1]), words=f"{shown} took a file and gave it back")

    async def _read(self, target: Mapping[str, str], say: Callable[[str], None]) -> Reached:
        """A device without a file system is opened and read: a test must not write where a dump may lie."""
        shown = _shown(target)
        source = target.get("node") or target["device"]
        node = self._files.real(source) if source.startswith("/dev/") else ""
        # Opening alone makes a watchdog reset the machine and a tape wind back.
        if not node or (await asyncio.to_thread(self._files.stat, node)).kind is not Kind.BLOCK:
            raise Trouble(unreachable(shown, f"{node or source} is not a block device"))
        say(f"reading the beginning of {node}")
        await self._run(
            "dd", f"if={self._files.outside(node)}", "of=/dev/null", "bs=4096", "count=1", "status=none"
        )
        size = int(self._files.read_text(f"/sys/class/block/{node.rpartition('/')[2]}/size"))
        return Reached(free_bytes=size * SECTOR_BYTES, words=f"{node} can be read; it was not written to")

    async def _sent(
        self, target: Mapping[str, str], trial: SshTrial | None, say: Callable[[str], None]
    ) -> Reached:
        """With the key, the options and the host keys that the image has, through the shell of the server."""
        shown = _shown(target)
        if trial is None or not trial.destinations:
            raise Trouble(unreachable(shown, "the image has no way to it"))
        folder = f"{SSH_FOLDER}-{secrets.token_hex(6)}"
        try:
            self._files.make_folder(folder)
            self._files.write(f"{folder}/config", trial.config.encode(), mode=0o600)
            self._files.write(f"{folder}/known_hosts", trial.known_hosts.encode(), mode=0o600)
            outside = self._files.outside(folder)
            ssh_there = ("ssh", "-F", f"{outside}/config", "-o", f"UserKnownHostsFile={outside}/known_hosts")
            return await self._tried(ssh_there, target["directory"], shown, trial.destinations, say)
        finally:
            self._files.remove(folder)

    async def _tried(
        self,
        ssh_there: tuple[str, ...],
        directory: str,
        shown: str,
        destinations: tuple[str, ...],
        say: Callable[[str], None],
    ) -> Reached:
        name, payload = f".kdumpd-test-{secrets.token_hex(6)}", secrets.token_bytes(PAYLOAD_BYTES)
        make, write, rename, remove = ssh.trial(directory, name)
        there = await self._first_that_answers(ssh_there, destinations, make, say)
        try:
            say(f"writing and renaming a file of {PAYLOAD_BYTES} bytes")
            await self._run(*there, write, stdin=payload)
            await self._run(*there, rename)
            quoted = shlex.quote(f"{directory.rstrip('/')}/{name}")
            read_back = await self._run(*there, f"cat -- {quoted}")
            space = await self._run(*there, f"df -Pk -- {quoted}")
        finally:
            with contextlib.suppress(ProgramFailed):  # what failed before is what is told
                await asyncio.shield(self._run(*there, remove))
        if read_back != payload:
            raise Trouble(unreachable(shown, "what was read back is not what was written"))
        free = free_of_df(space.decode("utf-8", "replace"))
        return Reached(free_bytes=free, words=f"{shown} took a file and gave it back")

    async def _first_that_answers(
        self,
        ssh_there: tuple[str, ...],
        destinations: tuple[str, ...],
        command: str,
        say: Callable[[str], None],
    ) -> tuple[str, ...]:
        """The argv of ssh to the first address that takes `command`, as the agent goes through them."""
        *others, last = destinations
        for destination in others:
            say(f"connecting to {destination}")
            try:
                await self._run(*ssh_there, destination, command)
            except ProgramFailed as fault:
                if fault.output.status != NO_CONNECTION:
                    raise
            else:
                return (*ssh_there, destination)
        say(f"connecting to {last}")
        await self._run(*ssh_there, last, command)
        return (*ssh_there, last)

    async def _run(self, *argv: str, stdin: bytes = b"") -> bytes:
        return (await self._programs.run(argv, timeout=REACH_SECONDS, stdin=stdin)).stdout

    async def _unmount(self, point: str) -> None:
        try:
            await self._run("umount", "-l", "--", point)
        except ProgramFailed as fault:
            logger.debug("%s: %s", point, fault.reason)  # most often it was never mounted


def _last_words(fault: ProgramFailed) -> str:
    """What a program said of its end; mount ends with where else to look, which is no reason."""
    lines = (line.strip() for line in fault.output.stderr.decode("utf-8", "replace").splitlines())
    reasons = [line for line in lines if line and not line.startswith("dmesg(1)")]
    return reasons[-1] if reasons else fault.reason


def _mounting(target: Mapping[str, str]) -> tuple[str, str, str]:
    """Type, source and options."""
    guarded = "rw,nosuid,nodev,noexec"
    match target["type"]:
        case "nfs":
            # Soft: a server that does not answer gives an error, not a process that nobody can end; and with a cache of
            # its own, for it would share the manners of a live mount otherwise.
            version = ",vers=4" if target.get("fstype") == "nfs4" else ""
            options = f"{guarded},soft,nosharecache,nolock,timeo=100,retrans=2,retry=0{version}"
            return "nfs", f"{bracketed(target['server'])}:{target['export']}", options
        case "virtiofs":
            return "virtiofs", target["tag"], guarded
        case _:
            fstype = target.get("fstype", "")
            top = ",subvolid=5" if fstype == "btrfs" else ""
            return fstype, target.get("node") or target["device"], f"{guarded}{top}"


def _shown(target: Mapping[str, str]) -> str:
    """The target in a line, for people."""
    directory = target.get("directory", "")
    match target["type"]:
        case "nfs":
            return f"{bracketed(target['server'])}:{target['export'].rstrip('/')}{directory}"
        case "ssh":
            return f"{target.get('user', '')}@{bracketed(target['server'])}:{directory}"
        case kind:
            return (
                f"{target.get('tag') or target.get('device') or kind}{f':{directory}' if directory else ''}"
            )
