"""The agent with a target that a server or the hypervisor keeps: NFS and virtiofs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd import agent
from kdumpd.core.environment import CaptureEnvironment, MountTry
from kdumpd.core.summary import CaptureResult, Summary, read_summary
from kdumpd.core.targets import TargetKind
from tests.agent.capture_kernel import ENVIRONMENT, CaptureKernel

TRIES = (
    MountTry(source="192.0.2.1:/srv", options="vers=4.2,soft", words="vers=4.2 at 192.0.2.1"),
    MountTry(source="192.0.2.1:/srv", options="vers=3,nolock", words="vers=3 at 192.0.2.1"),
)
ON_NFS = replace(
    ENVIRONMENT,
    target_kind=TargetKind.NFS,
    target_fstype="nfs",
    target_device="nas:/srv",
    mount_tries=TRIES,
    directory_prefix="192.0.2.10",
    root_device="/dev/vda",
    root_fstype="ext4",
)
ON_VIRTIOFS = replace(
    ON_NFS,
    target_kind=TargetKind.VIRTIOFS,
    target_fstype="virtiofs",
    target_device="dumps",
    mount_tries=(),
)
REFUSES_4 = """called "$@"
case "$*" in *vers=4*) echo "mount: mounting $5 on $6 failed: Protocol not supported" >&2; exit 255 ;; esac"""


def _recorded(kernel: CaptureKernel, folder: str) -> Summary:
    (record,) = (kernel.rootfs / "var/lib/kdumpd" / folder).iterdir()
    return read_summary(record.read_bytes())


@pytest.mark.shows("nfs", "nfs4")
def test_a_dump_is_saved_on_the_export_and_recorded_at_home(kernel: CaptureKernel) -> None:
    kernel.capture(ON_NFS)
    assert kernel.dump().name.startswith("192.0.2.10-")
    assert (kernel.dump() / "vmcore").read_bytes() == b"the memory of the crashed kernel"
    assert kernel.summary().result is CaptureResult.SAVED
    record = _recorded(kernel, "remote")
    assert (record.result, record.target) == (CaptureResult.SAVED, "nas:/srv")
    assert record.directory == f"/var/crash/{kernel.dump().name}"
    mounts = [call for call in kernel.calls if "mount " in call]
    assert mounts == [
        "mount -i -t nfs -o rw,vers=4.2,soft 192.0.2.1:/srv /kdumpd/target",
        "umount /kdumpd/target",
        "mount -t ext4 -o rw /dev/vda /kdumpd/rootfs",
        "umount /kdumpd/rootfs",
    ]


def test_a_dump_on_a_disk_leaves_no_second_record(kernel: CaptureKernel) -> None:
    kernel.capture(root_device="/dev/vda", root_fstype="ext4")
    assert kernel.summary().result is CaptureResult.SAVED
    assert not kernel.rootfs.exists()


def test_without_a_root_file_system_the_dump_is_saved_all_the_same(kernel: CaptureKernel) -> None:
    kernel.capture(ON_NFS, root_device="")
    assert kernel.summary().result is CaptureResult.SAVED
    assert "nobody there will know of it" in kernel.console
    assert kernel.calls[-1] == "reboot -n -f"


@pytest.mark.shows("nfs", "NFS 3", "NFS 4")
def test_a_version_that_the_server_refuses_is_followed_by_the_next(kernel: CaptureKernel) -> None:
    kernel.program("mount", REFUSES_4)
    kernel.capture(ON_NFS)
    assert kernel.summary().result is CaptureResult.SAVED
    assert "mounted 192.0.2.1:/srv (vers=3 at 192.0.2.1)" in kernel.console


def test_what_became_of_each_attempt_is_told_when_none_succeeds(kernel: CaptureKernel) -> None:
    kernel.program(
        "mount",
        """called "$@"
        case "$*" in
        *vers=4*) echo "mount: mounting $5 on $6 failed: Connection refused" >&2; exit 255 ;;
        *vers=3*) printf '%s\\n' "mount: /t: fsconfig() failed: NFS: no mountd." "  dmesg(1) may have more" >&2; exit 32 ;;
        esac""",
    )
    kernel.capture(ON_NFS)
    record = _recorded(kernel, "failures")
    assert (record.result, record.failing_step) == (CaptureResult.FAILED, "mount")
    assert record.reason == (
        "nas:/srv could not be mounted in 1 s: vers=4.2 at 192.0.2.1: Connection refused; "
        "vers=3 at 192.0.2.1: NFS: no mountd."
    )
    assert kernel.calls[-1] == "reboot -n -f"


@pytest.mark.shows("disk_timeout")
def test_a_server_that_comes_late_is_waited_for(kernel: CaptureKernel) -> None:
    kernel.program(
        "mount",
        """called "$@"
        [ -e "$KDUMPD_ROOT/asked" ] && exit 0
        : >"$KDUMPD_ROOT/asked"; echo "mount: mounting x on y failed: Connection refused" >&2; exit 255""",
    )
    kernel.capture(ON_NFS, mount_tries=TRIES[:1], disk_timeout=20)
    assert kernel.summary().result is CaptureResult.SAVED


def test_a_server_that_does_not_answer_ends_in_time(kernel: CaptureKernel) -> None:
    kernel.program("mount", 'called "$@"; case "$*" in *nfs*) exec sleep 25 ;; esac')
    kernel.capture(ON_NFS)
    assert _recorded(kernel, "failures").reason == (
        "nas:/srv could not be mounted in 1 s: vers=4.2 at 192.0.2.1: no answer in 1 s; "
        "vers=3 at 192.0.2.1: no answer in 1 s"
    )


def test_an_export_that_takes_root_for_nobody_is_told_plainly(kernel: CaptureKernel) -> None:
    kernel.program(
        "mkdir",
        f"""case "$*" in
        *kdumpd/target/*) echo "mkdir: can't create directory '/kdumpd/target/var/': Permission denied" >&2; exit 1 ;;
        esac
        {kernel.applet("mkdir") if "busybox" in kernel.applet("mkdir") else "/bin/mkdir"} "$@" """,
    )
    kernel.capture(ON_NFS)
    record = _recorded(kernel, "failures")
    assert record.failing_step == "directory"
    assert "root_squash" in record.reason


@pytest.mark.shows("virtiofs")
def test_a_shared_directory_is_mounted_by_its_tag(kernel: CaptureKernel) -> None:
    kernel.capture(ON_VIRTIOFS)
    assert "mount -t virtiofs -o rw dumps /kdumpd/target" in kernel.calls
    assert kernel.summary().result is CaptureResult.SAVED
    assert _recorded(kernel, "remote").target == "dumps"


def test_a_tag_that_nobody_shares_is_a_failure_with_its_reason(kernel: CaptureKernel) -> None:
    kernel.program(
        "mount",
        'called "$@"; case "$*" in *virtiofs*) echo "mount: mounting dumps on /x failed: Invalid argument" >&2; exit 255 ;; esac',
    )
    kernel.capture(ON_VIRTIOFS)
    record = _recorded(kernel, "failures")
    assert record.reason == "the shared directory dumps could not be mounted: Invalid argument"


@pytest.mark.parametrize("on", [ON_NFS, ON_VIRTIOFS], ids=["nfs", "virtiofs"])
def test_a_failure_that_the_server_knows_of_is_known_at_home_too(
    kernel: CaptureKernel, on: CaptureEnvironment
) -> None:
    kernel.program("makedumpfile", "exit 1")
    kernel.capture(on)
    assert kernel.summary().reason.startswith("the core collector ended with 1")
    record = _recorded(kernel, "failures")
    assert record.reason == kernel.summary().reason
    assert (record.target, record.directory) == (on.target_device, f"/var/crash/{kernel.dump().name}")
    assert [call for call in kernel.calls if "mount " in call][1:] == [
        "umount /kdumpd/target",
        "mount -t ext4 -o rw /dev/vda /kdumpd/rootfs",
        "umount /kdumpd/rootfs",
    ]


def test_without_a_root_file_system_the_server_alone_knows_of_the_failure(kernel: CaptureKernel) -> None:
    kernel.program("makedumpfile", "exit 1")
    kernel.capture(ON_NFS, root_device="")
    assert kernel.summary().result is CaptureResult.FAILED
    assert "the failure could not be recorded anywhere but on nas:/srv" in kernel.console


def test_a_shared_directory_that_does_not_answer_is_given_up_though_nothing_is_awaited(
    kernel: CaptureKernel,
) -> None:
    reaching = agent.files()["kdump/virtiofs.sh"]
    kernel.write("kdump/virtiofs.sh", reaching.replace(b"plan_disk_timeout + 30", b"plan_disk_timeout + 1"))
    kernel.program("mount", 'called "$@"; case "$*" in *virtiofs*) exec sleep 25 ;; esac')
    kernel.capture(ON_VIRTIOFS, disk_timeout=0)
    assert _recorded(kernel, "failures").failing_step == "mount"


def test_a_dump_at_the_top_of_the_export_has_one_slash_before_it(kernel: CaptureKernel) -> None:
    kernel.capture(ON_NFS, target_directory="/")
    record = _recorded(kernel, "remote")
    assert record.directory.startswith("/192.0.2.10-")
