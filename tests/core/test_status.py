"""The daemon's word about itself, as somebody reads it in the night."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core.armed import Armed
from kdumpd.core.decide import BuildBase, Observed, decide, fault_key
from kdumpd.core.faults import NO_FAULTS
from kdumpd.core.machine import CrashKernel, Machine
from kdumpd.core.plan import BasePlan, Engine, LoadPlan, OverlayPlan, Plan, Resolution, describe
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.status import Activity, State, Status, crashkernel_parameter, tell
from kdumpd.core.targets import where_to

MiB = 1024 * 1024
READY = CrashKernel(layout="new", reserved_bytes=256 * MiB)
LOADED = replace(READY, loaded=True)
BROKEN = Problem(code="unknown-directive", message="unknown directive 'foo'", file="/etc/kdump.conf", line=7)
PLAN = Plan(
    base=BasePlan(engine=Engine.DIRECT, recipe=1, kernel_release="6.12.0", compression_level=3),
    overlay=OverlayPlan(recipe=1),
    load=LoadPlan(
        kernel_image="/boot/vmlinuz", kernel_digest="k", command_line="", kexec_flags=("-a",), layout=""
    ),
    engine_reason="a plain disk",
    target={"type": "filesystem", "fstype": "ext4", "device": "/dev/vda1", "directory": "/var/crash"},
    working_set_bytes=0,
    capture_id="c",
)
OLDER = replace(PLAN, overlay=OverlayPlan(recipe=0))


def record(plan: Plan) -> Armed:
    return Armed(
        boot_id="b",
        loaded_us=5,
        kernel_release="6.12.0",
        kernel_image="/boot/vmlinuz",
        initramfs="/var/lib/kdumpd/images/x/initramfs",
        command_line="",
        kexec_flags=("-a",),
        base=plan.base_fingerprint,
        overlay=plan.overlay_fingerprint,
        image=plan.image_fingerprint,
        load=plan.load_fingerprint,
        description=describe(plan),  # type: ignore[arg-type]
    )


MACHINE = Machine(
    architecture="x86_64",
    kernel_release="6.12.0",
    host_name="h",
    machine_id="m",
    boot_id="b",
    command_line="root=/dev/vda1 crashkernel=256M quiet",
    memory_bytes=0,
    cpus=1,
    layout="",
    crash=LOADED,
)


def told(resolution: Resolution, seen: Observed) -> Status:
    return tell(
        resolution=resolution,
        observed=seen,
        action=decide(resolution, seen),
        activity=Activity.IDLE,
        machine=replace(MACHINE, crash=seen.crash),
        stale=("config-changed",),
    )


def test_armed_says_where_a_crash_would_be_saved() -> None:
    status = told(Resolution(plan=PLAN), Observed(crash=LOADED, now_us=9, armed=record(PLAN)))
    assert status.state is State.ARMED
    assert status.message == "armed: a crash would be saved to /dev/vda1 (ext4) in /var/crash"
    assert status.protected
    assert status.stale == ()
    assert status.initramfs == "/var/lib/kdumpd/images/x/initramfs"
    assert status.crashkernel_parameter == "crashkernel=256M"


def test_stale_names_line_and_reason_of_a_broken_configuration() -> None:
    seen = Observed(crash=LOADED, now_us=9, armed=record(PLAN))
    status = told(Resolution(plan=None, problems=(BROKEN,)), seen)
    assert status.message == (
        "stale: a crash would be captured as configured before; /etc/kdump.conf:7: unknown directive 'foo'"
    )
    assert (status.state, status.reason, status.protected) == (State.STALE, "unknown-directive", True)


def test_stale_while_today_s_image_is_made() -> None:
    status = told(Resolution(plan=PLAN), Observed(crash=LOADED, now_us=9, armed=record(OLDER)))
    assert (status.state, status.reason, status.stale) == (State.STALE, "config-changed", ("config-changed",))
    assert status.problems == ()


def test_a_load_cut_short_is_never_called_armed() -> None:
    status = told(
        Resolution(plan=PLAN), Observed(crash=LOADED, now_us=9, armed=record(PLAN), intent_left=True)
    )
    assert status.state is State.STALE


def test_foreign_is_protected_and_says_so() -> None:
    status = told(Resolution(plan=PLAN), Observed(crash=LOADED, now_us=9))
    assert (status.state, status.protected) == (State.FOREIGN, True)


def test_failed_and_waiting_tells_when_it_tries_again() -> None:
    key = fault_key(BuildBase(plan=PLAN, why=""))
    full = Problem(code="no-space", message="the disk is full")
    faults = NO_FAULTS.failed(key, (full,), now_us=9)
    status = told(Resolution(plan=PLAN), Observed(crash=READY, now_us=9, faults=faults))
    assert (status.state, status.activity, status.next_retry_us) == (
        State.FAILED,
        Activity.WAITING,
        2_000_009,
    )
    assert status.message == "failed: a crash would not be captured; the disk is full"
    assert status.reason == "no-space"


@pytest.mark.parametrize(
    ("seen", "state", "reason"),
    [
        (Observed(crash=CrashKernel(layout=""), now_us=9), State.UNSUPPORTED, "not-supported"),
        (Observed(crash=CrashKernel(layout="old"), now_us=9), State.NO_MEMORY, "no-reserved-memory"),
        (Observed(crash=READY, now_us=9), State.UNARMED, "unarmed"),
        (Observed(crash=READY, now_us=9, enabled=False), State.DISABLED, "disabled"),
        (Observed(crash=LOADED, now_us=9, enabled=False), State.DISABLED, "disabled"),
        (Observed(crash=replace(READY, load_disabled=True), now_us=9), State.FAILED, "load-disabled"),
    ],
)
def test_state_and_reason(seen: Observed, state: State, reason: str) -> None:
    status = told(Resolution(plan=PLAN), seen)
    assert (status.state, status.reason) == (state, reason)
    assert status.message.startswith(f"{state}: ")
    assert "\n" not in status.message


def test_only_a_reboot_helps_where_the_kernel_refuses_for_good() -> None:
    status = told(Resolution(plan=PLAN), Observed(crash=replace(READY, load_disabled=True), now_us=9))
    assert status.reboot_required


def test_warnings_are_told_beside_an_armed_state() -> None:
    warning = Problem(code="cut", message="the value seems cut", severity=Severity.WARNING)
    status = told(
        Resolution(plan=PLAN, problems=(warning,)), Observed(crash=LOADED, now_us=9, armed=record(PLAN))
    )
    assert status.problems == (warning,)
    assert status.state is State.ARMED


def test_small_words() -> None:
    assert crashkernel_parameter("a crashkernel=1G,high b crashkernel=64M,low") == (
        "crashkernel=1G,high crashkernel=64M,low"
    )
    assert where_to({"type": "xfs", "device": "LABEL=dumps"}) == "LABEL=dumps (xfs)"
    exported = {"type": "nfs", "fstype": "nfs4", "server": "2001:db8::1", "export": "/srv", "directory": "/d"}
    assert where_to(exported) == "[2001:db8::1]:/srv (nfs4) in /d"
    assert where_to({"type": "virtiofs", "tag": "share"}) == "share (virtiofs)"
    assert where_to("nonsense") == ""


@pytest.mark.parametrize(
    ("following", "is_required"), [("crashkernel=512M", True), ("crashkernel=256M quiet", False), ("", False)]
)
def test_a_reboot_is_required_where_the_next_boot_reserves_otherwise(
    *, following: str, is_required: bool
) -> None:
    seen = Observed(crash=LOADED, now_us=0, armed=record(PLAN), layout="")
    machine = replace(MACHINE, memory_bytes=4 << 30, next_command_line=following)
    status = tell(
        resolution=Resolution(plan=PLAN, problems=()),
        observed=seen,
        action=decide(Resolution(plan=PLAN, problems=()), seen),
        activity=Activity.IDLE,
        machine=machine,
    )
    assert (status.state, status.reboot_required) == (State.ARMED, is_required)


def test_without_a_reservation_a_reboot_helps_only_where_the_next_boot_has_one() -> None:
    seen = Observed(crash=replace(READY, reserved_bytes=0), now_us=0)
    resolution = Resolution(plan=PLAN)
    machine = replace(MACHINE, crash=seen.crash, command_line="ro", memory_bytes=4 << 30)

    def message(following: str) -> str:
        return tell(
            resolution=resolution,
            observed=seen,
            action=decide(resolution, seen),
            activity=Activity.IDLE,
            machine=replace(machine, next_command_line=following),
        ).message

    assert message("ro crashkernel=256M") == (
        "no-memory: a crash would not be captured before a reboot, which reserves memory (crashkernel=256M)"
    )
    assert "kdumpctl reserve set" in message("ro")
