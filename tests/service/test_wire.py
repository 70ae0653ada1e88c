"""Messages to bytes and back, whatever is in them; and options as methods take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.problems import Problem, Trouble
from kdumpd.service.bus import BusError, ErrorName, Typed, Value, as_bus_error, clean, wire
from kdumpd.service.bus.messages import Kind, Message
from kdumpd.service.options import require_known
from tests.fuzz import octets as by_hand

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
LEAVES: st.SearchStrategy[Value] = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), TEXT, st.binary()
)
VALUES: st.SearchStrategy[Value] = st.recursive(
    LEAVES, lambda inner: st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


def sent(message: Message) -> wire.Frame:
    octets = wire.encode(message)
    lengths = wire.measure(octets[: wire.FIXED_HEADER])
    assert len(octets) == lengths.header + lengths.body
    head = wire.read_head(octets[: lengths.header])
    return wire.Frame(head=head, body=octets[lengths.header :], endian=octets[0])


def signal(signature: str, *values: Value) -> Message:
    return Message(
        kind=Kind.SIGNAL, serial=9, path="/a/b", interface="a.b", member="C", signature=signature, body=values
    )


@given(st.dictionaries(TEXT, VALUES, max_size=5), st.lists(st.tuples(st.integers(0, 2**32 - 1), TEXT)))
def test_what_is_sent_is_received(table: Mapping[str, Value], rows: list[tuple[int, str]]) -> None:
    message = signal("a{sv}a(us)s", table, tuple(rows), "end")
    assert sent(message).read() == message


@given(st.text())
def test_any_text_can_be_sent(text: str) -> None:
    assert sent(signal("sv", text, text)).read().body == (clean(text), clean(text))
    assert clean(clean(text)) == clean(text)


@given(st.binary(min_size=16, max_size=200))
def test_noise_is_garbled_and_nothing_else(noise: bytes) -> None:
    for octets in (noise, b"l\x01\x00\x01" + noise):
        try:
            wire.measure(octets)
            head = wire.read_head(octets)
            wire.Frame(head=head, body=noise, endian=octets[0]).read()
        except wire.Garbled:
            pass


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("s", (5,)),
        ("u", (-1,)),
        ("u", ("5",)),
        ("b", (1,)),
        ("o", ("/a\n",)),
        ("o", ("",)),
        ("as", ("text",)),
        ("(su)", (("a",),)),
        ("s", ()),
        ("", ("more",)),
        ("v", (Typed(signature="u", value="x"),)),
        ("v", (Typed(signature="", value="x"),)),
        ("!", ("x",)),
    ],
)
def test_what_does_not_fit_is_not_sent(signature: str, values: tuple[Value, ...]) -> None:
    with pytest.raises(wire.Garbled):
        wire.encode(signal(signature, *values))


@pytest.mark.parametrize("code", ["no-reserved-memory", "reboot-required", "build-failed", "no-space"])
def test_a_problem_finds_its_error_by_spelling(code: str) -> None:
    fault = as_bus_error(Trouble(Problem(code=code, message="It is so.")), doing="Rebuild")
    assert fault.name == "org.kdumpd.Kdump1.Error." + code.title().replace("-", "")


def test_an_unnamed_problem_is_a_failure_with_its_sentence() -> None:
    fault = as_bus_error(Trouble(Problem(code="odd", message="It is so.", hint="Try.")), doing="Rebuild")
    assert (fault.name, fault.text) == (ErrorName.FAILED, "It is so. (Try.)")


def test_options_are_known_or_refused() -> None:
    require_known(
        {"dry-run": True, "reason": "why", "auth.no_user_interaction": False}, dry_run=bool, reason=str
    )
    refused: tuple[Mapping[str, Value], ...] = (
        {"other": 1},
        {"dry-run": 1},
        {"reason": True},
        {"most": True},
    )
    for options in refused:
        with pytest.raises(BusError) as caught:
            require_known(options, dry_run=bool, reason=str, most=int)
        assert caught.value.name == ErrorName.INVALID_ARGS


@given(
    st.sampled_from(("/", "/a", "/" + "a_" * 300)),
    st.sampled_from(("", "aa.b7s")),
    st.sampled_from(("M", "s" * 255)),
    st.sampled_from((":1.7", ":1." + "9" * 200, "")),
)
def test_the_sender_is_found_without_reading_all_else(
    path: str, interface: str, member: str, sender: str
) -> None:
    octets = by_hand.message(
        serial=0x00730107,
        path=path,
        interface=interface,
        member=member,
        destination="org.kdumpd.Kdump1",
        signature="sg",
        body=b"\x07\x01s\0" * 4,
        sender=sender,
    )
    assert wire.sender_of(octets[: wire.measure(octets[: wire.FIXED_HEADER]).header]) == sender


@given(st.binary(min_size=16, max_size=200))
def test_of_noise_no_sender_is_told(noise: bytes) -> None:
    assert wire.sender_of(b"l\1\0\1" + noise[4:]) == "" or b"\x07\x01s\0" in noise


def test_a_call_has_so_many_values_and_a_reply_any_number() -> None:
    many: tuple[Value, ...] = ((1,) * 5000,)
    call = Message(kind=Kind.CALL, serial=1, path="/a", member="M", signature="an", body=many)
    with pytest.raises(wire.Garbled, match="more than 4096 values"):
        sent(call).read()
    assert sent(replace(call, kind=Kind.RETURN, reply_serial=1)).read().body == many
