"""The whole daemon while something fails for real: disks, builders, limits of the kernel, its bus, and its own loop.

Each fault ends in a state with a name and leaves loaded what is loaded; when it is gone, nobody has to do anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from kdumpd.service.permissions import BUS_NAME, MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.simulate import PATIENCE, Machine, Sampler, State, make_machine, simulated

MIB = 1 << 20
STORE = "var/lib/kdumpd"


def in_a_namespace(*options: str, first: str) -> tuple[str, ...]:
    """The daemon in namespaces of its own, after the shell commands `first`."""
    return ("unshare", *options, "sh", "-euc", f'{first}; exec "$@"', "sh")


async def within(machine: Machine, *options: str, command: str) -> None:
    """Run a shell command in the daemon's namespaces."""
    await asyncio.to_thread(
        subprocess.run,
        ("nsenter", "-t", str(machine.pid), *options, "sh", "-euc", command),
        check=True,
    )


def has_failed(code: str, state: State) -> bool:
    return (
        state["StateReason"] == code
        and state["Activity"] in {"idle", "waiting"}
        and isinstance(state["LastError"], tuple | list)
        and state["LastError"][0] == code
    )


async def named_and_still_armed(machine: Machine, code: str) -> None:
    state = await machine.until(partial(has_failed, code))
    assert (state["State"], state["Protected"], state["LastResult"]) == ("stale", True, "failed")
    assert state["ConsecutiveFailures"]


# --- the store --------------------------------------------------------------------------------------------------------


async def fill(machine: Machine) -> None:
    with (
        contextlib.suppress(OSError),
        machine.seen_by_it(f"{STORE}/filler").open("wb", buffering=0) as filler,
    ):
        while filler.write(bytes(4096)) == 4096:
            pass


async def empty(machine: Machine) -> None:
    machine.seen_by_it(f"{STORE}/filler").unlink()


async def freeze(machine: Machine) -> None:
    await within(machine, "-m", command=f"mount -o remount,ro '{machine.root}/{STORE}'")


async def thaw(machine: Machine) -> None:
    await within(machine, "-m", command=f"mount -o remount,rw '{machine.root}/{STORE}'")


@pytest.mark.usefixtures("can_mount")
@pytest.mark.parametrize(
    ("fail", "mend", "code"), [(fill, empty, "no-space"), (freeze, thaw, "store-unwritable")]
)
async def test_a_store_that_takes_nothing(
    tmp_path: Path,
    bus: PrivateBus,
    fail: Callable[[Machine], asyncio.Future[None]],
    mend: Callable[[Machine], asyncio.Future[None]],
    code: str,
) -> None:
    root = make_machine(tmp_path)
    (root / STORE).mkdir(parents=True)
    mount = f"mount -t tmpfs -o size=48m,mode=700 store '{root}/{STORE}'"
    async with simulated(tmp_path, bus, root=root, wrapped_in=in_a_namespace("-m", first=mount)) as machine:
        await machine.until_armed()
        with Sampler(machine.loaded_file) as sampler:
            await fail(machine)
            (root / "var/other").mkdir()
            machine.conf.write_text("path /var/other\n")
            await named_and_still_armed(machine, code)
            assert machine.directory == "/var/crash"
            await mend(machine)
            await machine.until_armed()
        assert str(machine.directory) == "/var/other"
        assert sampler.samples
        assert not sampler.unloaded
        assert machine.seen_by_it(str(machine.armed_with["initramfs"]).lstrip("/")).exists()


# --- builders ---------------------------------------------------------------------------------------------------------

BUILDER = """\
#!/bin/sh
case $(cat {folder}/mode) in
hang) sh -c 'trap "" TERM; echo $$ >>{folder}/pids; exec sleep 600' & echo $$ >>{folder}/pids; wait ;;
killed) kill -KILL $$ ;;
flood) yes 0123456789012345678901234567890123456789 | head -c 40000000 | tee /dev/stderr; exit 1 ;;
garbage) head -c 200000 /dev/urandom | tee /dev/stderr; exit 1 ;;
endless) tr '\\0' x </dev/zero >&2 ;;
*) exec {folder}/zstd "$@" ;;
esac
"""


@dataclass(frozen=True)
class Builder:
    """A program of this machine in whose place the daemon finds another."""

    folder: Path

    @classmethod
    def beside(cls, folder: Path) -> Builder:
        zstd = shutil.which("zstd", path="/usr/bin:/bin")
        assert zstd is not None
        shutil.copy(zstd, folder / "zstd")
        (folder / "builder").write_text(BUILDER.format(folder=folder))
        (folder / "builder").chmod(0o755)
        (folder / "pids").touch()
        builder = cls(folder)
        builder.behave("well")
        return builder

    @property
    def wrapped_in(self) -> tuple[str, ...]:
        return in_a_namespace("-m", first=f"mount --bind {self.folder}/builder $(command -v zstd)")

    def behave(self, mode: str) -> None:
        (self.folder / "mode").write_text(mode)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(int(pid) for pid in (self.folder / "pids").read_text().split())

    def end(self) -> None:
        """As systemd ends what a daemon that was killed leaves behind in its unit."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def build_anew(machine: Machine, *, level: int, seconds: int = 600) -> None:
    (machine.root / "etc/kdumpd.toml").write_text(
        f"compression_level = {level}\nbuild_timeout_seconds = {seconds}\n"
    )


def most_resident_bytes(machine: Machine) -> int:
    """Of the daemon, since it began."""
    lines = Path(f"/proc/{machine.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.usefixtures("can_mount")
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("mode", "seconds", "code"),
    [
        ("hang", 5, "timeout"),
        ("endless", 5, "timeout"),
        ("killed", 600, "packing-failed"),
        ("flood", 600, "packing-failed"),
        ("garbage", 600, "packing-failed"),
    ],
)
async def test_a_builder_that_goes_wrong(
    tmp_path: Path, bus: PrivateBus, mode: str, seconds: int, code: str
) -> None:
    builder = Builder.beside(tmp_path)
    async with simulated(tmp_path, bus, wrapped_in=builder.wrapped_in) as machine:
        await machine.until_armed()
        before = machine.armed_with
        lean = most_resident_bytes(machine)
        with Sampler(machine.loaded_file) as sampler:
            builder.behave(mode)
            build_anew(machine, level=1, seconds=seconds)
            await named_and_still_armed(machine, code)
            assert machine.armed_with == before
            assert most_resident_bytes(machine) - lean < 32 * MIB
            if mode == "hang":
                assert len(builder.pids) >= 2
            builder.behave("well")
            build_anew(machine, level=1)  # a slow machine may need more than those seconds
            await machine.until(
                lambda now: now["State"] == "armed" and now["Activity"] == "idle" and not now["LastError"][0]  # type: ignore[index]
            )
        assert machine.armed_with["base"] != before["base"]
        assert not sampler.unloaded
        if mode == "hang":
            assert not [pid for pid in builder.pids if is_alive(pid)]


# --- limits of the kernel ---------------------------------------------------------------------------------------------


async def warnings(machine: Machine) -> set[str]:
    told = json.loads(str((await machine.client.call(ROOT, MANAGER, "Describe", "a{sv}", {}))[0]))
    return {problem["code"] for problem in told["problems"]}


@pytest.fixture
def can_be_its_own_user() -> None:
    asked = ("unshare", "-U", "-r", "sh", "-c", "echo 4 >/proc/sys/user/max_inotify_watches")
    if subprocess.run(asked, check=False, capture_output=True).returncode != 0:
        pytest.skip("a user namespace with limits of its own cannot be made here")


@pytest.mark.usefixtures("can_be_its_own_user")
@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
async def test_more_files_than_the_kernel_watches(tmp_path: Path, bus: PrivateBus, limit: str) -> None:
    root = make_machine(tmp_path)
    (root / "etc/kdumpd.toml").write_text("slow_poll_seconds = 1.0\n")
    least = {"max_inotify_watches": 2, "max_inotify_instances": 0}[limit]
    wrapped = in_a_namespace("-U", "-r", first=f"echo {least} >/proc/sys/user/{limit}")
    async with simulated(tmp_path, bus, root=root, wrapped_in=wrapped) as machine:
        await machine.until_armed()
        assert "watch-limit" in await warnings(machine)
        (root / "var/polled").mkdir()
        machine.conf.write_text("path /var/polled\n")
        await machine.until(lambda now: str(now["StateMessage"]).endswith("in /var/polled"))
        await within(machine, "-U", command=f"echo 10000 >/proc/sys/user/{limit}")
        async with asyncio.timeout(PATIENCE):
            while "watch-limit" in await warnings(machine):  # noqa: ASYNC110  # tells nobody when it is gone
                await asyncio.sleep(0.1)
        (root / "var/heard").mkdir()
        (root / "etc/kdumpd.toml").write_text("slow_poll_seconds = 3600.0\n")
        machine.conf.write_text("path /var/heard\n")
        await machine.until(lambda now: str(now["StateMessage"]).endswith("in /var/heard"))


# --- systemd's watchdog -----------------------------------------------------------------------------------------------


class Notified:
    """The socket where systemd would listen, and as quick as it to take what is said: the sender waits for room."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)  # noqa: FBT003  # its only form
        self._said = asyncio.Queue[str]()
        asyncio.get_running_loop().add_reader(
            self._socket, lambda: self._said.put_nowait(self._socket.recv(4096).decode())
        )

    async def next_word(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self._said.get()

    async def until(self, word: str) -> None:
        while word not in (await self.next_word()).splitlines():
            pass

    def forget(self) -> None:
        """All that was said so far."""
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(4096):
                pass
        while not self._said.empty():
            self._said.get_nowait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@pytest.fixture
async def notified(tmp_path: Path) -> AsyncIterator[Notified]:
    heard = Notified(tmp_path / "notify")
    yield heard
    heard.close()


async def test_a_loop_that_stands_still_gives_no_sign_of_life(
    tmp_path: Path, bus: PrivateBus, notified: Notified
) -> None:
    environment = {"NOTIFY_SOCKET": str(notified.path), "WATCHDOG_USEC": "200000"}
    async with simulated(tmp_path, bus, environment=environment) as machine:
        await notified.until("READY=1")
        await machine.until_armed()
        notified.forget()
        for _ in range(3):
            await notified.until("WATCHDOG=1")
        # Read in the loop, in each glimpse: a pipe holds the loop until somebody has written.
        stalled = machine.root / "sys/devices/system/cpu/online"
        stalled.parent.mkdir(parents=True, exist_ok=True)
        stalled.unlink(missing_ok=True)
        os.mkfifo(stalled)
        asking = asyncio.create_task(machine.client.call(ROOT, MANAGER, "Refresh", "a{sv}", {}))
        writer = await asyncio.to_thread(stalled.open, "w")  # opens once the daemon reads
        try:
            notified.forget()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.0):  # twenty signs of life
                    await notified.next_word()
        finally:
            stalled.unlink()
            writer.close()
            await asking
        await notified.until("WATCHDOG=1")
        assert machine.loaded_file.read_text() == "1\n"


# --- the bus ----------------------------------------------------------------------------------------------------------


def steps_in(text: str) -> list[str]:
    verbs = ("build base", "build image", "load", "restore", "unload")
    return [
        verb
        for line in text.splitlines()
        for verb in verbs
        if f"INFO kdumpd.service.journal: {verb}: " in line
    ]


async def test_a_bus_that_is_restarted(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.armed_with
        await bus.kill()
        assert await machine.ended() == 1
        said = machine.log.read_text()
        assert "the connection to the bus is over" in said
        assert "Traceback" not in said
        await bus.start()
        async with bus.client(BUS_NAME) as client:
            machine.client = client
            await machine.start()  # as systemd does, see Restart= in the unit
            await machine.until_armed()
        assert machine.armed_with == before
        assert steps_in(machine.log.read_text()[len(said) :]) == []


@pytest.mark.usefixtures("can_mount")
async def test_a_bus_that_goes_during_a_build_takes_the_builder_with_it(
    tmp_path: Path, bus: PrivateBus
) -> None:
    builder = Builder.beside(tmp_path)
    async with simulated(tmp_path, bus, wrapped_in=builder.wrapped_in) as machine:
        await machine.until_armed()
        before = machine.armed_with
        builder.behave("hang")
        build_anew(machine, level=1)
        await machine.until(lambda now: now["State"] == "stale" and now["Activity"] == "building")
        async with asyncio.timeout(PATIENCE):
            while len(builder.pids) < 2:  # noqa: ASYNC110  # a file tells nobody
                await asyncio.sleep(0.05)
        await bus.kill()
        assert await machine.ended() == 1
        assert not [pid for pid in builder.pids if is_alive(pid)]
        assert machine.loaded_file.read_text() == "1\n"
        assert machine.armed_with == before
        assert not list((machine.root / STORE).glob("tmp-*"))
        builder.behave("well")
        await bus.start()
        async with bus.client(BUS_NAME) as client:
            machine.client = client
            await machine.start()
            await machine.until_armed()
        assert machine.armed_with["base"] != before["base"]
