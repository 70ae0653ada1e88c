"""The template for python-dbusmock: what front ends are tested with is what kdumpd serves."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kdumpd import __version__
from kdumpd.service.bus import BusError, Client, ErrorName, Value
from kdumpd.service.bus.description import Method
from kdumpd.service.bus.standard import INTROSPECTABLE
from kdumpd.service.bus.subscription import Match
from kdumpd.service.interfaces import API_REVISION
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
    RULES,
)
from tests.api.reading import members
from tests.api.test_examples import ARMED, EXAMPLES, FRONT_ENDS, SYSTEM_PYTHON, FrontEnd, run, running
from tests.service.private_bus import DATA, DESCRIPTIONS, PrivateBus, arguments_for
from tests.service.test_introspection import canonical, packaged, told
from tests.simulate import PATIENCE

TEMPLATE = DATA / "python-dbusmock" / "kdumpd.py"
MOCK = "org.freedesktop.DBus.Mock"
ID = "127.0.0.1-2026-01-02-03:04:05"


@pytest.fixture
def _can_mock() -> None:
    argv = [SYSTEM_PYTHON, "-c", "import dbusmock"]
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run(argv, check=False, capture_output=True).returncode:
        pytest.skip("not installed: python3-dbusmock")


pytestmark = pytest.mark.usefixtures("_can_mock")


@asynccontextmanager
async def mocked(folder: Path, bus: PrivateBus, parameters: str = "{}") -> AsyncIterator[Client]:
    """A mock that has taken the name, and a client of it; with a dump."""
    argv = (
        SYSTEM_PYTHON,
        "-m",
        "dbusmock",
        "--system",
        "--template",
        str(TEMPLATE),
        "--parameters",
        parameters,
    )
    with (folder / "mock.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=log, stderr=log, env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        )
    try:
        async with bus.connected() as connection:
            client = Client(connection, BUS_NAME)
            owners = Match(sender="org.freedesktop.DBus", member="NameOwnerChanged", arg0=BUS_NAME)
            async with asyncio.timeout(PATIENCE), connection.signals(owners) as comings:
                if not await client.is_running():
                    await anext(comings)
            await client.call(ROOT, MOCK, "AddDump", "sttbs", ID, 1_767_323_045_000_000, 4, True, "panic")  # noqa: FBT003 - an argument of D-Bus
            yield client
    except BaseException:
        print((folder / "mock.log").read_text())
        raise
    finally:
        process.kill()
        await process.wait()


def places(objects: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    return {
        ROOT: (MANAGER, CONFIG),
        LOG_CONTROL_PATH: (LOG_CONTROL,),
        **{path: (name,) for path in objects for name, part in KINDS.items() if f"/{part}/" in path},
    }


KINDS = {JOB: "jobs", KERNEL: "kernels", DUMP: "dumps"}


async def test_every_interface_is_that_of_the_packaged_files(tmp_path: Path, bus: PrivateBus) -> None:
    async with mocked(tmp_path, bus) as client:
        await client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {})
        objects = await client.objects(ROOT)
        seen = set()
        for path, names in places(objects).items():
            (xml,) = await client.call(path, INTROSPECTABLE, "Introspect")
            interfaces = told(str(xml))
            for name in names:
                assert canonical(interfaces[name]) == canonical(packaged(name))
                assert (await client.get_all(path, name)).keys() == DESCRIPTIONS[name].properties.keys()
                seen.add(name)
        assert seen == DESCRIPTIONS.keys()
        assert await client.get(ROOT, MANAGER, "ApiRevision") == API_REVISION
        assert await client.get(ROOT, MANAGER, "Version") == __version__


async def test_every_method_answers_as_the_files_say(tmp_path: Path, bus: PrivateBus) -> None:
    """With results of the right types, which the bus library checks, or an error that the method may have."""
    async with mocked(tmp_path, bus) as client:
        await client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {})
        for path, names in places(await client.objects(ROOT)).items():
            for name in names:
                for method in DESCRIPTIONS[name].methods.values():
                    own = members()[name, method.name].errors or ()
                    fault = await outcome_of(client, path, name, method)
                    assert fault in {"", *own, ErrorName.INVALID_ARGS, ErrorName.LIMITS_EXCEEDED}, method.name


async def outcome_of(client: Client, path: str, interface: str, method: Method) -> str:
    """The name of the error, or nothing where it has as many results as it should."""
    try:
        found = await client.call(path, interface, method.name, method.signature_in, *arguments_for(method))
    except BusError as fault:
        return fault.name
    return "" if len(found) == len(method.returns) else f"{len(found)} results"


@pytest.mark.parametrize("name", FRONT_ENDS)
async def test_an_example_can_be_tested_with_it(tmp_path: Path, bus: PrivateBus, name: str) -> None:
    front_end = FRONT_ENDS[name]
    if front_end.missing:
        pytest.skip(f"not installed: {front_end.missing}")
    async with mocked(tmp_path, bus) as client:
        assert (await run(front_end, bus.address, "status")).lines == (
            f"{ARMED} /dev/vda1 (ext4) in /var/crash",
        )
        async with running(front_end, bus.address, ("watch", "2")) as watching:
            assert (await watching.line()).startswith(ARMED)
            await client.call(ROOT, MOCK, "SetState", "sss", "failed", "no-space", "failed: the disk is full")
            assert (await watching.said()).lines == ("failed: the disk is full",)
        done = await run(front_end, bus.address, "configure", "path=/srv/dumps")
        assert (done.status, done.lines[-1]) == (0, f"{ARMED} /dev/vda1 (ext4) in /srv/dumps")
        await client.call(ROOT, MOCK, "FailNext", "ss", "BuildFailed", "It cannot be built.")
        failed = await run(front_end, bus.address, "configure", "path=/elsewhere")
        assert (failed.status, failed.complaint) == (1, "It cannot be built.")
        assert await client.call(ROOT, CONFIG, "GetText", "a{sv}", {}) == (
            "# where dumps go\npath /srv/dumps\n",
            await client.get(ROOT, CONFIG, "Etag"),
        )
        assert (await run(front_end, bus.address, "dumps")).lines == (f"{ID}  4 bytes  complete  panic",)
        assert (await run(front_end, bus.address, "delete", ID, answer="y\n")).lines[-1].endswith("deleted")
        assert (await run(front_end, bus.address, "dumps")).lines == ()
        assert len((await run(front_end, bus.address, "history", "5")).lines) == 2


async def test_the_example_of_a_test_crash_can_be_tested_with_it(tmp_path: Path, bus: PrivateBus) -> None:
    example = FrontEnd(argv=(sys.executable, str(EXAMPLES / "test-crash.py")))
    async with mocked(tmp_path, bus) as client:
        done = await run(example, bus.address, "configure", "crash@server.example.com", "/srv/dumps")
        assert (done.status, done.lines[-1]) == (0, f"{ARMED} /dev/vda1 (ext4) in /srv/dumps")
        assert (await run(example, bus.address, "outcome")).status == 3, "there was none"
        crash = await run(example, bus.address, "crash")
        assert crash.lines[0].startswith("to be saved to /dev/vda1 (ext4) in /srv/dumps")
        assert await client.get(ROOT, MANAGER, "TestCrashState") == "pending"
        async with running(example, bus.address, ("outcome",)) as waiting:
            await client.call(ROOT, MOCK, "EndTestCrash", "ss", "passed", "The dump is there.")
            assert (await waiting.said()).lines == ("passed: The dump is there.",)
        with pytest.raises(BusError) as caught:
            await client.call(ROOT, MANAGER, "TestCrash", "sa{sv}", "of another", {})
        assert caught.value.name == ErrorName.TOKEN_INVALID


async def test_an_edit_in_between_is_a_conflict(tmp_path: Path, bus: PrivateBus) -> None:
    async with mocked(tmp_path, bus) as client:
        _text, etag = await client.call(ROOT, CONFIG, "GetText", "a{sv}", {})
        async with client.signals(CONFIG, "Changed", path=ROOT) as changes:
            await client.call(ROOT, MOCK, "EditFile", "s", "path /theirs\n")
            new, keys, origin = (await anext(changes)).body
        assert (keys, origin) == (("path",), "file")
        with pytest.raises(BusError) as caught:
            await client.call(ROOT, CONFIG, "SetText", "ssa{sv}", "path /ours\n", etag, {})
        assert caught.value.name == ErrorName.CONFLICT
        assert await client.get(ROOT, CONFIG, "Etag") == new


@pytest.mark.parametrize(
    ("permission", "error"),
    [("auth", ErrorName.INTERACTIVE_AUTHORIZATION_REQUIRED), ("no", ErrorName.ACCESS_DENIED)],
)
async def test_what_needs_an_action_is_refused_without_it(
    tmp_path: Path, bus: PrivateBus, permission: str, error: ErrorName
) -> None:
    async with mocked(tmp_path, bus, f'{{"permissions": "{permission}"}}') as client:
        (permissions,) = await client.call(ROOT, MANAGER, "GetPermissions")
        actions = {str(rule.action) for rule in RULES.values() if rule.action is not None}
        assert permissions == dict.fromkeys(actions, permission)
        outcome: dict[str, bool] = {}
        for name in (MANAGER, CONFIG):
            for method in DESCRIPTIONS[name].methods.values():
                arguments: tuple[Value, ...] = arguments_for(method)
                try:
                    await client.call(ROOT, name, method.name, method.signature_in, *arguments)
                    outcome[method.name] = True
                except BusError as fault:
                    outcome[method.name] = fault.name != error
        free = {
            member: rule.action is None for (name, member), rule in RULES.items() if name in {MANAGER, CONFIG}
        }
        assert outcome == free
        await client.call(ROOT, MOCK, "SetPermission", "ss", f"{BUS_NAME}.rebuild", "yes")
        assert await client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {}) == (f"{ROOT}/jobs/1",)
