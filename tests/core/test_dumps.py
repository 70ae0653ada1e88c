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
    panic_line,
    spot_of,
    spot_on_rootfs,
)
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
        is_test=True,
        folder="/var/crash/127.0.0.1-2025-01-01-10:00:00",
        is_ours=True,
        files_bytes=9,
    )


def test_a_dump_of_another_tool_is_told_by_its_log_and_its_age() -> None:
    dump = _dump(None, "[    1.0] hello\n[   12.345678][  T912] sysrq: Trigger a crash\n", vmcore_flat=9)
    assert (dump.time_us, dump.size_bytes, dump.is_complete) == (5, 9, True)
    assert (dump.reason, dump.is_test) == ("sysrq: Trigger a crash", False)


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


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("127.0.0.1-2025-01-01-10:00:00", True),
        ("my-host-2025-01-01-10:00:00.2", True),
        ("fe80::1-2025-01-01-10:00:00", True),
        ("202501011000", False),
        ("lost+found", False),
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
