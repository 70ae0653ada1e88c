"""Why two plans differ, in sentences and in codes."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from kdumpd.core import explain
from kdumpd.core.environment import CaptureEnvironment, render
from kdumpd.core.plan import (
    BasePlan,
    Engine,
    FromHost,
    Json,
    LoadPlan,
    ModuleFile,
    OverlayPlan,
    Plan,
    Written,
    describe,
)

ENVIRONMENT = CaptureEnvironment(
    capture_id="a",
    version="1",
    kernel_release="6.1",
    host_name="h",
    target_fstype="ext4",
    target_device="UUID=1",
)


def module(name: str, digest: str = "d") -> ModuleFile:
    return ModuleFile(name=name, source=f"/lib/{name}.ko", digest=digest, path=f"/usr/lib/{name}.ko")


def program(path: str, digest: str = "d") -> FromHost:
    return FromHost(path=path, source=path, digest=digest, mode=0o755)


def overlay(environment: CaptureEnvironment, *hooks: FromHost) -> OverlayPlan:
    return OverlayPlan(recipe=1, items=(Written(path="/kdump/plan.env", text=render(environment)), *hooks))


PLAN = Plan(
    base=BasePlan(
        engine=Engine.DIRECT,
        recipe=1,
        kernel_release="6.1",
        compression_level=19,
        modules=(module("ext4"),),
        items=(program("/usr/bin/makedumpfile"),),
    ),
    overlay=overlay(ENVIRONMENT, program("/etc/pre")),
    load=LoadPlan(
        kernel_image="/boot/k",
        kernel_digest="d",
        command_line="a kdumpd.id=1",
        kexec_flags=("-a",),
        layout="cpus 0-1",
    ),
    engine_reason="",
    target=MappingProxyType({}),
    working_set_bytes=1,
    capture_id="a",
)


def told(new: Plan) -> list[tuple[str, str]]:
    found = explain.differences(describe(PLAN), describe(new))
    return [(difference.reason.value, str(difference)) for difference in found]


def test_nothing_is_told_of_two_plans_that_are_the_same() -> None:
    assert told(PLAN) == []


def test_a_setting_is_told_from_what_to_what() -> None:
    new = replace(PLAN, overlay=overlay(replace(ENVIRONMENT, target_directory="/b"), program("/etc/pre")))
    assert told(new) == [
        ("config-changed", "the directory of dumps /var/crash → /b: the overlay of the image is made again")
    ]


def test_a_hook_a_program_and_a_module_are_told_by_name_the_slowest_first() -> None:
    new = replace(
        PLAN,
        base=replace(PLAN.base, modules=(module("xfs"),), items=(program("/usr/bin/makedumpfile", "e"),)),
        overlay=overlay(ENVIRONMENT, program("/etc/pre", "e")),
    )
    assert told(new) == [
        ("modules-changed", "module ext4 is gone: the base of the image is built again"),
        ("modules-changed", "module xfs is new: the base of the image is built again"),
        ("programs-changed", "/usr/bin/makedumpfile changed: the base of the image is built again"),
        ("hooks-changed", "/etc/pre changed: the overlay of the image is made again"),
    ]


def test_what_is_only_loaded_again() -> None:
    load = replace(PLAN.load, command_line="b kdumpd.id=2", layout="cpus 0-3", kernel_digest="e")
    assert told(replace(PLAN, load=load)) == [
        ("kernel-changed", "/boot/k has other contents: the crash kernel is loaded again"),
        ("command-line-changed", "the capture kernel's command line a → b: the crash kernel is loaded again"),
        ("cpu-memory-changed", "processors or memory cpus 0-1 → cpus 0-3: the crash kernel is loaded again"),
    ]


def test_what_only_follows_is_not_told() -> None:
    new = replace(
        PLAN,
        overlay=overlay(replace(ENVIRONMENT, capture_id="b"), program("/etc/pre")),
        load=replace(PLAN.load, command_line="a kdumpd.id=2"),
        capture_id="b",
    )
    assert told(new) == []


def test_an_update_of_kdumpd_itself_is_a_change_of_programs() -> None:
    new = replace(PLAN, overlay=overlay(replace(ENVIRONMENT, version="2"), program("/etc/pre")))
    assert explain.reasons(describe(PLAN), describe(new)) == ("programs-changed",)


STRANGE: tuple[Json, ...] = (
    None,
    [],
    "text",
    {"base": []},
    {"overlay": {"items": [1, {"path": "/kdump/plan.env", "text": "$("}]}},
)


@pytest.mark.parametrize("strange", STRANGE)
def test_a_record_that_holds_something_else_is_no_reason_to_fail(strange: Json) -> None:
    assert explain.why(strange, describe(PLAN))
