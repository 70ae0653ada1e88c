"""A message bus of our own, and what stands on it in the tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

from kdumpd.service.bus import (
    Caller,
    Client,
    Connection,
    Description,
    Exports,
    Gate,
    Interface,
    Request,
    Value,
    describe,
)
from kdumpd.service.bus.description import Method
from kdumpd.service.permissions import (
    BUS_NAME,
    CONFIG,
    DUMP,
    JOB,
    KERNEL,
    LOG_CONTROL,
    LOG_CONTROL_PATH,
    MANAGER,
    ROOT,
    file_of,
)

DATA = Path(__file__).parents[2] / "dbus"
NOBODY = 65534

DESCRIPTIONS: Mapping[str, Description] = {
    name: describe((DATA / file_of(name)).read_text(encoding="utf-8"))
    for name in (MANAGER, CONFIG, JOB, KERNEL, DUMP, LOG_CONTROL)
}

PLACES: Mapping[str, tuple[str, ...]] = {
    ROOT: (MANAGER, CONFIG),
    f"{ROOT}/jobs/1": (JOB,),
    f"{ROOT}/kernels/_36_2e1": (KERNEL,),
    f"{ROOT}/dumps/d1": (DUMP,),
    LOG_CONTROL_PATH: (LOG_CONTROL,),
}

SAMPLES: Mapping[str, Value] = {
    "s": "some text",
    "o": "/",
    "b": True,
    "u": 7,
    "t": 1_700_000_000_000_000,
    "d": 0.5,
    "as": ("one", "two"),
    "a{sv}": {"key": "value"},
    "a{ss}": {"key": "value"},
    "a(uss)": ((1, "dpkg", "packages are being installed"),),
    "aa{sv}": ({"key": "value"},),
    "(ss)": ("name", "text"),
    "a(ussss)": ((3, "error", "unknown-setting", "pth", "There is no setting pth."),),
}
"""One value of each type that the interfaces speak of."""

# As /usr/share/dbus-1/system.conf has it: nothing may be owned or called but what a policy of a service allows.
_CONFIGURATION = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>unix:path={directory}/bus</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Peer"/>
  </policy>
  <policy user="{uid}">
    <allow own="org.kdumpd.Kdump1"/>
    <allow own="org.kdumpd.Echo"/>
    <allow own="org.freedesktop.PolicyKit1"/>
    <allow own="org.freedesktop.login1"/>
    <allow send_type="method_call"/>
  </policy>
  <policy context="default">
    <allow send_destination="org.kdumpd.Echo"/>
  </policy>
  {policies}
</busconfig>
"""


class PrivateBus:
    """A dbus-daemon with the rules of a system bus, our policy among them."""

    def __init__(self, directory: str, *, policies: Sequence[Path] = ()) -> None:
        """`policies`: of services that are to be there beside ours."""
        self._daemon: asyncio.subprocess.Process | None = None
        self.address = f"unix:path={directory}/bus"
        self._configuration = Path(directory, "bus.conf")
        self._configuration.write_text(
            _CONFIGURATION.format(
                directory=directory,
                uid=os.getuid(),
                policies="".join(
                    f"<include>{policy}</include>" for policy in (DATA / "org.kdumpd.Kdump1.conf", *policies)
                ),
            ),
            encoding="utf-8",
        )

    async def start(self) -> None:
        self._daemon = await asyncio.create_subprocess_exec(
            "dbus-daemon",
            f"--config-file={self._configuration}",
            "--nofork",
            "--nopidfile",
            "--print-address",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._daemon.stdout is not None
        assert await self._daemon.stdout.readline()

    async def kill(self) -> None:
        if self._daemon is not None and self._daemon.returncode is None:
            self._daemon.send_signal(signal.SIGKILL)
            await self._daemon.communicate()
            self._daemon = None

    @contextlib.asynccontextmanager
    async def connected(self, *, as_nobody: bool = False) -> AsyncIterator[Connection]:
        connection = Connection(self.address)
        with effective_uid(NOBODY if as_nobody else os.getuid()):
            await connection.open()
        try:
            yield connection
        finally:
            await connection.close()

    @contextlib.asynccontextmanager
    async def client(self, name: str = BUS_NAME, *, as_nobody: bool = False) -> AsyncIterator[Client]:
        async with self.connected(as_nobody=as_nobody) as connection:
            yield Client(connection, name)

    @contextlib.asynccontextmanager
    async def serving(
        self, name: str, gate: Callable[[Connection], Gate], objects: Mapping[str, tuple[Interface, ...]]
    ) -> AsyncIterator[tuple[Connection, Exports]]:
        async with self.connected() as connection:
            exports = Exports(connection, root=ROOT, gate=gate(connection))
            try:
                for path, interfaces in objects.items():
                    exports.add(path, *interfaces)
                await connection.own(name)
                yield connection, exports
            finally:
                await exports.close()


@contextlib.asynccontextmanager
async def private_bus() -> AsyncIterator[PrivateBus]:
    """In a directory that any uid may enter, unlike the temporary ones of pytest."""
    directory = tempfile.mkdtemp(prefix="kdumpd-bus-")
    os.chmod(directory, 0o755)  # noqa: S103 - another uid connects
    bus = PrivateBus(directory)
    try:
        await bus.start()
        yield bus
    finally:
        await bus.kill()
        shutil.rmtree(directory)


@contextlib.contextmanager
def effective_uid(uid: int) -> Iterator[None]:
    """The bus knows a client by the effective uid it had when it connected."""
    before = os.geteuid()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)


class Open:
    """A gate that is no gate."""

    def __init__(self, _connection: Connection) -> None:
        pass

    async def admit(self, request: Request) -> None:
        pass


class StandIn(Interface):
    """Serves any description: each property and each result is the sample of its type; `ran` says what was called."""

    def __init__(self, description: Description) -> None:
        self.ran: list[str] = []
        self.values = {prop.name: SAMPLES[prop.signature] for prop in description.properties.values()}
        self.owner = -1
        for method in description.methods.values():
            setattr(self, method.attribute, self._body(method))
        super().__init__(description)

    def properties(self) -> Mapping[str, Value]:
        return self.values

    def write(self, name: str, _value: Value) -> None:
        self.ran.append(name)

    def owner_uid(self) -> int | None:
        return self.owner

    def authorisation_details(self, member: str, arguments: tuple[Value, ...]) -> Mapping[str, str]:
        return {"kernel": str(arguments[0])} if member == "Rebuild" else {}

    def _body(self, method: Method) -> Callable[..., Awaitable[Value | None]]:
        async def body(_caller: Caller, *arguments: Value) -> Value | None:
            assert len(arguments) == len(method.takes)
            self.ran.append(method.name)
            results = tuple(SAMPLES[result.signature] for result in method.returns)
            return results[0] if len(results) == 1 else results or None

        return body


def stand_ins() -> dict[str, tuple[StandIn, ...]]:
    return {path: tuple(StandIn(DESCRIPTIONS[name]) for name in names) for path, names in PLACES.items()}


def arguments_for(method: Method) -> tuple[Value, ...]:
    """A value for each argument that the method would take up; the options are empty, the kernel and the target those of the configuration."""
    harmless: Mapping[str, Value] = {"options": {}, "kernel": "", "target": {}}
    return tuple(harmless.get(argument.name, SAMPLES[argument.signature]) for argument in method.takes)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
