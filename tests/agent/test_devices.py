from __future__ import annotations

import shutil
import subprocess

import pytest

from kdumpd.core.environment import Module
from kdumpd.core.summary import CaptureResult
from tests.agent.capture_kernel import CaptureKernel

BLKID = """
for node; do
    case $node in
    */vda) echo "$node: PTUUID=\\"1\\" PTTYPE=\\"gpt\\"" ;;
    */vda1) echo "$node: LABEL=\\"my crash\\" UUID=\\"1b2c-3d\\" TYPE=\\"ext4\\" PARTUUID=\\"aa-01\\"" ;;
    */md0) echo "$node: UUID=\\"1b2c-3d\\" TYPE=\\"ext4\\"" ;;
    esac
done"""


@pytest.mark.parametrize("name", ["UUID=1b2c-3d", "LABEL=my crash", "PARTUUID=aa-01"])
def test_a_device_is_found_by_what_is_written_on_it(kernel: CaptureKernel, name: str) -> None:
    kernel.program("blkid", BLKID)
    kernel.capture(target_device=name)
    assert "mount -t ext4 -o rw /dev/vda1 /kdumpd/target" in kernel.calls
    assert kernel.summary().target == name


HUNG_DISK = """called "$@"
case " $* " in *"/vdb "*) exec sleep 15 ;; esac"""


def _beside_a_hung_disk(kernel: CaptureKernel) -> None:
    kernel.program("blkid", HUNG_DISK + BLKID)
    kernel.write("dev/vdb", b"")
    kernel.write("dev/cciss/c0d0", b"")
    kernel.write(
        "proc/partitions",
        b"major minor  #blocks  name\n\n 254 16 8 vdb\n 104 0 8 cciss!c0d0\n 254 0 8 vda\n 254 1 8 vda1\n",
    )


@pytest.mark.shows("disk_timeout")
def test_a_disk_that_does_not_answer_hides_no_other(kernel: CaptureKernel) -> None:
    _beside_a_hung_disk(kernel)
    kernel.run_parts(
        "blkid_seconds=1",
        'wait_for_device UUID=1b2c-3d 9; say "found $node"',
        "seen_at=-1000",
        'wait_for_device "LABEL=my crash" 9; say "found $node again"',
        grace_seconds=0.1,
    )
    assert "found /dev/vda1" in kernel.console
    assert "found /dev/vda1 again" in kernel.console
    # What did not answer costs nothing any more.
    assert sorted(kernel.calls[1:]) == [
        "blkid /dev/cciss/c0d0",
        "blkid /dev/cciss/c0d0 /dev/vda /dev/vda1",
        "blkid /dev/vda",
        "blkid /dev/vda1",
        "blkid /dev/vdb",
    ]
    assert kernel.calls[0] == "blkid /dev/vdb /dev/cciss/c0d0 /dev/vda /dev/vda1"


def test_a_disk_that_answers_late_is_found_when_it_does(kernel: CaptureKernel) -> None:
    _beside_a_hung_disk(kernel)
    kernel.program(
        "blkid",
        """called "$@"
        case "$*" in
        */vdb) sleep 4; echo "$1: UUID=\\"late\\"" ;;
        */vdb*) exec sleep 15 ;;
        esac""",
    )
    kernel.run_parts("blkid_seconds=1", 'wait_for_device UUID=late 15; say "found $node"', grace_seconds=0.1)
    assert "found /dev/vdb" in kernel.console
    assert kernel.calls.count("blkid /dev/vdb") == 1


@pytest.mark.parametrize(
    "name", ["UUID=1b2c", "UUID=1", "LABEL=my", "LABEL=*", "PARTUUID=1b2c-3d", "by-path/x"]
)
def test_another_device_is_not_taken_for_it(kernel: CaptureKernel, name: str) -> None:
    kernel.program("blkid", BLKID)
    kernel.capture(target_device=name, disk_timeout=0)
    assert kernel.calls == ("reboot -n -f",)
    assert f"{name} did not come in 0 s" in kernel.console


@pytest.mark.parametrize("name", ["PARTUUID=aa-01", "PARTLABEL=crash dumps"])
def test_without_blkid_the_kernel_is_asked_for_partitions(kernel: CaptureKernel, name: str) -> None:
    kernel.write("sys/class/block/vda/uevent", b"DEVNAME=vda\nDEVTYPE=disk\n")
    kernel.write(
        "sys/class/block/vda1/uevent", b"DEVNAME=vda1\nPARTN=1\nPARTUUID=aa-01\nPARTNAME=crash dumps\n"
    )
    kernel.capture(target_device=name)
    assert "mount -t ext4 -o rw /dev/vda1 /kdumpd/target" in kernel.calls


@pytest.mark.shows("MD raid 1")
def test_half_of_a_mirror_is_not_taken_for_the_whole(kernel: CaptureKernel) -> None:
    kernel.program("blkid", BLKID)
    kernel.write("dev/md0", b"")
    kernel.write("sys/class/block/vda1/holders/md0", b"")
    kernel.write("proc/partitions", b"major minor  #blocks  name\n\n 254 1 8 vda1\n 9 0 8 md0\n")
    kernel.capture(target_device="UUID=1b2c-3d")
    assert "mount -t ext4 -o rw /dev/md0 /kdumpd/target" in kernel.calls


@pytest.mark.shows("disk_timeout")
def test_a_device_that_comes_late_is_awaited(kernel: CaptureKernel) -> None:
    # The first pause of the wait is when the disk appears.
    (kernel.root / "dev/vda1").unlink()
    kernel.link("sleep", "sleep.real")
    pause = 'called "$@"; : >"$KDUMPD_ROOT/dev/vda1"'
    kernel.program("sleep", f'[ "$1" != 0.02 ] || {{ {pause}; }}; {kernel.applet("sleep")} "$1"')
    kernel.capture(disk_timeout=20)
    assert kernel.calls[0] == "sleep 0.02"
    assert kernel.summary().result is CaptureResult.SAVED


def test_layers_are_brought_up_again_until_the_device_is_there(kernel: CaptureKernel) -> None:
    kernel.program("mdadm", 'called "$@"')
    # The first attempt comes too early; the second disk appears, and the second attempt finds both.
    kernel.program(
        "lvm",
        """called "$@"
        [ ! -e "$KDUMPD_ROOT/early" ] || { mkdir -p "$KDUMPD_ROOT/dev/mapper"; : >"$KDUMPD_ROOT/dev/mapper/v g-crash"; }
        : >"$KDUMPD_ROOT/early"
        echo " 254 16 8 vdb" >>"$KDUMPD_ROOT/proc/partitions"
        [ -e "$KDUMPD_ROOT/dev/mapper" ]""",
    )
    kernel.capture(
        disk_timeout=20,
        target_device="/dev/mapper/v g-crash",
        bring_up=("mdadm --assemble --run /dev/md127", "lvm vgchange -ay 'v g'"),
    )
    assert kernel.calls[:5] == (
        "mdadm --assemble --run /dev/md127",
        "lvm vgchange -ay v g",
        "mdadm --assemble --run /dev/md127",
        "lvm vgchange -ay v g",
        "mount -t ext4 -o rw /dev/mapper/v g-crash /kdumpd/target",
    )


@pytest.mark.tools
def test_the_real_blkid_of_each_kind_reads_a_real_file_system(kernel: CaptureKernel) -> None:
    kernel.link("blkid")
    image = kernel.root / "dev/vda1"
    image.write_bytes(bytes(4 << 20))
    uuid = "0f0e0d0c-1111-4222-8333-444455556666"
    mke2fs = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin")
    assert mke2fs, "mke2fs is not installed"
    subprocess.run(
        [mke2fs, "-q", "-t", "ext4", "-U", uuid, str(image)], check=True, capture_output=True, timeout=20
    )
    kernel.capture(target_device=f"UUID={uuid}")
    assert "mount -t ext4 -o rw /dev/vda1 /kdumpd/target" in kernel.calls


def test_a_driver_that_never_comes_back_does_not_hold_up_the_rest(kernel: CaptureKernel) -> None:
    kernel.program("insmod", 'case $1 in */stuck.ko) exec sleep 25 ;; esac; called "$@"')
    modules = (Module(path="/a.ko"), Module(path="/stuck.ko"))
    # The bound is the time for the disk and two minutes more.
    kernel.capture(modules=modules, disk_timeout=-119)
    assert "insmod /a.ko" in kernel.calls
    assert "loading the modules was given up" in kernel.console
    assert kernel.summary().result is CaptureResult.SAVED


def test_a_layer_that_never_comes_up_ends_in_the_failure_action(kernel: CaptureKernel) -> None:
    kernel.program("lvm", 'called "$@"; exec sleep 25')
    kernel.capture(target_device="/dev/mapper/vg-lv", bring_up=("lvm lvchange -ay vg/lv",), disk_timeout=0)
    assert kernel.calls == ("lvm lvchange -ay vg/lv", "reboot -n -f")
    assert "not yet: lvm lvchange -ay vg/lv" in kernel.console
