from __future__ import annotations

import pytest

from kdumpd import agent
from kdumpd.core.environment import AfterDump, AfterFailure, Module
from kdumpd.core.summary import CaptureResult, Summary, read_summary
from tests.agent.capture_kernel import CaptureKernel

BROKEN_COLLECTOR = """called "$@"
case $1 in
--dump-dmesg) cat "$KDUMPD_ROOT/crashed.log" >"$3" ;;
*) for output; do :; done; echo half >"$output"; exit 1 ;;
esac"""


def _record_on_rootfs(kernel: CaptureKernel) -> Summary:
    (record,) = (kernel.rootfs / "var/lib/kdumpd/failures").iterdir()
    return read_summary(record.read_bytes())


@pytest.mark.shows("core_collector", "kdump_post", "kdump_emergency", "/etc/kdump/emergency.d")
def test_a_failing_collector_leaves_what_it_wrote_and_says_so(kernel: CaptureKernel) -> None:
    kernel.program("makedumpfile", BROKEN_COLLECTOR)
    post = kernel.script("post", 'called "$@"')
    emergency = kernel.script("emergency", "called")
    first = kernel.script("emergency.d/10", "called; exit 1")
    kernel.capture(kdump_post=post, kdump_emergency=emergency, emergency_d=(first,))
    names = {file.name for file in kernel.dump().iterdir()}
    assert names == {"vmcore-incomplete", "vmcore-dmesg.txt", "summary.json", "kexec-dmesg.log"}
    summary = kernel.summary()
    assert summary.result is CaptureResult.FAILED
    assert summary.failing_step == "collect"
    assert summary.reason.startswith("the core collector ended with 1; ")
    assert (summary.collector_status, summary.vmcore_bytes) == (1, 5)
    assert summary.panic == "Kernel panic - not syncing: sysrq triggered crash"
    assert kernel.calls[-5:] == ("post 1", "10", "emergency", "umount /kdumpd/target", "reboot -n -f")


def test_a_collector_that_wrote_nothing_has_not_saved_a_dump(kernel: CaptureKernel) -> None:
    kernel.program("makedumpfile", "exit 0")
    kernel.capture()
    assert kernel.summary().reason == "the core collector said it was done but wrote nothing"


def test_a_stalled_collector_is_ended(kernel: CaptureKernel) -> None:
    kernel.program("makedumpfile", 'for output; do :; done; echo half >"$output"; exec sleep 25')
    kernel.capture(stall_seconds=1)
    summary = kernel.summary()
    assert (summary.failing_step, summary.reason) == (
        "collect",
        "the core collector was ended: no progress for 1 s",
    )
    assert (kernel.dump() / "vmcore-incomplete").read_text() == "half\n"


def test_a_stalled_collector_that_ignores_the_request_is_killed(kernel: CaptureKernel) -> None:
    kernel.without("makedumpfile")
    kernel.program("cp", "trap '' TERM; while :; do sleep 0.2; done")
    kernel.capture(core_collector=("cp",), stall_seconds=1)
    assert kernel.summary().reason == "the core collector was ended: no progress for 1 s"
    assert kernel.summary().collector_status == 137
    assert kernel.calls[-1] == "reboot -n -f"


def test_a_collector_that_computes_without_writing_is_not_ended(kernel: CaptureKernel) -> None:
    kernel.without("makedumpfile")
    kernel.program(
        "cp",
        """read -r now _ </proc/uptime; end=$((${now%.*} + 3))
        while [ "${now%.*}" -lt $end ]; do read -r now _ </proc/uptime; done
        echo dump >"$2" """,
    )
    kernel.counted("cp")
    kernel.capture(core_collector=("cp",), stall_seconds=1)
    assert kernel.summary().result is CaptureResult.SAVED


def test_a_collector_that_computes_for_ever_is_ended(kernel: CaptureKernel) -> None:
    """Threads of makedumpfile that wait for each other do."""
    kernel.program("cp", 'echo half >"$2"; ulimit -t 20; while :; do :; done')
    kernel.counted("cp")
    kernel.run_parts(
        "step=collect threads=0 byte_patience=2 vmcore=$run/vmcore",
        "run_collector cp",
        'was_ended || say "it ended by itself"',
        stall_seconds=1,
    )
    assert (
        "the core collector was ended: it used the processor, but read and wrote nothing for 2 s"
        in kernel.console
    )


def test_without_stall_seconds_a_collector_is_waited_for(kernel: CaptureKernel) -> None:
    kernel.program("cp", 'sleep 1; echo dump >"$2"')
    kernel.counted("cp")
    kernel.run_parts(
        "step=collect threads=0 vmcore=$run/vmcore",
        "run_collector cp",
        'was_ended || say "it ended by itself: $status"',
        stall_seconds=0,
    )
    assert "it ended by itself: 0" in kernel.console


def test_a_script_that_lets_others_write_is_seen_to_go_on(kernel: CaptureKernel) -> None:
    """What its children write is not counted as its own: the file has to be looked at."""
    kernel.without("makedumpfile")
    kernel.program(
        "cp",
        f"""for _ in {"x " * 15}; do
            sleep 0.2; head -c 1000 /dev/zero | dd of="$2" oflag=append conv=notrunc 2>/dev/null
        done""",
    )
    kernel.counted("cp")
    kernel.capture(core_collector=("cp",), stall_seconds=2)
    assert kernel.summary().vmcore_bytes == 15000


def _without_an_answer_about_the_dump(kernel: CaptureKernel) -> None:
    """A file system whose server is dead; and a minute of the agent is a second."""
    kernel.link("stat", "stat.real")
    kernel.program(
        "stat",
        f'case "$*" in *vmcore-incomplete*) exec sleep 15 ;; esac; exec {kernel.applet("stat")} "$@"',
    )
    asks = agent.files()["kdump/collector.sh"]
    kernel.write("kdump/collector.sh", asks.replace(b"bounded 60 stat", b"bounded 1 stat"))


def test_a_target_that_does_not_answer_keeps_no_stalled_collector_alive(kernel: CaptureKernel) -> None:
    _without_an_answer_about_the_dump(kernel)
    kernel.without("makedumpfile")
    kernel.program("cp", 'echo half >"$2"; exec sleep 12')
    kernel.capture(core_collector=("cp",), stall_seconds=1)
    assert kernel.summary().reason == "the core collector was ended: no progress for 1 s"


def test_a_target_that_does_not_answer_about_the_dump_is_told(kernel: CaptureKernel) -> None:
    _without_an_answer_about_the_dump(kernel)
    kernel.capture()
    assert kernel.summary().reason == (
        "the core collector ended with 0, and the target does not answer any more"
    )


def test_a_collector_that_takes_too_long_is_ended(kernel: CaptureKernel) -> None:
    kernel.without("makedumpfile")
    kernel.program("cp", 'while echo more >>"$2"; do sleep 0.05; done')
    kernel.capture(core_collector=("cp",), collector_timeout=1)
    assert kernel.summary().reason == "the core collector was ended: not done after 1 s"


@pytest.mark.shows("kdump_pre")
def test_a_failing_pre_hook_means_no_dump(kernel: CaptureKernel) -> None:
    hooks = tuple(
        kernel.script(f"pre.d/{name}", f"called; exit {status}") for name, status in (("10", 0), ("20", 7))
    )
    never = kernel.script("pre", "called")
    post = kernel.script("post", 'called "$@"')
    kernel.capture(pre_d=hooks, kdump_pre=never, kdump_post=post, root_device="/dev/vda", root_fstype="xfs")
    record = _record_on_rootfs(kernel)
    assert (record.result, record.failing_step) == (CaptureResult.FAILED, "pre")
    assert record.reason == "/pre.d/20 ended with 7, so there is no dump"
    assert kernel.calls == (
        "10",
        "20",
        "mount -t xfs -o rw /dev/vda /kdumpd/rootfs",
        "umount /kdumpd/rootfs",
        "reboot -n -f",
    )


@pytest.mark.shows("disk_timeout")
def test_a_device_that_never_comes_is_recorded_on_the_root_file_system(kernel: CaptureKernel) -> None:
    kernel.program("insmod", "exit 1")
    kernel.capture(
        target_device="/dev/sdz",
        modules=(Module(path="/lib/ahci.ko"),),
        root_device="/dev/vda",
        root_fstype="ext4",
        root_directory="/@",
    )
    (record,) = (kernel.rootfs / "@/var/lib/kdumpd/failures").iterdir()
    summary = read_summary(record.read_bytes())
    assert summary.failing_step == "device"
    assert summary.reason == "/dev/sdz did not come in 1 s; not loaded: ahci.ko"
    assert summary.modules_missing == "ahci.ko"


def test_where_no_file_system_can_be_had_pstore_keeps_the_record(kernel: CaptureKernel) -> None:
    kernel.write("dev/pmsg0", b"")
    kernel.program("mount", 'called "$@"; exit 32')
    kernel.capture(root_device="/dev/vda", root_fstype="ext4", target_mount_options="nonsense")
    summary = read_summary((kernel.root / "dev/pmsg0").read_bytes())
    assert summary.failing_step == "mount"
    assert summary.reason == "/dev/vda1 could not be mounted as ext4 with options rw,nonsense"
    assert kernel.calls[-1] == "reboot -n -f"


def test_a_failure_that_cannot_be_recorded_is_still_said_and_ended(kernel: CaptureKernel) -> None:
    kernel.program("mount", "exit 32")
    kernel.capture()
    assert "the failure could not be recorded anywhere" in kernel.console
    assert kernel.calls == ("reboot -n -f",)


def test_without_space_only_the_kernel_log_is_saved(kernel: CaptureKernel) -> None:
    kernel.capture(least_free_mib=1 << 40)
    names = {file.name for file in kernel.dump().iterdir()}
    assert names == {"vmcore-dmesg.txt", "summary.json", "kexec-dmesg.log"}
    assert kernel.summary().failing_step == "collect"
    assert kernel.summary().reason.startswith("no space: ")


def test_a_kernel_that_no_crash_started_says_so_and_ends(kernel: CaptureKernel) -> None:
    (kernel.root / "proc/vmcore").unlink()
    kernel.capture(failure_action=AfterFailure.DUMP_TO_ROOTFS, root_device="/dev/vda", root_fstype="ext4")
    assert (
        _record_on_rootfs(kernel).reason == "/proc/vmcore is absent: this kernel was not started by a crash"
    )
    assert kernel.calls[-1] == "reboot -n -f"


@pytest.mark.parametrize("action", [AfterFailure.REBOOT, AfterFailure.HALT, AfterFailure.POWEROFF])
@pytest.mark.shows(
    "failure_action", "failure_action reboot", "failure_action halt", "failure_action poweroff"
)
def test_a_failure_action_ends_the_machine(kernel: CaptureKernel, action: AfterFailure) -> None:
    kernel.program("makedumpfile", "exit 1")
    kernel.capture(failure_action=action)
    assert kernel.calls[-1] == f"{action} -n -f"


@pytest.mark.parametrize("final", AfterDump)
@pytest.mark.shows("failure_action shell")
def test_after_the_shell_comes_the_final_action(kernel: CaptureKernel, final: AfterDump) -> None:
    kernel.program("makedumpfile", "exit 1")
    kernel.capture(failure_action=AfterFailure.SHELL, final_action=final)
    assert kernel.calls == (
        "mount -t ext4 -o rw /dev/vda1 /kdumpd/target",
        "sh -i",
        "umount /kdumpd/target",
        f"{final} -n -f",
    )


@pytest.mark.shows("failure_action dump_to_rootfs")
def test_the_root_file_system_gets_the_dump_that_the_target_refused(kernel: CaptureKernel) -> None:
    kernel.program("mount", 'called "$@"; case $* in */target) exit 32 ;; esac')
    kernel.capture(
        failure_action=AfterFailure.DUMP_TO_ROOTFS,
        final_action=AfterDump.POWEROFF,
        root_device="/dev/vda",
        root_fstype="btrfs",
        root_mount_options="compress=zstd",
        root_directory="/@",
    )
    crashes = kernel.rootfs / "@/var/crash"
    assert (kernel.dump(below=crashes) / "vmcore").exists()
    summary = kernel.summary(below=crashes)
    assert (summary.result, summary.fallback) == (CaptureResult.SAVED, "dump_to_rootfs")
    assert (summary.failing_step, summary.directory.startswith("/@/var/crash/")) == ("mount", True)
    assert not (kernel.rootfs / "@/var/lib").exists()
    assert "mount -t btrfs -o rw,compress=zstd /dev/vda /kdumpd/rootfs" in kernel.calls
    assert kernel.calls[-1] == "poweroff -n -f"


def test_a_target_that_is_left_for_the_root_file_system_keeps_the_true_record(kernel: CaptureKernel) -> None:
    kernel.program(
        "makedumpfile",
        """for output; do :; done
        [ "$1" != --dump-dmesg ] || exit 1
        case $output in */target/*) echo half >"$output"; exit 1 ;; esac
        echo dump >"$output" """,
    )
    kernel.capture(failure_action=AfterFailure.DUMP_TO_ROOTFS, root_device="/dev/vda", root_fstype="ext4")
    left = kernel.summary()
    assert (left.result, left.fallback) == (CaptureResult.FAILED, "")
    assert left.reason.startswith("the core collector ended with 1")
    assert {file.name for file in kernel.dump().iterdir()} == {
        "vmcore-incomplete",
        "summary.json",
        "kexec-dmesg.log",
    }
    saved = kernel.summary(below=kernel.rootfs / "var/crash")
    assert (saved.result, saved.fallback) == (CaptureResult.SAVED, "dump_to_rootfs")


def test_a_root_file_system_that_fails_too_still_ends_in_a_record(kernel: CaptureKernel) -> None:
    kernel.program("makedumpfile", BROKEN_COLLECTOR)
    kernel.capture(failure_action=AfterFailure.DUMP_TO_ROOTFS, root_device="/dev/vda", root_fstype="ext4")
    summary = kernel.summary(below=kernel.rootfs / "var/crash")
    assert (summary.result, summary.failing_step) == (CaptureResult.FAILED, "collect")
    assert kernel.calls[-1] == "reboot -n -f"


def test_the_record_of_a_capture_that_dies_while_saving_stands_before_it(kernel: CaptureKernel) -> None:
    kernel.without("makedumpfile")
    # PID 1 is gone with the kernel; nothing after this line runs.
    kernel.program("cp", "kill -KILL $PPID")
    kernel.capture(core_collector=("cp",))
    summary = kernel.summary()
    assert (summary.result, summary.failing_step) == (CaptureResult.FAILED, "collect")
    assert summary.reason == "the capture kernel ended while it was saving"


@pytest.mark.parametrize("damage", [None, b"plan_version='0.1\n", b"plan_version=0.1.0\n"])
def test_a_damaged_plan_still_ends_in_a_reboot(kernel: CaptureKernel, damage: bytes | None) -> None:
    if damage is not None:
        kernel.write("kdump/plan.env", damage)
    kernel.run_init()
    assert kernel.calls == ("reboot -n -f",)
    assert "the agent ended unforeseen" in kernel.console


@pytest.mark.shows("kdump_pre", "/etc/kdump/pre.d")
def test_a_pre_hook_that_hangs_is_ended_and_has_failed(kernel: CaptureKernel) -> None:
    kernel.capture(kdump_pre=kernel.script("pre", "exec sleep 100"), hook_timeout=1, root_device="/dev/vda")
    record = _record_on_rootfs(kernel)
    assert record.failing_step == "pre"
    assert record.reason == "/pre ended with 143, being ended after 1 s, so there is no dump"


@pytest.mark.shows("kdump_post")
def test_a_post_hook_that_hangs_keeps_neither_the_next_one_nor_the_end_from_coming(
    kernel: CaptureKernel,
) -> None:
    hung = kernel.script("post.d/10", "trap '' TERM; while :; do sleep 0.1; done")
    after = kernel.script("post", 'called "$@"')
    kernel.capture(post_d=(hung,), kdump_post=after, hook_timeout=1)
    assert kernel.summary().result is CaptureResult.SAVED
    assert kernel.calls[-3:] == ("post 0", "umount /kdumpd/target", "reboot -n -f")
    assert "being ended after 1 s" in kernel.console
