"""Who may do what: every method of every interface, polkit's answers, and the files that must agree."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from xml.etree import ElementTree as ET

import pytest

from kdumpd.service.bus import BusError, Caller, Client, Connection, ErrorName, Interface, Value, describe
from kdumpd.service.bus.standard import PEER, PROPERTIES
from kdumpd.service.permissions import BUS_NAME, JOB, LOG_CONTROL_PATH, MANAGER, ROOT, RULES, Action
from kdumpd.service.polkit import AUTHORITY_PATH, CHECKS_PER_UID, POLKIT, PROMPTS, PROMPTS_PER_UID, Polkit
from tests.service.private_bus import (
    DATA,
    DESCRIPTIONS,
    NOBODY,
    PLACES,
    SAMPLES,
    Open,
    PrivateBus,
    StandIn,
    arguments_for,
    stand_ins,
)
from tests.service.world import VirtualClock

_XML = """
<node><interface name="org.freedesktop.PolicyKit1.Authority">
  <method name="CheckAuthorization">
    <arg name="subject" type="(sa{sv})" direction="in"/><arg name="action_id" type="s" direction="in"/>
    <arg name="details" type="a{ss}" direction="in"/><arg name="flags" type="u" direction="in"/>
    <arg name="cancellation_id" type="s" direction="in"/><arg name="result" type="(bba{ss})" direction="out"/>
  </method>
  <method name="CancelCheckAuthorization"><arg name="cancellation_id" type="s" direction="in"/></method>
</interface></node>
"""

YES: Value = (True, False, {})
NO: Value = (False, False, {})
CHALLENGE: Value = (False, True, {})
DISMISSED: Value = (False, False, {"polkit.dismissed": "true"})

pytestmark = pytest.mark.usefixtures("can_be_nobody")


class Authority(Interface):
    """Answers as it is told to, once it is let go."""

    def __init__(self, answer: Value, after_asking: Value) -> None:
        super().__init__(describe(_XML))
        self.answer = answer
        self.after_asking = after_asking
        self.asked: list[tuple[Value, ...]] = []
        self.withdrawn: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.was_asked = asyncio.Event()
        self.was_withdrawn = asyncio.Event()

    async def check_authorization(self, _caller: Caller, *question: Value) -> Value:
        self.asked.append(question)
        self.was_asked.set()
        await self.may_answer.wait()
        return self.after_asking if question[3] else self.answer

    @property
    def prompts(self) -> list[tuple[Value, ...]]:
        """The questions that let the user be asked for a password."""
        return [question for question in self.asked if question[3]]

    def cancel_check_authorization(self, _caller: Caller, cancellation: str) -> None:
        self.withdrawn.append(cancellation)
        self.was_withdrawn.set()


@contextlib.asynccontextmanager
async def authority(
    bus: PrivateBus, answer: Value, *, after_asking: Value | None = None
) -> AsyncIterator[Authority]:
    served = Authority(answer, answer if after_asking is None else after_asking)
    async with bus.serving(POLKIT, Open, {AUTHORITY_PATH: (served,)}):
        yield served


@contextlib.asynccontextmanager
async def service(
    bus: PrivateBus, clock: VirtualClock | None = None
) -> AsyncIterator[dict[str, tuple[StandIn, ...]]]:
    objects = stand_ins()
    async with bus.serving(
        BUS_NAME, lambda connection: Polkit(connection, (clock or VirtualClock()).boottime), objects
    ):
        yield objects


def everything_that_ran(objects: Mapping[str, tuple[StandIn, ...]]) -> set[tuple[str, str]]:
    return {
        (served.description.name, member)
        for group in objects.values()
        for served in group
        for member in served.ran
    }


async def call_everything(client: Client) -> dict[tuple[str, str], str]:
    """Each method of each file, and each write of a property, with the name of the error it ended with, or nothing."""
    outcome = {}
    for path, names in PLACES.items():
        for name in names:
            for method in DESCRIPTIONS[name].methods.values():
                try:
                    await client.call(path, name, method.name, method.signature_in, *arguments_for(method))
                    outcome[name, method.name] = ""
                except BusError as fault:
                    outcome[name, method.name] = fault.name
            for prop in writable(name):
                try:
                    await client.call(path, PROPERTIES, "Set", "ssv", name, prop, SAMPLES["s"])
                    outcome[name, prop] = ""
                except BusError as fault:
                    outcome[name, prop] = fault.name
    return outcome


def writable(interface: str) -> set[str]:
    return {prop.name for prop in DESCRIPTIONS[interface].properties.values() if prop.is_writable}


@pytest.mark.parametrize("has_polkit", [True, False])
async def test_nobody_may_change_anything(bus: PrivateBus, *, has_polkit: bool) -> None:
    polkit = authority(bus, NO) if has_polkit else contextlib.nullcontext()
    async with polkit, service(bus) as objects, bus.client(as_nobody=True) as client:
        outcome = await call_everything(client)
        free = {member for member, rule in RULES.items() if rule.action is None}
        assert {member for member, fault in outcome.items() if fault == ""} == free
        assert {fault for member, fault in outcome.items() if member not in free} == {ErrorName.ACCESS_DENIED}
        assert everything_that_ran(objects) == free


async def test_everyone_may_look(bus: PrivateBus) -> None:
    async with service(bus) as objects, bus.client(as_nobody=True) as client:
        for path, group in objects.items():
            for served in group:
                assert await client.get_all(path, served.description.name) == served.values
        assert set(await client.objects(ROOT)) == PLACES.keys() - {ROOT, LOG_CONTROL_PATH}


async def test_the_bus_itself_stops_what_is_not_ours(bus: PrivateBus) -> None:
    async with service(bus), bus.client(as_nobody=True) as client:
        with pytest.raises(BusError) as caught:
            await client.call(ROOT, "org.freedesktop.Accounts", "Anything")
        assert caught.value.name == ErrorName.ACCESS_DENIED
        assert await client.call(ROOT, PEER, "Ping") == ()
    async with bus.connected(as_nobody=True) as connection:
        with pytest.raises(BusError) as caught:
            await connection.own(BUS_NAME)
        assert caught.value.name == ErrorName.ACCESS_DENIED


async def test_root_may_do_everything_and_polkit_is_not_asked(bus: PrivateBus) -> None:
    async with authority(bus, NO) as polkit, service(bus) as objects, bus.client() as client:
        assert set((await call_everything(client)).values()) == {""}
        assert everything_that_ran(objects) == RULES.keys()
        assert not polkit.asked


async def test_polkit_hears_who_wants_what(bus: PrivateBus) -> None:
    async with (
        authority(bus, CHALLENGE, after_asking=YES) as polkit,
        service(bus) as objects,
        bus.connected(as_nobody=True) as connection,
    ):
        client = Client(connection, BUS_NAME)
        assert await client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "6.1", {}, interactive=True) == ("/",)
        (prompt,) = polkit.prompts
        subject, action, details, flags, _ = prompt
        assert subject == ("system-bus-name", {"name": connection.unique_name})
        assert (action, details, flags) == (Action.REBUILD, {"kernel": "6.1"}, 1)
        for options, is_interactive in (({}, False), ({"auth.no_user_interaction": True}, True)):
            with pytest.raises(BusError) as caught:
                await client.call(ROOT, MANAGER, "Reload", "a{sv}", options, interactive=is_interactive)
            assert caught.value.name == ErrorName.INTERACTIVE_AUTHORIZATION_REQUIRED
        assert polkit.prompts == [prompt]
        assert objects[ROOT][0].ran == ["Rebuild"]


async def test_who_needs_no_password_is_not_asked_for_one(bus: PrivateBus) -> None:
    async with authority(bus, YES) as polkit, service(bus), bus.client(as_nobody=True) as client:
        for _ in range(int(PROMPTS.at_once) * 2):
            await client.call(ROOT, MANAGER, "Refresh", "a{sv}", {}, interactive=True)
        assert not polkit.prompts


async def test_passwords_are_asked_for_so_often_and_no_more(bus: PrivateBus) -> None:
    clock = VirtualClock()
    async with authority(bus, CHALLENGE, after_asking=DISMISSED) as polkit, service(bus, clock):

        async def refusal() -> str:
            async with bus.client(
                as_nobody=True
            ) as client:  # another connection each time: it is the user who counts
                with pytest.raises(BusError) as caught:
                    await client.call(ROOT, MANAGER, "Unload", "a{sv}", {}, interactive=True)
                return caught.value.name

        most = int(PROMPTS.at_once)
        assert {await refusal() for _ in range(most)} == {ErrorName.AUTH_DISMISSED}
        assert await refusal() == ErrorName.LIMITS_EXCEEDED
        clock.set_back(3600)  # which nobody has to wait for
        clock.advance(1 / PROMPTS.each_second)
        assert [await refusal(), await refusal()] == [ErrorName.AUTH_DISMISSED, ErrorName.LIMITS_EXCEEDED]
        assert len(polkit.prompts) == most + 1
        async with bus.client() as root:
            await root.call(ROOT, MANAGER, "Unload", "a{sv}", {})


async def test_one_user_has_so_many_prompts_on_the_screen(bus: PrivateBus) -> None:
    async with authority(bus, CHALLENGE, after_asking=YES) as polkit, service(bus):
        async with bus.client(as_nobody=True) as client:
            polkit.may_answer.clear()
            calls = [
                asyncio.create_task(client.call(ROOT, MANAGER, "Refresh", "a{sv}", {}))
                for _ in range(PROMPTS_PER_UID + 1)
            ]
            while len(polkit.asked) < PROMPTS_PER_UID + 1:
                polkit.was_asked.clear()
                await polkit.was_asked.wait()
            polkit.may_answer.set()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [fault.name for fault in outcomes if isinstance(fault, BusError)] == [
            ErrorName.LIMITS_EXCEEDED
        ]
        assert len(polkit.prompts) == PROMPTS_PER_UID


@pytest.mark.parametrize(
    ("answer", "interactive", "error"),
    [
        (NO, True, ErrorName.ACCESS_DENIED),
        (NO, False, ErrorName.ACCESS_DENIED),
        (CHALLENGE, False, ErrorName.INTERACTIVE_AUTHORIZATION_REQUIRED),
        (CHALLENGE, True, ErrorName.ACCESS_DENIED),
        (DISMISSED, True, ErrorName.AUTH_DISMISSED),
    ],
)
async def test_a_refusal_has_its_name(
    bus: PrivateBus, answer: Value, *, interactive: bool, error: ErrorName
) -> None:
    async with authority(bus, answer), service(bus) as objects, bus.client(as_nobody=True) as client:
        with pytest.raises(BusError) as caught:
            await client.call(ROOT, MANAGER, "Unload", "a{sv}", {}, interactive=interactive)
        assert caught.value.name == error
        assert not everything_that_ran(objects)


async def test_an_option_of_the_wrong_type_is_no_permission(bus: PrivateBus) -> None:
    async with authority(bus, YES) as polkit, service(bus), bus.client(as_nobody=True) as client:
        with pytest.raises(BusError) as caught:
            await client.call(ROOT, MANAGER, "Unload", "a{sv}", {"auth.no_user_interaction": "no"})
        assert caught.value.name == ErrorName.INVALID_ARGS
        assert not polkit.asked


async def test_ones_own_job_is_free_to_cancel(bus: PrivateBus) -> None:
    async with authority(bus, NO) as polkit, service(bus) as objects, bus.client(as_nobody=True) as client:
        (path,) = (path for path, names in PLACES.items() if names == (JOB,))
        objects[path][0].owner = NOBODY
        await client.call(path, JOB, "Cancel", "a{sv}", {})
        assert objects[path][0].ran == ["Cancel"]
        assert not polkit.asked


async def test_a_question_holds_up_nobody_else(bus: PrivateBus) -> None:
    async with (
        authority(bus, YES) as polkit,
        service(bus),
        bus.client(as_nobody=True) as slow,
        bus.client(as_nobody=True) as quick,
    ):
        polkit.may_answer.clear()
        call = asyncio.create_task(slow.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {}))
        await polkit.was_asked.wait()
        assert await quick.get(ROOT, MANAGER, "State") == "some text"
        assert not call.done()
        polkit.may_answer.set()
        assert await call == ("/",)


async def test_a_question_is_withdrawn_when_its_caller_leaves(bus: PrivateBus) -> None:
    async with authority(bus, YES) as polkit, service(bus) as objects:
        polkit.may_answer.clear()
        async with bus.client(as_nobody=True) as client:
            call = asyncio.create_task(client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {}))
            await polkit.was_asked.wait()
        await polkit.was_withdrawn.wait()
        assert polkit.withdrawn == [polkit.asked[0][4]]
        polkit.may_answer.set()
        with pytest.raises(BusError):
            await call
        assert not everything_that_ran(objects)


async def test_one_user_has_so_many_questions_at_a_time(bus: PrivateBus) -> None:
    async with authority(bus, YES) as polkit, service(bus), bus.client(as_nobody=True) as client:
        polkit.may_answer.clear()
        calls = [
            asyncio.create_task(client.call(ROOT, MANAGER, "Refresh", "a{sv}", {}))
            for _ in range(CHECKS_PER_UID)
        ]
        while len(polkit.asked) < CHECKS_PER_UID:
            polkit.was_asked.clear()
            await polkit.was_asked.wait()
        async with bus.client(as_nobody=True) as same_user:
            with pytest.raises(BusError) as caught:
                await same_user.call(ROOT, MANAGER, "Refresh", "a{sv}", {})
        assert caught.value.name == ErrorName.LIMITS_EXCEEDED
        polkit.may_answer.set()
        await asyncio.gather(*calls)


@pytest.mark.parametrize(("answer", "word"), [(YES, "yes"), (CHALLENGE, "auth"), (NO, "no"), (None, "no")])
async def test_permissions_are_told_without_asking_the_user(
    bus: PrivateBus, answer: Value | None, word: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        polkit = await stack.enter_async_context(authority(bus, answer)) if answer is not None else None
        connection: Connection = await stack.enter_async_context(bus.connected())
        nobody = await stack.enter_async_context(bus.connected(as_nobody=True))
        caller = Caller(connection, sender=nobody.unique_name, is_interactive=True)
        gate = Polkit(connection, VirtualClock().boottime)
        assert await gate.permissions(caller) == dict.fromkeys(Action, word)
        assert polkit is None or all(question[3] == 0 for question in polkit.asked)
        root = Caller(connection, sender=connection.unique_name, is_interactive=True)
        assert set((await gate.permissions(root)).values()) == {"yes"}


def test_the_table_has_a_row_for_each_method_and_no_other() -> None:
    served = {
        (name, member)
        for name, description in DESCRIPTIONS.items()
        for member in (*description.methods, *writable(name))
    }
    assert served == RULES.keys()


def test_the_policy_has_each_action_and_asks_for_an_administrator() -> None:
    policy = ET.fromstring((DATA / "org.kdumpd.Kdump1.policy").read_text(encoding="utf-8").split("\n", 3)[3])  # noqa: S314 - ours
    found = {action.get("id"): action for action in policy.findall("action")}
    assert found.keys() == set(Action)
    assert found.keys() == {rule.action for rule in RULES.values() if rule.action is not None}
    for name, action in found.items():
        asks_each_time = {Action.CANCEL_ANY, Action.DELETE_DUMP, Action.TEST_CRASH}
        keeps = "auth_admin" if name in asks_each_time else "auth_admin_keep"
        assert [action.findtext(f"defaults/allow_{who}") for who in ("any", "inactive", "active")] == [
            "auth_admin",
            "auth_admin",
            keeps,
        ]
        assert action.findtext("description")
        assert action.findtext("message")
    (implied,) = found[Action.MODIFY_CONFIG].findall("annotate")
    assert (implied.get("key"), implied.text) == ("org.freedesktop.policykit.imply", Action.REBUILD)
