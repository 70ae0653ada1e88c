"""A raw target: the device holds a dump only when all of it is there, and says what went wrong otherwise."""

from __future__ import annotations

import json
import struct

import pytest

from kdumpd.core.environment import AfterFailure
from kdumpd.core.flattened import HEADER_BYTES, Reader
from kdumpd.core.rawdump import log_in
from kdumpd.core.summary import CaptureResult, Summary, read_summary
from kdumpd.core.targets import TargetKind
from tests.agent.capture_kernel import ENVIRONMENT, CaptureKernel

DEVICE_BYTES = 1 << 20
HEADER = (b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)).ljust(HEADER_BYTES, b"\0")
CORE = bytes(range(256)) * 777 + b"odd"
STREAM = HEADER + struct.pack(">qq", 0, len(CORE)) + CORE + struct.pack(">qq", -1, -1)

FLATTENING = """called "$@"
case $1 in
--dump-dmesg) cat "$KDUMPD_ROOT/crashed.log" >"$3" ;;
-F) exec cat "$KDUMPD_ROOT/stream" ;;
*) for output; do :; done; cat "$KDUMPD_ROOT/proc/vmcore" >"$output" ;;
esac"""


@pytest.fixture
def raw(kernel: CaptureKernel) -> CaptureKernel:
    kernel.program("makedumpfile", FLATTENING)
    kernel.write("stream", STREAM)
    kernel.write("dev/vdb", b"\xa5" * DEVICE_BYTES)
    return kernel


def _capture(kernel: CaptureKernel, **changes: object) -> bytes:
    """What is on the device afterwards."""
    told: dict[str, object] = {
        "target_kind": TargetKind.RAW,
        "target_fstype": "",
        "target_device": "/dev/vdb",
        "stream_collector": ("makedumpfile", "-F", "-d", "31"),
    }
    kernel.capture(ENVIRONMENT, **(told | changes))
    return (kernel.root / "dev/vdb").read_bytes()


def _record(data: bytes) -> Summary:
    line, _, rest = data.partition(b"\n")
    word, version, length = line.split()
    assert (word, version) == (b"kdumpd-record", b"1")
    return read_summary(rest[: int(length)])


def _has_dump(device: bytes) -> bool:
    return device.startswith(b"makedumpfile")


def test_the_stream_and_behind_it_the_summary_are_on_the_device(raw: CaptureKernel) -> None:
    device = _capture(raw)
    assert device[: len(STREAM)] == STREAM
    reader = Reader()
    assert b"".join(piece.data for piece in reader.feed(device)) == CORE
    reader.finish()
    behind = device[-(-len(STREAM) // 4096) * 4096 :]
    summary = _record(behind)
    log = log_in(behind).decode()
    assert log.startswith("[    0.000000] the capture kernel\n")
    assert "making the" in log
    assert summary.result is CaptureResult.SAVED
    assert summary.vmcore_bytes == len(STREAM)
    assert summary.panic == "Kernel panic - not syncing: sysrq triggered crash"
    assert [step.name for step in summary.steps][-2:] == ["dmesg", "collect"]
    assert raw.calls == (
        "makedumpfile --dump-dmesg /proc/vmcore /kdumpd/vmcore-dmesg.txt",
        "makedumpfile -F -d 31 /proc/vmcore",
        "reboot -n -f",
    )


def test_a_collector_that_fails_leaves_a_record_and_no_dump(raw: CaptureKernel) -> None:
    raw.program("makedumpfile", 'head -c 100000 "$KDUMPD_ROOT/stream"; exit 1')
    device = _capture(raw)
    assert not _has_dump(device)
    record = _record(device)
    assert (record.result, record.failing_step) == (CaptureResult.FAILED, "collect")
    assert record.reason == "the core collector ended with 1"


def test_a_stream_without_its_end_is_no_dump_though_the_collector_was_content(raw: CaptureKernel) -> None:
    raw.write("stream", STREAM[:-8])
    device = _capture(raw)
    assert not _has_dump(device)
    assert "does not end with its end mark" in _record(device).reason


def test_a_collector_that_says_nothing_is_no_dump(raw: CaptureKernel) -> None:
    raw.write("stream", b"")
    device = _capture(raw)
    assert not _has_dump(device)
    assert _record(device).result is CaptureResult.FAILED


def test_while_the_dump_is_written_the_device_says_that_it_is_not_whole(raw: CaptureKernel) -> None:
    """As if the power went."""
    raw.program(
        "makedumpfile", 'case $1 in -F) head -c 100000 "$KDUMPD_ROOT/stream"; kill -KILL $PPID ;; esac'
    )
    device = _capture(raw)
    assert not _has_dump(device)
    assert _record(device).reason == "the capture kernel ended while it was saving"


def test_a_device_that_takes_no_more_is_a_failure_with_its_reason(raw: CaptureKernel) -> None:
    raw.link("dd", "dd.real")
    script = f'case "$*" in *" seek=1 "*) exec {raw.applet("dd")} bs=4096 of=/dev/full ;; esac'
    raw.program("dd", f'{script}; exec {raw.applet("dd")} "$@"')
    device = _capture(raw)
    assert not _has_dump(device)
    assert "No space left on device" in _record(device).reason


@pytest.mark.parametrize("action", [AfterFailure.DUMP_TO_ROOTFS])
def test_the_root_file_system_takes_the_dump_instead(raw: CaptureKernel, action: AfterFailure) -> None:
    raw.write("stream", STREAM[:-8])
    device = _capture(raw, failure_action=action, root_device="/dev/vda1", root_fstype="ext4")
    assert not _has_dump(device)
    summary = raw.summary(below=raw.rootfs / "var/crash")
    assert (summary.result, summary.fallback) == (CaptureResult.SAVED, "dump_to_rootfs")
    assert "makedumpfile -l -d 31 /proc/vmcore" in " ".join(raw.calls)


def test_another_device_of_that_name_is_not_written_over(raw: CaptureKernel) -> None:
    before = (raw.root / "dev/vdb").read_bytes()
    raw.write("sys/class/block/vdb/size", b"2048\n")
    assert _capture(raw, raw_bytes=123 * 512, root_device="/dev/vda1", root_fstype="ext4") == before
    (record,) = (raw.rootfs / "var/lib/kdumpd/failures").iterdir()
    assert "another device than was planned" in read_summary(record.read_bytes()).reason


@pytest.mark.parametrize("what", ["vdb1/partition", "holders/dm-0"])
def test_a_device_in_use_is_not_written_over(raw: CaptureKernel, what: str) -> None:
    before = (raw.root / "dev/vdb").read_bytes()
    raw.write(f"sys/class/block/vdb/{what}", b"1\n")
    assert _capture(raw) == before
    assert "is in use, or divided" in raw.console


@pytest.mark.parametrize(("planned", "is_written"), [("", False), ("xfs", False), ("ext4", True)])
def test_contents_that_were_not_planned_are_not_written_over(
    raw: CaptureKernel,
    planned: str,
    is_written: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    raw.program("blkid", """echo "$1: UUID=\\"u\\" TYPE=\\"ext4\\"" """)
    assert _has_dump(_capture(raw, raw_contents=planned)) is is_written


def test_a_record_that_is_too_long_for_the_first_block_says_at_least_that_there_is_one(
    raw: CaptureKernel,
) -> None:
    raw.program("makedumpfile", "exit 1")
    device = _capture(raw, host_name="h" * 5000)
    assert device.startswith(b"kdumpd-record 1 0\n")
    assert device[2 * HEADER_BYTES :] == b"\xa5" * (DEVICE_BYTES - 2 * HEADER_BYTES)


def test_a_device_that_does_not_come_is_a_failure(raw: CaptureKernel) -> None:
    (raw.root / "dev/vdb").unlink()
    raw.capture(target_kind=TargetKind.RAW, target_device="/dev/vdb", target_fstype="")
    assert "failed at device: /dev/vdb did not come in 1 s" in raw.console


def test_the_summary_is_json_that_others_can_read(raw: CaptureKernel) -> None:
    device = _capture(raw)
    behind = device[-(-len(STREAM) // 4096) * 4096 :]
    length = int(behind.split(b"\n", 1)[0].split()[2])
    assert json.loads(behind.split(b"\n", 1)[1][:length])["target"] == "/dev/vdb"
