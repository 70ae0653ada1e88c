from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kdumpd.core.environment import AfterDump, Module
from kdumpd.core.summary import CaptureResult
from tests.agent.capture_kernel import ENVIRONMENT, PANIC_LOG, CaptureKernel


def test_a_dump_is_saved_and_the_machine_reboots(kernel: CaptureKernel) -> None:
    kernel.capture(modules=(Module(path="/lib/virtio_blk.ko", options='queues=2 name="a b"'),))
    dump = kernel.dump()
    assert re.fullmatch(r"127\.0\.0\.1-\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d", dump.name)
    assert sorted(file.name for file in dump.iterdir()) == [
        "kexec-dmesg.log",
        "summary.json",
        "vmcore",
        "vmcore-dmesg.txt",
    ]
    assert (dump / "vmcore").read_bytes() == b"the memory of the crashed kernel"
    assert kernel.calls == (
        'insmod /lib/virtio_blk.ko queues=2 name="a b"',
        "mount -t ext4 -o rw /dev/vda1 /kdumpd/target",
        f"makedumpfile --dump-dmesg /proc/vmcore /kdumpd/target/var/crash/{dump.name}/vmcore-dmesg-incomplete.txt",
        f"makedumpfile -l -d 31 /proc/vmcore /kdumpd/target/var/crash/{dump.name}/vmcore-incomplete",
        "umount /kdumpd/target",
        "reboot -n -f",
    )


def test_the_summary_says_what_was_saved(kernel: CaptureKernel) -> None:
    kernel.capture()
    summary = kernel.summary()
    assert summary.result is CaptureResult.SAVED
    assert (summary.failing_step, summary.reason, summary.fallback) == ("", "", "")
    assert summary.panic == "Kernel panic - not syncing: sysrq triggered crash"
    assert (summary.capture_id, summary.test_id, summary.version) == ("c-1", "", "0.1.0")
    assert (summary.host_name, summary.kernel_release) == ("anvil", "6.1.0-37-amd64")
    assert summary.directory == f"/var/crash/{kernel.dump().name}"
    assert summary.vmcore_bytes == len(b"the memory of the crashed kernel")
    assert summary.collector_status == 0
    assert 0 < summary.memory_least_kib < summary.memory_total_kib
    assert summary.crashed_us % 1_000_000 == 0
    assert summary.crashed_us // 1_000_000 <= summary.started_at <= summary.finished_at
    assert [step.name for step in summary.steps] == [
        "start",
        "modules",
        "vmcore",
        "pre",
        "device",
        "mount",
        "directory",
        "dmesg",
        "collect",
        "publish",
        "post",
    ]


ANNOUNCED = "[   12.3][  T41] kdumpd: test crash 00ff00ff\n"


@pytest.mark.parametrize(
    ("log", "test_id"),
    [
        (ANNOUNCED + PANIC_LOG, "00ff00ff"),
        ("<5>[   12.3] kdumpd: test crash 11\n" + ANNOUNCED + PANIC_LOG, "00ff00ff"),
        (ANNOUNCED + "[   12.4] kdumpd: no test crash\n" + PANIC_LOG, ""),
        ("[   12.3] kdumpd: test crash of somebody's own words\n" + PANIC_LOG, ""),
    ],
)
def test_the_log_of_the_crashed_kernel_says_that_it_was_a_test(
    kernel: CaptureKernel, log: str, test_id: str
) -> None:
    kernel.write("crashed.log", log.encode())
    kernel.capture()
    assert kernel.summary().test_id == test_id
    assert kernel.summary().panic == "Kernel panic - not syncing: sysrq triggered crash"


def test_the_console_tells_each_step_with_its_time(kernel: CaptureKernel) -> None:
    kernel.capture()
    assert re.search(r"^kdumpd\[\d+\.\d\d\]: step collect: ", kernel.console, re.MULTILINE)
    log = (kernel.dump() / "kexec-dmesg.log").read_text()
    assert log.startswith("[    0.000000] the capture kernel\nkdumpd[")
    assert "step publish" in log


@pytest.mark.parametrize("action", AfterDump)
@pytest.mark.shows("final_action", "final_action reboot", "final_action halt", "final_action poweroff")
def test_each_final_action_ends_the_machine(kernel: CaptureKernel, action: AfterDump) -> None:
    kernel.capture(final_action=action)
    assert kernel.calls[-1] == f"{action} -n -f"


def test_where_no_program_ends_the_machine_the_kernel_is_asked(kernel: CaptureKernel) -> None:
    kernel.without("reboot")
    # The agent gives the kernel ten seconds to do it; here nothing happens, so the first sleep ends the agent.
    kernel.program("sleep", '[ "$1" != 10 ] || kill -KILL $PPID')
    kernel.capture()
    assert (kernel.root / "proc/sysrq-trigger").read_text() == "b"


@pytest.mark.shows("kdump_pre", "kdump_post", "/etc/kdump/pre.d", "/etc/kdump/post.d")
def test_hooks_run_in_order_around_the_dump_and_post_gets_its_status(kernel: CaptureKernel) -> None:
    hooks = {
        name: kernel.script(f"etc/{name}", 'called "$@"') for name in ("10-a", "20-b", "pre", "30-c", "post")
    }
    kernel.capture(
        pre_d=(hooks["10-a"], hooks["20-b"]),
        kdump_pre=hooks["pre"],
        post_d=(hooks["30-c"],),
        kdump_post=hooks["post"],
    )
    names = [call for call in kernel.calls if not call.startswith(("mount", "umount", "makedumpfile -l"))]
    dump = f"/kdumpd/target/var/crash/{kernel.dump().name}"
    assert names == [
        "10-a",
        "20-b",
        "pre",
        f"makedumpfile --dump-dmesg /proc/vmcore {dump}/vmcore-dmesg-incomplete.txt",
        "30-c 0",
        "post 0",
        "reboot -n -f",
    ]


def test_a_post_hook_finds_the_summary_and_its_failure_spoils_nothing(kernel: CaptureKernel) -> None:
    post = kernel.script(
        "post", 'called "$(cat "$KDUMPD_ROOT"/kdumpd/target/var/crash/*/summary.json)"; exit 3'
    )
    kernel.capture(kdump_post=post)
    assert '  "result": "saved",' in kernel.calls
    assert kernel.summary().result is CaptureResult.SAVED


def test_hostile_names_arrive_unchanged(kernel: CaptureKernel) -> None:
    directory = """/it's "$(reboot)" `halt` \\ über/*?"""
    host_name = 'a "quoted"\\ name\nin two lines \N{SNOWMAN}'
    kernel.capture(target_directory=directory, host_name=host_name)
    summary = kernel.summary(below=kernel.target / directory[1:])
    assert summary.directory.startswith(directory)
    assert summary.host_name == host_name.replace("\n", " ")
    assert kernel.calls[-1] == "reboot -n -f"
    assert "halt" not in [call.split()[0] for call in kernel.calls]


def test_bytes_that_are_not_utf8_leave_the_summary_readable(kernel: CaptureKernel) -> None:
    kernel.write("crashed.log", b'[    1.000000][  T12] BUG: bad \xff\x81 "page" in C:\\x\tend\n')
    kernel.capture()
    assert (
        kernel.summary().panic
        == 'BUG: bad \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} "page" in C:\\x end'
    )


@pytest.mark.parametrize(
    ("log", "panic"),
    [
        (
            "[ 1.0] BUG: kernel NULL pointer dereference\n[ 1.1] Oops: 0002 [#1]\n",
            "BUG: kernel NULL pointer dereference",
        ),
        ("[ 1.0] Oops: 0002 [#1] SMP\n[ 1.1] CPU: 0\n", "Oops: 0002 [#1] SMP"),
        ("[ 1.0] sysrq: Trigger a crash\n", "sysrq: Trigger a crash"),
        ("[ 1.0] nothing of the kind\n", ""),
        (
            "[ 1.0] Kernel panic - not syncing: Fatal\n[ 1.1] BUG: while going down\n",
            "Kernel panic - not syncing: Fatal",
        ),
    ],
)
def test_the_panic_line_is_the_best_name_of_the_crash(kernel: CaptureKernel, log: str, panic: str) -> None:
    kernel.write("crashed.log", log.encode())
    kernel.capture()
    assert kernel.summary().panic == panic


@pytest.mark.shows("core_collector", "core_collector cp")
def test_another_collector_needs_no_makedumpfile(kernel: CaptureKernel) -> None:
    kernel.without("makedumpfile")
    kernel.program("cp", 'called "$@"; cat "$2" >"$3"')
    kernel.capture(core_collector=("cp", "--sparse=always"))
    assert kernel.summary().result is CaptureResult.SAVED
    assert not (kernel.dump() / "vmcore-dmesg.txt").exists()


@pytest.mark.parametrize(
    ("processors", "most", "added"),
    [(4, 32, "--num-threads 3 "), (64, 32, "--num-threads 32 "), (3, 32, ""), (8, 0, "")],
)
@pytest.mark.shows("core_collector makedumpfile --num-threads")
def test_threads_are_for_machines_with_processors_to_spare(
    kernel: CaptureKernel, processors: int, most: int, added: str
) -> None:
    kernel.program("nproc", f"echo {processors}")
    kernel.capture(collector_max_threads=most)
    assert any(call.startswith(f"makedumpfile {added}-l -d 31") for call in kernel.calls)


def test_nobody_is_asked_for_processors_where_there_is_one(kernel: CaptureKernel) -> None:
    kernel.write("sys/devices/system/cpu/online", b"0\n")
    kernel.program("nproc", "called; echo 1")
    kernel.capture(collector_max_threads=32)
    assert kernel.summary().result is CaptureResult.SAVED
    assert "nproc" not in kernel.calls


@pytest.mark.parametrize("knows", [True, False])
def test_the_date_is_what_the_kernel_says_else_what_date_does(kernel: CaptureKernel, *, knows: bool) -> None:
    kernel.program("date", "case $1 in +%s) echo 1700000100 ;; *) echo 2023-11-14-22:15:00 ;; esac")
    (kernel.root / "proc/uptime").unlink()
    kernel.write("proc/uptime", b"100.08 12.00\n")
    if knows:
        kernel.write("proc/stat", b"cpu  1 2 3\nintr 4 0 0\nbtime 1800000000\nprocesses 9\n")
    kernel.capture()
    summary = kernel.summary()
    expected = 1_800_000_100 if knows else 1_700_000_100
    assert (summary.started_at, summary.finished_at) == (expected, expected)
    assert summary.crashed_us == (expected - 100) * 1_000_000


@pytest.mark.parametrize(
    ("level", "shows", "hides"),
    [
        (0, "", "memory:"),
        (1, "memory: MemFree:", "memory: VmallocTotal:"),
        (2, "memory: VmallocTotal:", "slabs"),
    ],
)
@pytest.mark.shows("debug_mem_level")
def test_memory_is_reported_as_debug_mem_level_says(
    kernel: CaptureKernel, level: int, shows: str, hides: str
) -> None:
    kernel.write("proc/slabinfo", b"slabs\n")
    kernel.capture(debug_mem_level=level)
    assert shows in kernel.console
    assert hides not in kernel.console


@pytest.mark.shows("debug_mem_level")
def test_the_highest_debug_mem_level_shows_slabs(kernel: CaptureKernel) -> None:
    kernel.write("proc/slabinfo", b"slabs\n")
    kernel.capture(debug_mem_level=3)
    assert "slabs" in kernel.console


def test_a_clock_that_stands_still_does_not_overwrite_a_dump(kernel: CaptureKernel) -> None:
    kernel.program("date", "case $1 in +%s) echo 100 ;; *) echo 2000-01-01-00:00:00 ;; esac")
    kernel.capture()
    kernel.capture()
    names = sorted(dump.name for dump in (kernel.target / "var/crash").iterdir())
    assert names == ["127.0.0.1-2000-01-01-00:00:00", "127.0.0.1-2000-01-01-00:00:00.2"]


def test_the_dump_is_named_in_the_time_of_the_crashed_system(kernel: CaptureKernel) -> None:
    kernel.program("date", 'case $1 in +%s) echo 100 ;; *) echo "2000-01-01-00:00:00-$TZ" ;; esac')
    kernel.capture(timezone="CET-1CEST")
    assert kernel.dump().name.endswith("-CET-1CEST")


def test_the_plan_file_is_the_only_source(kernel: CaptureKernel) -> None:
    kernel.capture(replace(ENVIRONMENT, target_mount_options="noatime,subvol=@"))
    assert "mount -t ext4 -o rw,noatime,subvol=@ /dev/vda1 /kdumpd/target" in kernel.calls


@pytest.mark.shows("fence_kdump_nodes", "fence_kdump_args")
def test_the_cluster_is_told_before_the_hooks_and_not_waited_for(kernel: CaptureKernel) -> None:
    sender = kernel.script(
        "usr/libexec/fence_kdump_send", 'called "$@"; echo >"$KDUMPD_ROOT/told"; exec sleep 60'
    )
    pre = kernel.script("pre", 'until [ -e "$KDUMPD_ROOT/told" ]; do sleep 0.05; done; called')
    kernel.capture(fence=(sender, "-p", "7410", "192.0.2.1", "2001:db8::1"), kdump_pre=pre)
    assert kernel.summary().result is CaptureResult.SAVED
    told = kernel.calls.index("fence_kdump_send -p 7410 192.0.2.1 2001:db8::1")
    assert told < kernel.calls.index("pre")


def test_a_cluster_that_cannot_be_told_costs_no_dump(kernel: CaptureKernel) -> None:
    kernel.capture(fence=("/no/such/program", "node"))
    assert kernel.summary().result is CaptureResult.SAVED
