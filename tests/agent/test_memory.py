"""What the agent leaves to the collector of the memory there is, and what it tells of it afterwards."""

from __future__ import annotations

import pytest

from kdumpd.core.environment import AfterFailure, Module
from kdumpd.core.estimate import capture_of
from kdumpd.core.summary import CaptureResult
from tests.agent.capture_kernel import CaptureKernel

MODULES = (
    Module(path="/usr/lib/modules/6.1/virtio_blk.ko", options="queues=2"),
    Module(path="/usr/lib/modules/6.1/ext4.ko"),
)
KEPT = ("usr/lib/modules/6.1/blacklisted.ko", "usr/lib/firmware/card.bin", "kdump/init.sh")
# As the capture kernel of a machine with crashkernel=92M shows it.
IOMEM = b"""\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
6a000000-6fbfffff : System RAM
  6b000000-6c9fffff : Kernel code
  6ca00000-6d5fffff : Kernel rodata
7ffdd000-7fffffff : Reserved
"""


def _put_modules(kernel: CaptureKernel) -> None:
    for name in (*(module.path.lstrip("/") for module in MODULES), *KEPT):
        kernel.write(name, b"\x7fELF and more")


def _left(kernel: CaptureKernel) -> set[str]:
    """The names of the modules whose files are still there."""
    return {path.name for path in (kernel.root / "usr/lib/modules/6.1").iterdir()}


def test_a_module_that_is_loaded_leaves_the_memory(kernel: CaptureKernel) -> None:
    _put_modules(kernel)
    kernel.capture(modules=MODULES)
    assert _left(kernel) == {"blacklisted.ko"}
    assert all((kernel.root / name).exists() for name in KEPT), "nothing else goes"
    assert kernel.summary().result is CaptureResult.SAVED
    assert kernel.calls[:2] == (
        "insmod /usr/lib/modules/6.1/virtio_blk.ko queues=2",
        "insmod /usr/lib/modules/6.1/ext4.ko",
    )


def test_a_module_that_could_not_be_loaded_stays(kernel: CaptureKernel) -> None:
    _put_modules(kernel)
    kernel.program("insmod", 'case $1 in */ext4.ko) exit 1 ;; esac; called "$@"')
    kernel.capture(modules=MODULES)
    assert _left(kernel) == {"blacklisted.ko", "ext4.ko"}
    assert kernel.summary().modules_missing == "ext4.ko"


def test_who_gets_a_shell_finds_every_module(kernel: CaptureKernel) -> None:
    _put_modules(kernel)
    kernel.capture(modules=MODULES, failure_action=AfterFailure.SHELL, target_device="/dev/gone")
    assert "sh -i" in kernel.calls
    assert _left(kernel) == {"blacklisted.ko", "virtio_blk.ko", "ext4.ko"}


def test_the_root_file_system_is_reached_without_the_files_of_its_modules(kernel: CaptureKernel) -> None:
    _put_modules(kernel)
    kernel.capture(
        modules=MODULES,
        failure_action=AfterFailure.DUMP_TO_ROOTFS,
        target_device="/dev/gone",
        root_device="/dev/vda1",
        root_fstype="ext4",
    )
    assert kernel.summary(below=kernel.rootfs / "var/crash").result is CaptureResult.SAVED
    assert len([call for call in kernel.calls if call.startswith("insmod")]) == len(MODULES)


def test_modules_that_dracut_keeps_by_name_are_left_alone(kernel: CaptureKernel) -> None:
    _put_modules(kernel)
    kernel.script("sbin/modprobe", 'called "$@"')
    kernel.capture(modules=(Module(path="ext4"),))
    assert "modprobe ext4" in kernel.calls
    assert "ext4.ko" in _left(kernel)


@pytest.mark.parametrize("kind", ["direct filesystem ext4 makedumpfile", ""])
def test_the_summary_says_what_the_capture_was_given_and_what_it_left(
    kernel: CaptureKernel, kind: str
) -> None:
    kernel.write("proc/iomem", IOMEM)
    (kernel.root / "proc/meminfo").unlink()
    kernel.write("proc/meminfo", b"MemTotal:          48140 kB\nMemAvailable:      13360 kB\n")
    kernel.capture(memory_kind=kind)
    summary = kernel.summary()
    assert summary.memory_reserved_kib == 92 * 1024 + 635
    assert (summary.memory_total_kib, summary.memory_least_kib) == (48140, 13360)
    assert summary.memory_kind == kind
    learned = capture_of(summary)
    assert (learned is not None) is bool(kind)


def test_without_a_map_of_the_memory_nothing_is_learned(kernel: CaptureKernel) -> None:
    kernel.capture(memory_kind="direct filesystem ext4 makedumpfile")
    assert kernel.summary().memory_reserved_kib == 0
    assert capture_of(kernel.summary()) is None


def test_the_low_water_mark_is_the_least_of_all_looks(kernel: CaptureKernel) -> None:
    (kernel.root / "proc/meminfo").unlink()
    kernel.write("proc/meminfo", b"MemTotal: 50000 kB\nMemAvailable: 30000 kB\n")
    hook = kernel.script(
        "pre", 'printf "MemTotal: 50000 kB\\nMemAvailable: 7000 kB\\n" >"$KDUMPD_ROOT/proc/meminfo"'
    )
    after = kernel.script(
        "later", 'printf "MemTotal: 50000 kB\\nMemAvailable: 29000 kB\\n" >"$KDUMPD_ROOT/proc/meminfo"'
    )
    kernel.capture(kdump_pre=hook, kdump_post=after)
    assert kernel.summary().memory_least_kib == 7000
