"""The identity of a plan: every field of each part moves its fingerprint, and those that cover it."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TypeVar

import pytest

from kdumpd.core.plan import (
    BasePlan,
    Engine,
    Folder,
    FromHost,
    LoadPlan,
    ModuleFile,
    OverlayPlan,
    Plan,
    Source,
    Written,
    describe,
    fingerprint,
)

MODULE = ModuleFile(name="ext4", source="/lib/ext4.ko", digest="d", path="/usr/lib/ext4.ko")
COPIED = FromHost(path="/usr/bin/x", source="/usr/bin/x", digest="d", mode=0o755)
PLAN = Plan(
    base=BasePlan(
        engine=Engine.DIRECT,
        recipe=1,
        kernel_release="6.1",
        compression_level=19,
        modules=(MODULE,),
        items=(COPIED, Folder(path="/dev")),
        dracut_args=("--x",),
        dracut_sources=(Source(path="/etc/crypttab", digest="d"),),
    ),
    overlay=OverlayPlan(recipe=1, items=(Written(path="/init", text="#!/bin/sh\n"),)),
    load=LoadPlan(
        kernel_image="/boot/k", kernel_digest="d", command_line="a", kexec_flags=("-a",), layout="l"
    ),
    engine_reason="because",
    target=MappingProxyType({"type": "filesystem"}),
    working_set_bytes=1,
    capture_id="c",
)
Described = TypeVar("Described", Plan, BasePlan, OverlayPlan, LoadPlan, ModuleFile, FromHost)
PARTS = ("base", "overlay", "load")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    part: str
    field: str

    def __str__(self) -> str:
        return f"{self.part}.{self.field}"

    @property
    def plan(self) -> Plan:
        return with_value(PLAN, self.part, changed(getattr(PLAN, self.part), self.field))


def with_value(value: Described, field: str, new: object) -> Described:
    """`replace` for a field that is only known by its name."""
    return type(value)(**{**{each.name: getattr(value, each.name) for each in fields(value)}, field: new})


def changed(value: Described, field: str) -> Described:
    return with_value(value, field, other(getattr(value, field)))


def other(value: object) -> object:
    """Another value of the same kind."""
    match value:
        case Engine():
            return Engine.DRACUT
        case str():
            return f"{value}!"
        case int():
            return value + 1
        case tuple():
            return value[1:]
        case _:
            raise TypeError(f"say what another {type(value).__name__} is")


@pytest.mark.parametrize(
    "change",
    [Change(part=part, field=field.name) for part in PARTS for field in fields(getattr(PLAN, part))],
    ids=str,
)
def test_every_field_moves_its_fingerprint_and_those_that_cover_it(change: Change) -> None:
    moved = change.plan
    assert (moved.base_fingerprint != PLAN.base_fingerprint) == (change.part == "base")
    assert (moved.overlay_fingerprint != PLAN.overlay_fingerprint) == (change.part == "overlay")
    assert (moved.image_fingerprint != PLAN.image_fingerprint) == (change.part in {"base", "overlay"})
    assert moved.load_fingerprint != PLAN.load_fingerprint


@pytest.mark.parametrize("field", [field.name for field in fields(ModuleFile)])
def test_every_field_of_a_module_is_part_of_the_base(field: str) -> None:
    assert fingerprint(replace(PLAN.base, modules=(changed(MODULE, field),))) != PLAN.base_fingerprint


@pytest.mark.parametrize("field", [field.name for field in fields(FromHost)])
def test_every_field_of_a_copied_file_is_part_of_the_base(field: str) -> None:
    items = (changed(COPIED, field), Folder(path="/dev"))
    assert fingerprint(replace(PLAN.base, items=items)) != PLAN.base_fingerprint


def test_what_is_only_told_is_no_part_of_any_identity() -> None:
    moved = replace(
        PLAN, engine_reason="for another reason", target=MappingProxyType({}), working_set_bytes=2
    )
    assert moved.load_fingerprint == PLAN.load_fingerprint


def test_a_value_that_json_would_not_keep_is_refused() -> None:
    with pytest.raises(TypeError):
        describe(0.5)


def test_what_is_not_utf_8_is_spelled_out_in_a_description() -> None:
    """A hook may be named in any bytes; what is described goes into json and onto the bus."""
    odd = "/etc/kdump/pre.d/gr\udcfc\udcdf"
    described = describe(Written(path=odd, text="\udcff", is_secret=True))
    assert isinstance(described, dict)
    assert described["path"] == "/etc/kdump/pre.d/gr\\xfc\\xdf"
    json.dumps(described, ensure_ascii=False).encode()
    assert fingerprint([odd]) != fingerprint([odd[:-1]])
