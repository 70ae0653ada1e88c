"""The doors of a real machine: files inside a root directory, and programs in sessions of their own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import secrets
import shlex
import shutil
import signal
import stat
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from kdumpd.core.inventory import Kind
from kdumpd.host.digests import AT_REST_NS, Digests
from kdumpd.host.doors import GOOD, KEPT_BYTES, PATH, Facts, Output, ProgramFailed
from kdumpd.host.folders import Folder, facts_of
from kdumpd.host.leases import is_open
from kdumpd.host.running import LINE_CHARACTERS, Running, begun, until_ended

logger = logging.getLogger(__name__)

MAGIC_LINK = re.compile(r"[a-z_]+:\[")  # "pipe:[4026]" under /proc: only the kernel can follow such a link
LINKS_AT_MOST = 40  # as the kernel's MAXSYMLINKS
NOT_FOUND = 127
_LABEL = "security.selinux"
_WITHOUT_LABEL = frozenset(
    (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOENT)
)


class RealFiles:
    """Files under `root`, where absolute links and ".." lead back to `root`, never out of it."""

    def __init__(self, root: str = "/", *, at_rest_ns: int = AT_REST_NS) -> None:
        self.root = os.path.realpath(root)
        self._digests = Digests(at_rest_ns=at_rest_ns)

    def read_text(self, path: str) -> str:
        return self.read_bytes(path).decode("utf-8", "surrogateescape")

    def read_bytes(self, path: str, *, limit: int | None = None) -> bytes:
        with self.open(path) as file:
            return file.read() if limit is None else file.read(limit)

    def stat(self, path: str) -> Facts:
        try:
            found = os.stat(self.outside(path))
        except OSError as fault:
            if fault.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                return Facts(kind=Kind.MISSING)
            raise
        return facts_of(found)

    def exists(self, path: str) -> bool:
        return self.stat(path).kind is not Kind.MISSING

    def names(self, path: str) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(self.outside(path))))
        except (FileNotFoundError, NotADirectoryError):
            return ()

    def link(self, path: str) -> str:
        try:
            return os.readlink(self._outside_itself(path))
        except OSError as fault:
            if fault.errno in {errno.EINVAL, errno.ENOENT, errno.ENOTDIR}:
                return ""
            raise

    def real(self, path: str) -> str:
        told = _told_by_the_kernel(path) if self.root == "/" else ""
        return told or self._resolve(path, follow_last=True)

    def open(self, path: str) -> BinaryIO:
        return open(self.outside(path), "rb")  # the caller closes it

    def create(self, path: str, *, mode: int = 0o600) -> BinaryIO:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._outside_itself(path), flags, mode)
        try:
            os.fchmod(descriptor, mode)  # the umask took bits away; none is ever added before this
            return os.fdopen(descriptor, "wb")
        except BaseException:
            os.close(descriptor)
            raise

    def open_for_us_alone(self, path: str) -> BinaryIO:
        # O_EXCL without O_CREAT is for block devices (open(2)); a plain file takes no notice.
        return os.fdopen(os.open(self.outside(path), os.O_RDWR | os.O_EXCL | os.O_CLOEXEC), "r+b")

    def sync(self, path: str) -> None:
        _sync(self.outside(path))

    def digest(self, path: str) -> str:
        return self._digests.of(self.outside(path))

    def outside(self, path: str) -> str:
        if self.root == "/" and path.startswith("/"):
            return path  # the kernel follows the links as well as we do
        return self._under_root(self._resolve(path, follow_last=True))

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        self._write(path, data, mode=mode, is_wanted=lambda: True)

    def write_over(self, path: str, data: bytes, *, seen: bytes | None, mode: int = 0o600) -> bool:
        return self._write(path, data, mode=mode, is_wanted=lambda: self._is_still(path, seen))

    def _is_still(self, path: str, seen: bytes | None) -> bool:
        try:
            return self.read_bytes(path) == seen
        except FileNotFoundError:
            return seen is None

    def _write(self, path: str, data: bytes, *, mode: int, is_wanted: Callable[[], bool]) -> bool:
        # A configuration that is a link to a file elsewhere stays a link: the file it leads to is replaced.
        target = self.real(path)
        beside = f"{os.path.dirname(target)}/.{os.path.basename(target)}.{secrets.token_hex(6)}.tmp"
        before = self.stat(target)
        file = self.create(beside, mode=mode)
        try:
            with file:
                if before.kind is not Kind.MISSING and (before.owner, before.group) != _owner(file):
                    os.fchown(file.fileno(), before.owner, before.group)
                if before.kind is not Kind.MISSING:
                    _label_as(self._under_root(target), file)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            is_written = is_wanted()
            if is_written:
                self.rename(beside, target)
        except BaseException:
            self._let_go(beside)
            raise
        if not is_written:
            self._let_go(beside)
        return is_written

    def _let_go(self, beside: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._under_root(beside))

    def append(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.outside(path), flags, mode)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def poke(self, path: str, text: str) -> None:
        descriptor = os.open(self.outside(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(descriptor)

    def make_folder(self, path: str, *, mode: int = 0o700, lasts: bool = True) -> None:
        """With its parents, which get the same mode; a folder that is there already keeps its own."""
        folder = self.real(path)
        missing: list[str] = []
        while not os.path.isdir(self._under_root(folder)):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for each in reversed(missing):
            outside = self._under_root(each)
            with contextlib.suppress(FileExistsError):
                os.mkdir(outside, mode)
                os.chmod(outside, mode)  # the umask took bits away
                if lasts:
                    _sync(os.path.dirname(outside))

    def make_new_folder(self, path: str) -> None:
        outside = self._outside_itself(path)
        os.mkdir(outside, 0o700)  # mkdir(2) follows no link, and a umask only takes away
        _sync(os.path.dirname(outside))

    def make_link(self, path: str, target: str) -> None:
        os.symlink(target, self._outside_itself(path))

    def rename(self, source: str, target: str) -> None:
        old, new = self._outside_itself(source), self._outside_itself(target)
        os.rename(old, new)
        for folder in {os.path.dirname(old), os.path.dirname(new)}:
            _sync(folder)

    def remove(self, path: str) -> None:
        outside = self._outside_itself(path)
        try:
            if stat.S_ISDIR(os.lstat(outside).st_mode):
                shutil.rmtree(outside)
            else:
                os.unlink(outside)
        except (FileNotFoundError, NotADirectoryError):
            return

    def below(self, path: str) -> RealFiles:
        return RealFiles(self.outside(path))

    def open_folder(self, path: str) -> Folder:
        return Folder(self._outside_itself(path))

    def is_open(self, path: str) -> bool:
        return is_open(self._outside_itself(path))

    def free_bytes(self, path: str) -> int:
        found = os.statvfs(self.outside(path))
        return found.f_bavail * found.f_frsize

    def is_read_only(self, path: str) -> bool:
        return bool(os.statvfs(self.outside(path)).f_flag & os.ST_RDONLY)

    def capacity_bytes(self, path: str) -> int:
        found = os.statvfs(self.outside(path))
        return found.f_blocks * found.f_frsize

    def _outside_itself(self, path: str) -> str:
        """Where `path` lies when its last part is not followed, should it be a link."""
        if self.root == "/" and path.startswith("/"):
            return path  # each call that is given this leaves the last part as it is
        return self._under_root(self._resolve(path, follow_last=False))

    def _under_root(self, resolved: str) -> str:
        return resolved if self.root == "/" else self.root + resolved

    def _resolve(self, path: str, *, follow_last: bool) -> str:
        if not path.startswith("/"):
            raise ValueError(f"not an absolute path: {path!r}")
        done: list[str] = []
        ahead = _parts(path)
        links = 0
        while ahead:
            part = ahead.popleft()
            if part == "..":
                del done[-1:]
                continue
            here = "/" + "/".join([*done, part])
            target = self._link_at(here) if ahead or follow_last else ""
            if not target:
                done.append(part)
                continue
            links += 1
            if links > LINKS_AT_MOST:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                done.clear()
            ahead.extendleft(reversed(_parts(target)))
        return "/" + "/".join(done)

    def _link_at(self, resolved: str) -> str:
        try:
            target = os.readlink(self._under_root(resolved))
        except OSError:
            return ""  # no link, or nothing at all: whoever opens the path is told by the kernel
        return "" if MAGIC_LINK.match(target) else target


class RealPrograms:
    """Programs of this machine; `find` answers for the machine under `root`."""

    def __init__(self, root: str = "/") -> None:
        self._files = RealFiles(root)

    def find(self, name: str) -> str:
        for folder in PATH.split(":"):
            path = f"{folder}/{name}"
            facts = self._files.stat(path)
            if facts.kind is Kind.FILE and facts.mode & 0o111:
                return path
        return ""

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        on_line: Callable[[str], None] | None = None,
        environment: Mapping[str, str] | None = None,
        good: frozenset[int] = GOOD,
        gentle: bool = False,
        keep_bytes: int = KEPT_BYTES,
    ) -> Output:
        asked = tuple(argv)
        program = shutil.which(asked[0], path=PATH)
        if program is None:
            raise ProgramFailed(_nothing(asked), "is not installed")
        command = (*(_gentleness() if gentle else ()), program, *asked[1:])
        clean = {"PATH": PATH, "LC_ALL": "C.UTF-8", **(environment or {})}
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            transport, running = await begun(
                loop.subprocess_exec(
                    lambda: Running(on_line, keep_bytes=keep_bytes),
                    *command,
                    stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    start_new_session=True,
                    cwd="/",
                    env=clean,
                    umask=0o077,
                )
            )
        except OSError as fault:
            raise ProgramFailed(_nothing(asked), f"cannot be started: {fault.strerror}") from fault
        try:
            await until_ended(transport, running, argv=asked, stdin=stdin, timeout=timeout)
        finally:
            transport.close()
            seconds = loop.time() - started
            logger.debug("%s  # status %s, %.2f s", shlex.join(command), running.status, seconds)
        output = running.output(asked)
        if output.status not in good:
            raise ProgramFailed(output, _ending(output))
        return output


def _gentleness() -> tuple[str, ...]:
    """Words before a command that make it give way to everyone else, as far as this machine has them."""
    words: tuple[str, ...] = ()
    for program, options in (("nice", ("-n", "19")), ("ionice", ("-c", "2", "-n", "7"))):
        found = shutil.which(program, path=PATH)
        if found:
            words += (found, *options)
    return words


def _nothing(argv: tuple[str, ...]) -> Output:
    return Output(argv=argv, status=NOT_FOUND, stdout=b"", stderr=b"")


def _ending(output: Output) -> str:
    if output.status < 0:
        return f"was killed by {signal.Signals(-output.status).name}"
    said = output.stderr[-LINE_CHARACTERS:].decode("utf-8", "replace").strip().splitlines()
    last = f": {said[-1].strip()}" if said else ""
    return f"exit status {output.status}{last}"


def _owner(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_uid, found.st_gid


def _sync(outside: str) -> None:
    descriptor = os.open(outside, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _told_by_the_kernel(path: str) -> str:
    """Where an absolute path leads to, in three calls whatever its depth; "" where the kernel does not say."""
    if not path.startswith("/"):
        return ""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        said = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    # What was removed meanwhile, or is no file of this root, is told in other ways.
    return said if said.startswith("/") and not said.endswith(" (deleted)") else ""


def _parts(path: str) -> deque[str]:
    return deque(part for part in path.split("/") if part not in {"", "."})


def _label_as(outside: str, file: BinaryIO) -> None:
    """SELinux labels a new file by its name and directory, which need not be what somebody gave the old one (chcon)."""
    try:
        os.setxattr(file.fileno(), _LABEL, os.getxattr(outside, _LABEL))
    except OSError as fault:
        # No label, no labels, a policy that lets nobody give this one, or a file that went meanwhile.
        if fault.errno not in _WITHOUT_LABEL:
            raise
