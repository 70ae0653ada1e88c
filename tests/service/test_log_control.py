"""How much is logged and where to, as `systemctl service-log-level` and `service-log-target` ask for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from kdumpd.service import logs
from kdumpd.service.bus import BusError, Client, ErrorName
from kdumpd.service.bus.standard import PROPERTIES
from kdumpd.service.log_control import LogControl
from kdumpd.service.permissions import BUS_NAME, LOG_CONTROL, LOG_CONTROL_PATH
from kdumpd.service.polkit import Polkit
from tests.service.private_bus import DESCRIPTIONS, PrivateBus
from tests.service.world import VirtualClock


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    root.setLevel(logging.INFO)
    logs.set_target(logs.NOWHERE)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@contextlib.asynccontextmanager
async def controlled(bus: PrivateBus) -> AsyncIterator[None]:
    objects = {LOG_CONTROL_PATH: (LogControl(DESCRIPTIONS[LOG_CONTROL]),)}
    async with bus.serving(BUS_NAME, lambda connection: Polkit(connection, VirtualClock().boottime), objects):
        yield


async def write(client: Client, name: str, value: object) -> None:
    await client.call(LOG_CONTROL_PATH, PROPERTIES, "Set", "ssv", LOG_CONTROL, name, value)  # type: ignore[arg-type]


async def test_a_level_that_is_set_is_logged_from_then_on(bus: PrivateBus) -> None:
    quiet = logging.getLogger("kdumpd.test")
    async with controlled(bus), bus.client() as client:
        assert not quiet.isEnabledFor(logging.DEBUG)
        async with client.signals(PROPERTIES, path=LOG_CONTROL_PATH) as changes:
            await write(client, "LogLevel", "debug")
            assert (await anext(changes)).body == (LOG_CONTROL, {"LogLevel": "debug"}, ())
        assert quiet.isEnabledFor(logging.DEBUG)
        for word in logs.LEVELS:
            await write(client, "LogLevel", word)
            assert await client.get(LOG_CONTROL_PATH, LOG_CONTROL, "LogLevel") == word
        assert not quiet.isEnabledFor(logging.ERROR)  # emerg, the last of them


async def test_what_is_not_supported_is_refused_and_changes_nothing(bus: PrivateBus) -> None:
    async with controlled(bus), bus.client() as client:
        before = await client.get_all(LOG_CONTROL_PATH, LOG_CONTROL)
        for name, value in (
            ("LogLevel", "loud"),
            ("LogLevel", ""),
            ("LogLevel", 7),
            ("LogTarget", "kmsg"),
            ("LogTarget", "syslog"),
        ):
            with pytest.raises(BusError) as caught:
                await write(client, name, value)
            assert caught.value.name == ErrorName.INVALID_ARGS, (name, value)
        with pytest.raises(BusError) as caught:
            await write(client, "SyslogIdentifier", "other")
        assert caught.value.name == ErrorName.PROPERTY_READ_ONLY
        assert await client.get_all(LOG_CONTROL_PATH, LOG_CONTROL) == before


async def test_records_go_where_the_target_says(bus: PrivateBus, capfd: pytest.CaptureFixture[str]) -> None:
    told = logging.getLogger("kdumpd.test")
    async with controlled(bus), bus.client() as client:
        assert await client.get(LOG_CONTROL_PATH, LOG_CONTROL, "LogTarget") == "null"
        told.error("into the void")
        await write(client, "LogTarget", "console")
        assert await client.get(LOG_CONTROL_PATH, LOG_CONTROL, "LogTarget") == "console"
        told.error("to be read")
        await write(client, "LogTarget", "null")
        told.error("into the void again")
    said = capfd.readouterr().err
    assert "to be read" in said
    assert "void" not in said


@pytest.mark.usefixtures("can_be_nobody")
async def test_nobody_reads_it_and_changes_nothing(bus: PrivateBus) -> None:
    async with controlled(bus), bus.client(as_nobody=True) as nobody:
        assert await nobody.get(LOG_CONTROL_PATH, LOG_CONTROL, "SyslogIdentifier") == "kdumpd"
        with pytest.raises(BusError) as caught:
            await write(nobody, "LogLevel", "debug")
        assert caught.value.name == ErrorName.ACCESS_DENIED
        assert logs.level() == "info"


async def test_busctl_sets_it_as_systemctl_does(bus: PrivateBus) -> None:
    """systemctl service-log-level asks for the unit's BusName= and then makes this very call."""
    async with controlled(bus):
        program = await asyncio.create_subprocess_exec(
            "busctl",
            f"--address={bus.address}",
            "set-property",
            BUS_NAME,
            LOG_CONTROL_PATH,
            LOG_CONTROL,
            "LogLevel",
            "s",
            "warning",
        )
        assert await program.wait() == 0
        assert logs.level() == "warning"
