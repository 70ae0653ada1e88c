"""What a dump directory tells, and where the running system sees the target."""

from __future__ import annotations

import pytest

from kdumpd.core.dumps import (
    Dump,
    DumpPlace,
    Saved,
    dump_of,
    dump_place,
    failure_of,
    is_dump_name,
    noted_sum,
    remote_of,
    spot_of,
    spot_on_rootfs,
    sum_note,
)
from kdumpd.core.estimate import RELEASE_CHARACTERS
from kdumpd.core.last_words import FRAMES_AT_MOST, LINE_CHARACTERS, call_trace, kernel_of, panic_line
from kdumpd.core.machine import Mount
from kdumpd.core.summary import CaptureResult, Summary

PLACE = DumpPlace(device="UUID=1", node="/dev/vdb", fstype="xfs", directory="/var/crash")


def _dump(summary: Summary | None = None, log: str = "", **sizes: int) -> Dump:
    return dump_of(
        Saved(
            name="127.0.0.1-2025-01-01-10:00:00",
            path="/var/crash/127.0.0.1-2025-01-01-10:00:00",
            sizes={name.replace("__", "-").replace("_", "."): size for name, size in sizes.items()},
            modified_us=5,
            summary=summary,
            kernel_log=log,
        )
    )


def test_a_saved_dump_is_told_by_its_summary() -> None:
    summary = Summary(
        result=CaptureResult.SAVED, kernel_release="6.1", panic="Kernel panic", crashed_us=7, test_id="t"
    )
    assert _dump(summary, vmcore=9) == Dump(
        id="127.0.0.1-2025-01-01-10:00:00",
        path="/var/crash/127.0.0.1-2025-01-01-10:00:00",
        time_us=7,
        size_bytes=9,
        is_complete=True,
        kernel_release="6.1",
        reason="Kernel panic",
        test_id="t",
        panic="Kernel panic",
        folder="/var/crash/127.0.0.1-2025-01-01-10:00:00",
        is_ours=True,
        files_bytes=9,
        core="vmcore",
    )


def test_what_a_summary_says_of_itself_is_bounded_and_one_line() -> None:
    summary = Summary(
        result=CaptureResult.SAVED,
        kernel_release="6.1\n\x1b[2J" + "x" * 1000,
        memory_kind="k" * 100_000,
        memory_least_kib=1,
        memory_reserved_kib=2,
    )
    for release in (
        _dump(summary, vmcore=9).kernel_release,
        failure_of(name="x.json", path="/x", modified_us=8, summary=summary).kernel_release,
        remote_of(name="x.json", modified_us=8, summary=summary, mounts=()).kernel_release,
    ):
        assert release == ("6.1  [2J" + "x" * 1000)[:RELEASE_CHARACTERS]
    assert _dump(summary, vmcore=9).capture is None


def test_a_dump_of_another_tool_is_told_by_its_log_and_its_age() -> None:
    dump = _dump(None, "[    1.0] hello\n[   12.345678][  T912] sysrq: Trigger a crash\n", vmcore_flat=9)
    assert (dump.time_us, dump.size_bytes, dump.is_complete) == (5, 9, True)
    assert (dump.reason, dump.is_test) == ("sysrq: Trigger a crash", False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (sum_note("a" * 64, "vmcore"), "a" * 64),
        ("a" * 64 + " *vmcore", "a" * 64),
        ("a" * 64 + "  other\n", ""),
        ("a" * 63 + "  vmcore\n", ""),
        ("A" * 64 + "  vmcore\n", ""),
        ("a" * 64 + "  vmcore\n" + "b" * 64 + "  vmcore\n", ""),
        ("", ""),
    ],
)
def test_a_noted_sum_is_told_where_it_is_one_of_the_core(text: str, told: str) -> None:
    assert noted_sum(text, "vmcore") == told


def test_half_a_dump_is_not_complete() -> None:
    assert not _dump(vmcore__incomplete=4).is_complete
    assert _dump(vmcore__incomplete=4).size_bytes == 4
    assert not _dump().is_complete


def test_a_failed_capture_says_why() -> None:
    failed = Summary(result=CaptureResult.FAILED, reason="the disk is full", finished_at=3)
    assert _dump(failed, vmcore=4).reason == "the disk is full"
    assert not _dump(failed, vmcore=4).is_complete
    record = failure_of(name="2025-01-01-10:00:00.json", path="/x", modified_us=8, summary=failed)
    assert (record.id, record.time_us, record.is_complete) == ("failure-2025-01-01-10:00:00", 8, False)


def test_a_dump_saved_by_the_fallback_is_complete() -> None:
    saved = Summary(result=CaptureResult.FAILED, reason="no target", fallback="rootfs")
    assert _dump(saved, vmcore=4).is_complete


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("[ 1.0] BUG: kernel NULL pointer\n[ 1.1] Oops: 0002 [#1]\n[ 1.2] Kernel panic - not syncing: Fatal\n",
         "Kernel panic - not syncing: Fatal"),
        ("[ 1.0] BUG: survived\n[ 9.0] BUG: kernel NULL pointer dereference, address: 0\n[ 9.1] Oops: 0002\n",
         "BUG: kernel NULL pointer dereference, address: 0"),
        ("<0>[ 1.0] Internal error: Oops - BUG: 0 [#1]\n", "BUG: 0 [#1]"),
        ("[ 1.0] nothing of interest\n", ""),
        ("[ 1.0] Kernel panic - not syncing: a\x07b" + "c" * 500, "Kernel panic - not syncing: a b" + "c" * 169),
    ],
)  # fmt: skip
def test_the_line_that_names_the_crash(log: str, line: str) -> None:
    assert panic_line(log) == line


PANIC_BY_HAND = """\
[  100.1] sysrq: Trigger a crash
[  100.2] Kernel panic - not syncing: sysrq triggered crash
[  100.3] CPU: 1 PID: 742 Comm: bash Kdump: loaded Not tainted 6.1.0-18-amd64 #1  Debian 6.1.76-1
[  100.4] Call Trace:
[  100.5]  <TASK>
[  100.6]  dump_stack_lvl+0x44/0x5c
[  100.6]  ? printk+0x58/0x6f
[  100.7]  panic+0x118/0x2ed
[  100.8]  sysrq_handle_crash+0x16/0x20 [mod-x]
[  100.9]  </TASK>
[  101.0] NMI backtrace for cpu 0
[  101.0] Call Trace:
[  101.1]  idle+0x1/0x2
"""

OOPS = """\
<4>[    9.0][    C0] Call trace:
<4>[    9.1][    C0]  survived+0x1/0x2
<1>[   10.0][  T912] Unable to handle kernel NULL pointer dereference at virtual address 0
<4>[   10.1][  T912] CPU: 3 PID: 9 Comm: a 5 b Tainted: G        W  OE      5.14.0-427.el9.aarch64 #1
<4>[   10.2][  T912] Call trace:
<4>[   10.3][  T912]  broken+0x10/0x20 [driver]
<4>[   10.4][  T912]  el0_svc+0x1c/0x50
<4>[   10.5][  T912] Code: aa1f03e0 d503233f
<0>[   10.6][  T912] Kernel panic - not syncing: Oops: Fatal exception
"""


@pytest.mark.parametrize(
    ("log", "frames", "release"),
    [
        (
            PANIC_BY_HAND,
            ("dump_stack_lvl+0x44/0x5c", "panic+0x118/0x2ed", "sysrq_handle_crash+0x16/0x20 [mod-x]"),
            "6.1.0-18-amd64",
        ),
        (OOPS, ("broken+0x10/0x20 [driver]", "el0_svc+0x1c/0x50"), "5.14.0-427.el9.aarch64"),
        ("[ 1.0] Call Trace:\n" + "[ 1.1]  loop+0x1/0x2\n" * 500, ("loop+0x1/0x2",) * FRAMES_AT_MOST, ""),
        ("[ 1.0] Call Trace:", (), ""),
        ("", (), ""),
    ],
)
def test_the_head_of_the_call_trace_and_the_release(log: str, frames: tuple[str, ...], release: str) -> None:
    assert call_trace(log) == frames
    assert kernel_of(log) == release


@pytest.mark.parametrize("far", [LINE_CHARACTERS, 40 * LINE_CHARACTERS])
def test_of_a_line_only_its_beginning_is_looked_at(far: int) -> None:
    """What the patterns try grows with the square of a line, and while they do nobody else has the interpreter."""
    much = "a" * far
    assert call_trace(f"[ 1.0] Call Trace:\n[ 1.1]  near+0x1/0x2\n[ 1.2]  {much}+0x1/0x2\n") == (
        "near+0x1/0x2",
    )
    assert panic_line(f"[ 1.0] {much} Kernel panic - not syncing: far\n") == ""
    assert panic_line(f"[ 1.0] {much} BUG: far\n") == ""
    assert kernel_of(f"[ 1.0] CPU: 1 {much} 6.1.0-18-amd64 #1\n") == ""


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("127.0.0.1-2025-01-01-10:00:00", True),
        ("my-host-2025-01-01-10:00:00.2", True),
        ("fe80::1-2025-01-01-10:00:00", True),
        ("202501011000", False),
        ("lost+found", False),
        ("my\x1b[2Jhost-2025-01-01-10:00:00", False),
        ("my\nhost-2025-01-01-10:00:00", False),
        ("my\udcffhost-2025-01-01-10:00:00", False),
        ("-2025-01-01-10:00:00", False),
    ],
)
def test_names_of_dump_directories(name: str, is_one: bool) -> None:  # noqa: FBT001  # a table's column
    assert is_dump_name(name) is is_one


def _mount(target: str, *, source: str = "/dev/vdb", root: str = "/", number: str = "254:16") -> Mount:
    return Mount(target=target, source=source, fstype="xfs", root=root, number=number)


@pytest.mark.parametrize(
    ("mounts", "place"),
    [
        ((_mount("/"),), "/var/crash"),
        ((_mount("/data"),), "/data/var/crash"),
        ((_mount("/bound", root="/var"),), "/bound/crash"),
        ((_mount("/bound", root="/var/crash"),), "/bound"),
        ((_mount("/other", root="/var/cra"),), ""),
        ((_mount("/", source="/dev/vda", number="254:0"),), ""),
        ((_mount("/root", source="/dev/root"),), "/root/var/crash"),
        ((_mount("/data", number="0:33"),), "/data/var/crash"),
        ((), ""),
    ],
)
def test_where_the_target_is_mounted(mounts: tuple[Mount, ...], place: str) -> None:
    spot = spot_of(PLACE, mounts, sources=frozenset({"/dev/vdb"}), number="254:16")
    assert (spot.folder if spot.is_in_sight else "") == place
    assert spot.on == (None if place else PLACE)


def test_a_place_under_another_mount_is_not_what_lies_over_it() -> None:
    over = _mount("/var", source="/dev/vdc", number="254:32")
    spot = spot_of(PLACE, (_mount("/"), over), sources=frozenset({"/dev/vdb"}), number="254:16")
    assert (spot.under, spot.folder, spot.shown) == ("/", "/var/crash", "UUID=1:/var/crash")
    bound = _mount("/mnt/x", root="/var")
    seen = spot_of(PLACE, (_mount("/"), over, bound), sources=frozenset({"/dev/vdb"}), number="254:16")
    assert (seen.folder, seen.is_in_sight) == ("/mnt/x/crash", True)


def test_a_directory_of_the_root_file_system_may_be_hidden_too() -> None:
    root = _mount("/", source="/dev/vda", number="254:0")
    assert spot_on_rootfs("/var/crash", (root,)).folder == "/var/crash"
    spot = spot_on_rootfs("/var/crash", (root, _mount("/var")))
    assert (spot.under, spot.folder, spot.shown) == ("/", "/var/crash", "/dev/vda:/var/crash")


def test_only_a_file_system_of_this_machine_is_a_place() -> None:
    told = {
        "type": "filesystem",
        "device": "UUID=1",
        "node": "/dev/vdb",
        "fstype": "xfs",
        "directory": "/var/crash",
    }
    assert dump_place(told) == PLACE
    assert dump_place({"type": "nfs", "server": "s"}) is None
