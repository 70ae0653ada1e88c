"""The real polkitd on a private bus decides, by our policy, what a user in a session at the machine may do and when to ask.

What logind would say of that session is written down for polkitd, in mounts of its own, as logind writes it down.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from kdumpd.service.bus import BusError, Client, ErrorName, Typed
from kdumpd.service.permissions import BUS_NAME, CONFIG, MANAGER, ROOT, RULES, Action
from kdumpd.service.polkit import AUTHORITY, AUTHORITY_PATH, POLKIT
from tests.service.private_bus import DATA, DESCRIPTIONS, NOBODY, PrivateBus, arguments_for
from tests.simulate import PATIENCE, RELEASE, REPOSITORY, Machine, simulated

_POLKITD = next(
    (path for path in ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd") if Path(path).exists()), ""
)
_POLICY_OF_POLKIT = Path("/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf")
_SESSION = f"""\
UID={NOBODY}
ACTIVE=1
IS_DISPLAY=1
STATE=active
REMOTE=0
TYPE=tty
CLASS=user
SCOPE=session-7.scope
SEAT=seat0
VTNR=1
"""
_USER = """\
NAME=nobody
STATE=active
DISPLAY=7
SESSIONS=7
ACTIVE_SESSIONS=7
ONLINE_SESSIONS=7
SEATS=seat0
ACTIVE_SEATS=seat0
ONLINE_SEATS=seat0
"""
_NAMESPACE = """\
set -eu
mount -t tmpfs none /run/systemd
mkdir -p /run/systemd/sessions /run/systemd/seats /run/systemd/users /run/systemd/machines
cp "$1/session" /run/systemd/sessions/7
cp "$1/user" "/run/systemd/users/$4"
mount --bind "$1/actions" /usr/share/polkit-1/actions
mount --bind "$1/cgroup" "/proc/$2/cgroup"
exec "$3" --no-debug
"""

REFUSALS = {ErrorName.ACCESS_DENIED, ErrorName.INTERACTIVE_AUTHORIZATION_REQUIRED}

pytestmark = [
    pytest.mark.usefixtures("can_mount"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(not (_POLKITD and _POLICY_OF_POLKIT.exists()), reason="polkitd is not installed"),
]


@dataclass(kw_only=True)
class Session:
    """A user at the machine, who knows the password and types it when asked."""

    process: asyncio.subprocess.Process
    authority: Client
    results: Sequence[str] = ()
    """What the last call gave."""

    async def call(
        self, interface: str, member: str, signature: str, *arguments: object
    ) -> tuple[str, list[str]]:
        """How it ended, nothing or the name of an error; and the action of each prompt on the way to that."""
        await self._tell({"call": [ROOT, interface, member, signature, list(arguments)]})
        prompts = []
        while "prompt" in (heard := await self.hear()):
            prompts.append(str(heard["prompt"]))
            await self.type_the_password(heard)
        self.results = cast("Sequence[str]", heard.get("results", ()))
        return str(heard["outcome"]), prompts

    async def begin(
        self, interface: str, member: str, signature: str, *arguments: object
    ) -> Mapping[str, object]:
        """The prompt that it leads to."""
        await self._tell({"call": [ROOT, interface, member, signature, list(arguments)]})
        return await self.hear()

    async def type_the_password(self, prompt: Mapping[str, object]) -> None:
        """As polkit-agent-helper-1 tells polkit, as root, once PAM has taken it."""
        kind, whose = cast("tuple[str, Mapping[str, int]]", prompt["identity"])
        identity = (kind, {name: _u32(value) for name, value in whose.items()})
        await self.authority.call(
            AUTHORITY_PATH,
            AUTHORITY,
            "AuthenticationAgentResponse2",
            "us(sa{sv})",
            NOBODY,
            str(prompt["cookie"]),
            identity,
        )
        await self._tell({"typed": prompt["cookie"]})

    async def hear(self) -> Mapping[str, object]:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return cast("Mapping[str, object]", json.loads(await self.process.stdout.readline()))

    async def _tell(self, what: Mapping[str, object]) -> None:
        await tell(self.process, json.dumps(what))


def _u32(number: int) -> Typed:
    return Typed(signature="u", value=number)


async def tell(process: asyncio.subprocess.Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())
    await process.stdin.drain()


@contextlib.asynccontextmanager
async def _running(*argv: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def at_the_machine(folder: Path) -> AsyncIterator[tuple[Machine, Session]]:
    written = folder / "polkit"
    (written / "actions").mkdir(parents=True)
    shutil.copy(DATA / "org.kdumpd.Kdump1.policy", written / "actions")
    (written / "session").write_text(_SESSION)
    (written / "user").write_text(_USER)
    scope = f"/user.slice/user-{NOBODY}.slice/session-7.scope"
    (written / "cgroup").write_text(f"1:name=systemd:{scope}\n0::{scope}\n")
    async with contextlib.AsyncExitStack() as stack:
        directory = tempfile.mkdtemp(prefix="kdumpd-bus-")
        stack.callback(shutil.rmtree, directory)
        os.chmod(directory, 0o755)  # noqa: S103 - other uids connect
        bus = PrivateBus(directory, policies=(_POLICY_OF_POLKIT,))
        await bus.start()
        stack.push_async_callback(bus.kill)
        machine = await stack.enter_async_context(simulated(folder, bus))
        user = await stack.enter_async_context(
            _running(sys.executable, "-m", "tests.daemon.polkit_session", bus.address, str(NOBODY))
        )
        session = Session(process=user, authority=Client(machine.client._connection, POLKIT))
        await session.hear()
        await stack.enter_async_context(
            _running(
                *("unshare", "-m", "--propagation", "private", "sh", "-c", _NAMESPACE, "sh"),
                *(str(written), str(user.pid), _POLKITD, str(NOBODY)),
                DBUS_SYSTEM_BUS_ADDRESS=bus.address,
            )
        )
        async with asyncio.timeout(PATIENCE):
            while not await session.authority.is_running():  # noqa: ASYNC110 - polkitd tells nobody else
                await asyncio.sleep(0.05)
        await tell(user, "")
        assert await session.hear() == {"outcome": "registered"}
        await machine.until_armed()
        yield machine, session


async def test_who_gave_the_password_is_not_asked_again_but_for_a_crash(tmp_path: Path) -> None:
    async with at_the_machine(tmp_path) as (machine, session):
        prompt = await session.begin(MANAGER, "Rebuild", "sa{sv}", "", {})
        assert prompt["prompt"] == Action.REBUILD
        assert (
            prompt["message"] == f"Authentication is required to rebuild the kdump image for kernel {RELEASE}"
        )
        await session.type_the_password(prompt)
        assert (await session.hear())["outcome"] == ""
        assert await session.call(MANAGER, "Rebuild", "sa{sv}", "", {}) == ("", [])
        assert await session.call(MANAGER, "Refresh", "a{sv}", {}) == ("", [Action.RELOAD])
        assert await session.call(MANAGER, "Refresh", "a{sv}", {}) == ("", [])
        for _ in range(2):
            assert await session.call(MANAGER, "PrepareTestCrash", "a{sv}", {}) == ("", [])
            token = session.results[0]
            # So that it comes to an end, and to none that matters, once it is authorised.
            (cookie,) = await machine.client.call(ROOT, MANAGER, "Inhibit", "ssa{sv}", "test", "not now", {})
            outcome, prompts = await session.call(MANAGER, "TestCrash", "sa{sv}", token, {})
            assert prompts == [Action.TEST_CRASH]
            assert outcome == f"{BUS_NAME}.Error.Inhibited"
            await machine.client.call(ROOT, MANAGER, "ReleaseInhibit", "u", cookie)


async def test_who_may_change_the_configuration_may_have_it_built(tmp_path: Path) -> None:
    async with at_the_machine(tmp_path) as (machine, session):
        _settings, etag = await machine.client.call(ROOT, CONFIG, "Get", "a{sv}", {})
        told = await session.call(CONFIG, "Set", "a{sv}sa{sv}", {}, str(etag), {})
        assert told == ("", [Action.MODIFY_CONFIG])
        assert await session.call(MANAGER, "Rebuild", "sa{sv}", "", {}) == ("", [])


async def test_a_prompt_goes_with_its_caller(tmp_path: Path) -> None:
    async with at_the_machine(tmp_path) as (machine, session):
        armed = machine.armed_with
        await session.begin(MANAGER, "Unload", "a{sv}", {})
        session.process.kill()
        await session.process.wait()
        assert (await machine.client.get_all(ROOT, MANAGER))["State"] == "armed"
        assert machine.armed_with == armed


async def test_a_user_without_the_password_reads_state_and_changes_nothing(tmp_path: Path) -> None:
    """Without an agent, as over the network; what anybody may read has no secret in it."""
    async with at_the_machine(tmp_path) as (machine, _session):
        secret = "option-with-a-secret"
        machine.conf.write_text(f"path /var/crash\n# {secret}\n")
        armed = machine.armed_with["load"]
        before = machine.conf.read_bytes()
        bus = machine._bus
        told: list[str] = []
        async with bus.client(as_nobody=True) as nobody:
            for name in (MANAGER, CONFIG):
                told.append(repr(await nobody.get_all(ROOT, name)))
                for method in DESCRIPTIONS[name].methods.values():
                    refusal = ""
                    try:
                        answer = await nobody.call(
                            ROOT,
                            name,
                            method.name,
                            method.signature_in,
                            *arguments_for(method),
                            interactive=False,
                        )
                        told.append(repr(answer))
                    except BusError as fault:
                        told.append(str(fault))
                        refusal = fault.name if fault.name in REFUSALS else ""
                    # A token that nobody gave is refused before polkit is asked.
                    is_for_few = RULES[name, method.name].action not in {None, Action.TEST_CRASH}
                    assert bool(refusal) == is_for_few, method.name
            told.append(repr(await nobody.objects(ROOT)))
        assert secret not in "".join(told)
        assert machine.conf.read_bytes() == before
        await machine.until_armed()
        assert machine.armed_with["load"] == armed
