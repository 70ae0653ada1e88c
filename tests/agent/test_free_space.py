"""How much is free, as the file system of each kind of target counts it."""

from __future__ import annotations

import pytest

from kdumpd.core.environment import AfterFailure
from kdumpd.core.summary import CaptureResult
from kdumpd.core.targets import TargetKind
from tests.agent.capture_kernel import CaptureKernel

USERS_FILLED_IT = """case $3 in
'%a '*) echo 0 4096 ;;
'%f '*) echo 2560 4096 ;;"""


def _stat_of_file_systems(kernel: CaptureKernel, cases: str) -> None:
    kernel.link("stat", "stat.real")
    real = f'exec {kernel.applet("stat")} "$@"'
    kernel.program("stat", f"[ $1 = -f ] || {real}\n{cases}\nesac")


def test_root_may_fill_what_is_kept_for_root(kernel: CaptureKernel) -> None:
    _stat_of_file_systems(kernel, USERS_FILLED_IT)
    kernel.capture()
    assert ": 10 MiB are free" in kernel.console
    assert kernel.summary().result is CaptureResult.SAVED


@pytest.mark.parametrize("kind", [TargetKind.NFS, TargetKind.VIRTIOFS])
def test_what_a_server_keeps_for_its_own_root_is_not_counted(kernel: CaptureKernel, kind: TargetKind) -> None:
    _stat_of_file_systems(kernel, USERS_FILLED_IT)
    kernel.run_parts("look_at_free_space /", 'say "free: $free_mib"', target_kind=kind)
    assert "free: 0\n" in kernel.console


def test_on_the_root_file_system_root_may_fill_it_whatever_the_target_was(kernel: CaptureKernel) -> None:
    _stat_of_file_systems(kernel, USERS_FILLED_IT)
    kernel.capture(
        target_kind=TargetKind.NFS,
        failure_action=AfterFailure.DUMP_TO_ROOTFS,
        disk_timeout=0,
        root_device="/dev/vda",
        root_fstype="ext4",
    )
    assert kernel.summary(below=kernel.rootfs / "var/crash").result is CaptureResult.SAVED


@pytest.mark.parametrize(
    "cases", ["case x in x) exit 1 ;;", "case x in x) echo '? ?' ;;"], ids=["it fails", "it does not know"]
)
def test_where_nobody_knows_what_is_free_the_collector_is_tried(kernel: CaptureKernel, cases: str) -> None:
    _stat_of_file_systems(kernel, cases)
    kernel.capture()
    assert ": an unknown number of MiB are free" in kernel.console
    assert kernel.summary().result is CaptureResult.SAVED


def test_a_collector_that_fails_then_makes_up_no_number(kernel: CaptureKernel) -> None:
    _stat_of_file_systems(kernel, "case x in x) exit 1 ;;")
    kernel.program("makedumpfile", "exit 1")
    kernel.capture()
    assert (
        kernel.summary().reason
        == "the core collector ended with 1; an unknown number of MiB are free on the target"
    )
