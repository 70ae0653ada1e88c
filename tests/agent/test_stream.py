"""The core collector into a stream: both ends count, and nothing hangs."""

from __future__ import annotations

import pytest

from tests.agent.capture_kernel import CaptureKernel

STREAM = ("makedumpfile", "-F", "-d", "31")
COLLECTOR = """called "$@"; for input; do :; done; exec cat "$input" """
BIG = 1 << 20
SMALL_TALK = f'for _ in {"x " * 150}; do echo alive; sleep 0.1; done >"$KDUMPD_ROOT/talk"'


@pytest.fixture
def streaming(kernel: CaptureKernel) -> CaptureKernel:
    kernel.program("makedumpfile", COLLECTOR)
    kernel.write("proc/vmcore", bytes(range(256)) * (BIG // 256))
    return kernel


def _stream(kernel: CaptureKernel, consumer: str, **changes: object) -> str:
    """What the agent says after `stream_collector CONSUMER`, and the statuses."""
    kernel.run_parts(
        "step=collect",
        f"stream_collector {consumer}; stream_status=$?",
        'say "end: $stream_status collector $collector_status consumer $consumer_status"',
        stream_collector=STREAM,
        **changes,
    )
    return kernel.console


def _writes_to(kernel: CaptureKernel, name: str) -> str:
    kernel.program(name, f'called "$@"; exec cat >"$KDUMPD_ROOT/{name}.out"')
    return name


def test_every_byte_arrives_and_both_end_well(streaming: CaptureKernel) -> None:
    console = _stream(streaming, _writes_to(streaming, "taker") + " 'an argument' two")
    assert "end: 0 collector 0 consumer 0" in console
    assert (streaming.root / "taker.out").read_bytes() == (streaming.root / "proc/vmcore").read_bytes()
    assert sorted(streaming.calls) == ["makedumpfile -F -d 31 /proc/vmcore", "taker an argument two"]


def test_a_function_may_take_the_stream_and_end_as_a_program(streaming: CaptureKernel) -> None:
    streaming.run_parts(
        'take() { head -c 1000 >"$run/first"; exec cat >"$run/rest"; }',
        "stream_collector take && say taken",
        stream_collector=STREAM,
    )
    first, rest = (streaming.root / "kdumpd" / name for name in ("first", "rest"))
    assert "taken" in streaming.console
    assert first.stat().st_size == 1000
    assert rest.stat().st_size > 0


def test_a_collector_that_fails_is_a_failure_though_all_it_wrote_arrived(streaming: CaptureKernel) -> None:
    streaming.program("makedumpfile", "echo half; exit 3")
    console = _stream(streaming, _writes_to(streaming, "taker"))
    assert "failed at collect: the core collector ended with 3" in console
    assert "end: 1 collector 3 consumer 0" in console
    assert (streaming.root / "taker.out").read_text() == "half\n"


def test_a_consumer_that_fails_is_a_failure_and_ends_the_collector(streaming: CaptureKernel) -> None:
    streaming.program("taker", "head -c 10 >/dev/null; exit 7")
    streaming.write("proc/vmcore", b"x" * (4 * BIG))
    console = _stream(streaming, "taker", stall_seconds=25)
    assert "failed at collect: taker, which took the dump, ended with 7" in console
    assert "consumer 7" in console


def test_a_consumer_that_is_not_there_is_a_failure(streaming: CaptureKernel) -> None:
    console = _stream(streaming, "no-such-program", stall_seconds=25)
    assert "no-such-program, which took the dump, ended with 127" in console


def test_a_collector_that_is_not_there_is_a_failure(streaming: CaptureKernel) -> None:
    streaming.without("makedumpfile")
    console = _stream(streaming, _writes_to(streaming, "taker"))
    assert "failed at collect: the core collector ended with 127" in console


def test_a_consumer_that_leaves_early_with_a_good_status_is_no_success(streaming: CaptureKernel) -> None:
    streaming.program("taker", "head -c 10 >/dev/null; exit 0")
    streaming.write("proc/vmcore", b"x" * (4 * BIG))
    console = _stream(streaming, "taker", stall_seconds=25)
    assert "failed at collect: the core collector ended with" in console


def test_a_consumer_that_hangs_is_ended_with_its_collector(streaming: CaptureKernel) -> None:
    streaming.program("taker", "exec sleep 25")
    console = _stream(streaming, "taker", stall_seconds=1)
    assert "failed at collect: the core collector was ended: no progress for 1 s" in console
    assert "end: 1 collector 143 consumer 143" in console


def test_a_consumer_that_ignores_the_request_is_killed(streaming: CaptureKernel) -> None:
    streaming.program("taker", "trap '' TERM; while :; do sleep 0.2; done")
    console = _stream(streaming, "taker", stall_seconds=1)
    assert "no progress for 1 s" in console
    assert "consumer 137" in console


def test_a_consumer_that_hangs_after_the_last_byte_is_ended(streaming: CaptureKernel) -> None:
    streaming.program("taker", "cat >/dev/null; exec sleep 25")
    console = _stream(streaming, "taker", stall_seconds=1)
    assert "no progress for 1 s" in console
    assert "collector 0 consumer 143" in console


def test_a_stream_that_takes_too_long_is_ended(streaming: CaptureKernel) -> None:
    streaming.program("makedumpfile", "while echo more; do sleep 0.05; done")
    console = _stream(streaming, _writes_to(streaming, "taker"), collector_timeout=1)
    assert "failed at collect: the core collector was ended: not done after 1 s" in console


def test_who_takes_slowly_is_not_ended(streaming: CaptureKernel) -> None:
    """The collector waits for room in the pipe most of the time, and moves a little each time there is some."""
    streaming.program(
        "taker", f"for _ in {'x ' * 16}; do sleep 0.2; head -c 65536 >/dev/null; done; exec cat"
    )
    streaming.counted("makedumpfile")
    assert "end: 0 collector 0 consumer 0" in _stream(streaming, "taker", stall_seconds=2)


def test_a_consumer_that_talks_but_takes_nothing_is_ended(streaming: CaptureKernel) -> None:
    """ssh keeps talking to a server whose disk hangs."""
    streaming.program("taker", SMALL_TALK)
    streaming.counted("makedumpfile", "taker")
    console = _stream(streaming, "taker", stall_seconds=1)
    assert "failed at collect: the core collector was ended: no progress for 1 s" in console


def test_a_consumer_that_talks_but_sends_no_more_of_the_rest_is_ended(streaming: CaptureKernel) -> None:
    streaming.program("taker", f"cat >/dev/null; {SMALL_TALK}")
    streaming.counted("makedumpfile", "taker")
    console = _stream(streaming, "taker", stall_seconds=1)
    assert "failed at collect: the core collector was ended: no progress for 1 s" in console
    assert "collector 0" in console


def test_a_consumer_that_still_sends_the_rest_is_not_ended(streaming: CaptureKernel) -> None:
    streaming.program(
        "taker",
        f"""cat >/dev/null
        rest=xxxxxxxxxx; for _ in x x x x; do rest=$rest$rest$rest$rest$rest$rest$rest$rest$rest$rest; done
        for _ in {"x " * 14}; do echo "$rest"; sleep 0.25; done >"$KDUMPD_ROOT/sent" """,
    )
    streaming.counted("makedumpfile", "taker")
    assert "end: 0 collector 0 consumer 0" in _stream(streaming, "taker", stall_seconds=2)


@pytest.mark.shows("core_collector makedumpfile --num-threads")
def test_threads_are_added_to_a_stream_too(streaming: CaptureKernel) -> None:
    streaming.program("nproc", "echo 8")
    _stream(streaming, _writes_to(streaming, "taker"), collector_max_threads=32)
    assert "makedumpfile --num-threads 7 -F -d 31 /proc/vmcore" in streaming.calls


def test_the_kernel_log_is_held_in_memory(kernel: CaptureKernel) -> None:
    kernel.run_parts('hold_kernel_log; say "held: $(head -n 1 "$kernel_log")"; say "panic: $panic_line"')
    assert "held: [    0.000000] Linux version" in kernel.console
    assert "panic: Kernel panic - not syncing: sysrq triggered crash" in kernel.console


def test_a_kernel_log_that_cannot_be_read_is_told(kernel: CaptureKernel) -> None:
    kernel.program("makedumpfile", "exit 1")
    kernel.run_parts('hold_kernel_log; say "held: <$kernel_log>"')
    assert "the kernel log could not be read" in kernel.console
    assert "held: <>" in kernel.console
