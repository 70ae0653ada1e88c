"""How long the agent waits for a program, also where one wait stands inside another."""

from __future__ import annotations

from tests.agent.capture_kernel import CaptureKernel


def test_a_guard_whose_program_is_gone_ends_no_other_wait(kernel: CaptureKernel) -> None:
    """The outer bound ends the shell that waited inside; the guard in there outlives it."""
    kernel.run_parts(
        "bounded 1 eval 'bounded 2 sleep 25'",
        "bounded 20 sleep 4",
        'say "the second wait ended with $?"',
    )
    assert "the second wait ended with 0" in kernel.console


def test_a_wait_inside_another_is_left_behind_by_itself(kernel: CaptureKernel) -> None:
    """A task that waits for a dead disk is ended by no signal; here kill spares it."""
    kernel.program("dead-disk", 'echo $$ >"$KDUMPD_ROOT/dead"; exec sleep 25')
    kernel.run_parts(
        """kill() {
            case $1 in -TERM | -KILL)
                read -r dead <"$root/dead"
                [ "$2" != "$dead" ] || return 0
                ;;
            esac
            command kill "$@"
        }""",
        'inside() { bounded 1 dead-disk; say "inside: $?"; }',
        "bounded 20 inside",
        'say "outside: $?"',
        'read -r dead <"$root/dead"; command kill "$dead"',
        grace_seconds=0.1,
    )
    assert "inside: 124" in kernel.console
    assert "outside: 0" in kernel.console


def test_a_guard_that_was_lost_is_followed_by_another(kernel: CaptureKernel) -> None:
    kernel.run_parts(
        "bounded 20 true",
        'kill -KILL "$guard"; wait "$guard"',
        "bounded 20 true",
        "bounded 1 sleep 25",
        'say "the last wait ended with $?"',
    )
    assert "the last wait ended with 143" in kernel.console


def test_a_wait_that_cannot_be_written_down_has_a_guard_of_its_own(kernel: CaptureKernel) -> None:
    """Memory that is full: here a file is where the folder of the waits should be."""
    kernel.write("kdumpd/waits", b"")
    kernel.run_parts("bounded 1 sleep 25", 'say "the wait ended with $?"')
    assert "the wait ended with 143" in kernel.console


def test_several_waits_are_guarded_at_once_by_one(kernel: CaptureKernel) -> None:
    kernel.run_parts(
        'inside() { bounded 1 sleep 25; say "inside: $?"; bounded 20 sleep 25; }',
        "bounded 3 inside",
        'say "outside: $?"',
        'set -- "$waits"/*',
        'say "of $# shells"',
    )
    assert "inside: 143" in kernel.console
    assert "outside: 143" in kernel.console
    assert "of 2 shells" in kernel.console
