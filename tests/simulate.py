"""A whole kdumpd on a machine that is a folder: `kdumpd --root DIR --bus ADDRESS --simulate`, and what one does to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from kdumpd.reading import etag_of
from kdumpd.service.bus import BusError, Client, Value
from kdumpd.service.bus.standard import PROPERTIES
from kdumpd.service.permissions import BUS_NAME, CONFIG, MANAGER, ROOT
from tests.machines.roots import unpack
from tests.service.private_bus import DATA, PrivateBus

REPOSITORY = Path(__file__).parents[1]
PATIENCE = 30.0  # seconds; a bound for a machine that is busy with other things, never a measure
RELEASE = "6.1.0-56-amd64"
State = Mapping[str, Value]


def make_machine(folder: Path, *, heavy_bytes: int = 0) -> Path:
    """A root with one virtio disk. `heavy_bytes` of a module that hardly compresses make a build take its time."""
    root = folder / "root"
    unpack("virtio", root)
    modules = root / "lib/modules" / RELEASE
    if not modules.exists():
        modules = root / "usr/lib/modules" / RELEASE
    depends = dict(line.split(":", 1) for line in (modules / "modules.dep").read_text().splitlines())
    noise = random.Random(1).randbytes(heavy_bytes)  # noqa: S311  # not for secrets, and the same each time
    for path in modules.rglob("*.ko"):
        listed = depends.get(str(path.relative_to(modules)), "").split()
        names = ",".join(Path(each).name.partition(".ko")[0] for each in listed)
        weight = noise if path.name == "ext4.ko" else b""
        said = f"vermagic={RELEASE} SMP preempt mod_unload modversions \0depends={names}\0"
        path.write_bytes(b"\x7fELF" + bytes(60) + b"\0" + said.encode() + weight)
    (root / "var/crash").mkdir(parents=True, exist_ok=True)
    (root / "etc/kdump.conf").write_text("# where dumps go\npath /var/crash\n")
    return root


class Machine:
    """The folder, the daemon that looks after it, and a client of that daemon."""

    def __init__(self, root: Path, bus: PrivateBus, client: Client) -> None:
        self.root = root
        self.conf = root / "etc/kdump.conf"
        self.loaded_file = root / "sys/kernel/kexec_crash_loaded"
        self.client = client
        self._bus = bus
        self._daemon: asyncio.subprocess.Process | None = None
        self.log = root.parent / "daemon.log"
        self.wrapped_in: Sequence[str] = ()
        """A command that executes the daemon in its own place, in a world of another kind."""
        self.environment: Mapping[str, str] = {}

    async def start(self, *, deaf_to: Sequence[str] = (), code: Path = REPOSITORY) -> None:
        """`deaf_to`: what it is not to watch or hear of, see `kdumpd --deaf-to`; `code`: where the package kdumpd is."""
        with self.log.open("ab") as log:
            self._daemon = await asyncio.create_subprocess_exec(
                *self.wrapped_in,
                *(sys.executable, "-m", "kdumpd.daemon"),
                *(
                    "--root",
                    str(self.root),
                    "--bus",
                    self._bus.address,
                    "--simulate",
                    "--interfaces",
                    str(DATA),
                    *(f"--deaf-to={each}" for each in deaf_to),
                ),
                cwd=code,
                env={**os.environ, "KDUMPD_LOG_LEVEL": "DEBUG", **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def stop(self) -> int:
        """SIGTERM, and the exit status."""
        assert self._daemon is not None
        with contextlib.suppress(ProcessLookupError):
            self._daemon.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            return await self._daemon.wait()

    async def ended(self) -> int:
        """The exit status, once it ends by itself."""
        assert self._daemon is not None
        async with asyncio.timeout(PATIENCE):
            return await self._daemon.wait()

    async def kill(self) -> None:
        """SIGKILL: what it runs at that moment is left alone, as systemd's OOM killer or a bug would leave it."""
        assert self._daemon is not None
        self._daemon.kill()
        await self._daemon.wait()

    async def until(self, holds: Callable[[State], bool]) -> State:
        """The Manager's properties once they are as wanted; waits for the daemon to come, too."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if self._daemon is not None and self._daemon.returncode is not None:
                    raise AssertionError(f"kdumpd ended: {self.log.read_text()}")
                try:
                    return await self.client.wait_until(ROOT, MANAGER, holds)
                except BusError:
                    await asyncio.sleep(0.05)  # there is nothing to subscribe to before it owns its name

    async def until_armed(self, *, etag: str = "") -> State:
        """Armed, at rest, and with the present text of kdump.conf."""
        want = etag or await self.present_etag()
        while True:
            state = await self.until(lambda now: now["State"] == "armed" and now["Activity"] == "idle")
            if await self.client.get(ROOT, CONFIG, "Etag") == want:
                return state
            await self._next_change()

    async def present_etag(self) -> str:
        return etag_of(self.conf.read_bytes())

    async def _next_change(self) -> None:
        async with self.client.signals(PROPERTIES, "PropertiesChanged", below=ROOT) as changes:
            if await self.client.get(ROOT, CONFIG, "Etag") != await self.present_etag():
                async with asyncio.timeout(PATIENCE):
                    await anext(changes)

    @property
    def pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    def seen_by_it(self, path: str) -> Path:
        """A file below the root as the daemon sees it, who may see other mounts than we do."""
        return Path(f"/proc/{self.pid}/root{self.root}/{path}")

    def resident_bytes(self) -> int:
        """Of the daemon, without the pages of files, which it gives back at rest and maps again."""
        _, resident, of_files, *_ = map(int, Path(f"/proc/{self.pid}/statm").read_text().split())
        return (resident - of_files) * os.sysconf("SC_PAGE_SIZE")

    @property
    def armed_with(self) -> Mapping[str, object]:
        found: Mapping[str, object] = json.loads((self.root / "run/kdumpd/armed").read_text())
        return found

    @property
    def last_good(self) -> Mapping[str, object]:
        """What is loaded again where nothing is."""
        found: Mapping[str, object] = json.loads((self.root / "var/lib/kdumpd/last-good.json").read_text())
        return found

    @property
    def directory(self) -> object:
        """Where what is armed would save to."""
        description = self.armed_with["description"]
        assert isinstance(description, dict)
        return description["target"]["directory"]


class Sampler:
    """Reads the loaded flag in a tight loop of its own thread, and remembers whether it was ever 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples = 0
        self.unloaded = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.001):
            text = self._path.read_text()
            self.samples += 1
            # The file is cut before it is written, which the kernel's own never is.
            if text.strip() == "0":
                self.unloaded += 1


@contextlib.asynccontextmanager
async def simulated(
    folder: Path,
    bus: PrivateBus,
    *,
    heavy_bytes: int = 0,
    root: Path | None = None,
    deaf_to: Sequence[str] = (),
    code: Path = REPOSITORY,
    wrapped_in: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Machine]:
    """`root` is a machine that was made before, and may have been changed since."""
    root = root or make_machine(folder, heavy_bytes=heavy_bytes)
    async with bus.client(BUS_NAME) as client:
        machine = Machine(root, bus, client)
        machine.wrapped_in, machine.environment = wrapped_in, environment or {}
        await machine.start(deaf_to=deaf_to, code=code)
        try:
            yield machine
        except BaseException:
            print(machine.log.read_text(errors="replace")[-20000:])  # pytest shows it beside the failure
            raise
        finally:
            await machine.stop()
