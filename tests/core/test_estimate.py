"""What a capture needs: guessed so that nothing is refused that would do, measured where captures told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core import usual
from kdumpd.core.commandline import has_roomy_rootfs
from kdumpd.core.estimate import (
    MOST_CAPTURES,
    Basis,
    Capture,
    Estimate,
    Sizes,
    capture_of,
    estimate,
    learned,
    size_problems,
)
from kdumpd.core.summary import CaptureResult, Summary

MIB = 1 << 20
GIB = 1 << 30
KIND = "direct filesystem ext4 makedumpfile"
# As measured: Linux 6.12 of Debian 13 with its ext4 disk. 88 MiB captured, with the hand-made image as well.
DEBIAN = Sizes(kernel=42 * MIB, unpacked=10 * MIB, working_set=26 * MIB, image=3 * MIB)
AT_256 = Capture(
    started_at=1, kind=KIND, kernel_release="6.12", reserved_bytes=256 * MIB, least_bytes=173480 << 10
)
AT_92 = Capture(
    started_at=2, kind=KIND, kernel_release="6.12", reserved_bytes=92 * MIB, least_bytes=13360 << 10
)


def estimated(
    *captures: Capture, reserved: int, sizes: Sizes = DEBIAN, memory: int = 2 * GIB, kind: str = KIND
) -> Estimate:
    return estimate(
        sizes,
        kind=kind,
        captures=captures,
        reserved=reserved,
        memory=memory,
        usual=usual.usual("x86_64"),
    )


@pytest.mark.parametrize("captures", [(), (AT_256,), (AT_256, AT_92)])
def test_a_machine_with_the_least_that_ever_captured_may_arm(captures: tuple[Capture, ...]) -> None:
    for mib in (88, 92, 256):
        assert estimated(*captures, reserved=mib * MIB).refusal is None


@pytest.mark.parametrize("captures", [(), (AT_256,), (AT_92,)])
def test_what_cannot_fit_is_refused_with_the_numbers_and_what_to_write(captures: tuple[Capture, ...]) -> None:
    refusal = estimated(*captures, reserved=64 * MIB).refusal
    assert refusal is not None
    assert refusal.code == "image-too-big"
    assert "64 MiB are reserved" in refusal.message
    assert "crashkernel=" in refusal.hint


def test_where_nothing_is_reserved_that_is_the_problem_and_not_the_size() -> None:
    assert estimated(reserved=0).refusal is None
    assert estimated(reserved=0).warning is None


def test_between_the_two_it_arms_and_warns() -> None:
    tight = estimated(reserved=76 * MIB)
    assert tight.refusal is None
    assert tight.warning is not None
    assert tight.warning.code == "reservation-tight"
    assert not tight.warning.is_error
    assert not tight.fits
    assert estimated(reserved=88 * MIB).warning is None


def test_measured_numbers_win_over_guesses() -> None:
    heavy = Sizes(kernel=42 * MIB, unpacked=10 * MIB, working_set=200 * MIB, image=3 * MIB)
    guessed = estimated(reserved=128 * MIB, sizes=heavy)
    assert (guessed.basis, guessed.captures, guessed.fits) == (Basis.GUESSED, 0, False)
    measured = estimated(AT_92, reserved=128 * MIB, sizes=heavy)
    assert (measured.basis, measured.captures, measured.fits) == (Basis.MEASURED, 1, True)
    assert measured.needed == pytest.approx(84 * MIB, abs=MIB)
    assert measured.kernel + measured.unpacked + measured.working_set == measured.needed


def test_captures_of_another_kind_tell_nothing() -> None:
    assert estimated(AT_92, reserved=92 * MIB, kind="dracut ssh makedumpfile").basis is Basis.GUESSED


def test_what_captured_once_is_enough_however_much_of_it_was_in_use() -> None:
    full = Capture(started_at=3, kind=KIND, kernel_release="", reserved_bytes=80 * MIB, least_bytes=1)
    also = Capture(
        started_at=4, kind=KIND, kernel_release="", reserved_bytes=512 * MIB, least_bytes=300 * MIB
    )
    assert estimated(full, also, reserved=80 * MIB).refusal is None


def test_a_capture_with_more_memory_used_more_of_it() -> None:
    assert AT_256.used_bytes - AT_92.used_bytes > 7 * MIB
    assert AT_256.used_of(92 * MIB) == pytest.approx(AT_92.used_bytes, abs=MIB)


def test_what_no_look_sees_is_counted_as_well() -> None:
    """The least that captured was 80 MiB; the kernel of the very same image ran out of memory with 76."""
    at_80 = Capture(
        started_at=5, kind=KIND, kernel_release="", reserved_bytes=80 * MIB, least_bytes=4836 << 10
    )
    assert estimated(at_80, reserved=80 * MIB).fits
    assert not estimated(at_80, reserved=76 * MIB).fits


def test_the_usual_size_is_recommended_until_captures_say_less() -> None:
    guessed = estimated(reserved=256 * MIB)
    assert (guessed.recommended, guessed.crashkernel) == (256 * MIB, "2G-64G:256M,64G-:512M")
    measured = estimated(AT_92, reserved=92 * MIB)
    assert (measured.recommended, measured.crashkernel) == (128 * MIB, "128M")
    assert estimated(reserved=0, memory=GIB).crashkernel == "128M", "the usual one reserves nothing here"
    large = Sizes(kernel=42 * MIB, unpacked=200 * MIB, working_set=60 * MIB)
    assert estimated(reserved=0, sizes=large).recommended == 384 * MIB


def test_a_tmpfs_holds_half_of_the_memory_and_a_ramfs_all() -> None:
    large = Sizes(kernel=42 * MIB, unpacked=60 * MIB, working_set=26 * MIB)
    assert estimated(reserved=140 * MIB, sizes=large).refusal is None
    in_tmpfs = replace(large, has_roomy_rootfs=False)
    assert estimated(reserved=140 * MIB, sizes=in_tmpfs).refusal is not None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("irqpoll", False),
        ("rootfstype=ramfs", True),
        ("rootfstype=ext4 irqpoll", True),
        ("rootfstype=ramfs rootfstype=tmpfs", False),
        ("root=/dev/vda1", True),
        ("rootflags=x", False),
    ],
)
def test_which_root_file_system_the_kernel_takes(line: str, *, expected: bool) -> None:
    assert has_roomy_rootfs(line) is expected


def test_a_built_image_is_judged_by_what_it_came_to() -> None:
    assert size_problems(DEBIAN, reserved=88 * MIB) == ()
    (problem,) = size_problems(DEBIAN, reserved=60 * MIB)
    assert problem.code == "image-too-big"
    assert problem.hint == "reserve more with crashkernel=128M and reboot"
    used = capture_of(summary(memory_reserved_kib=60 * 1024, memory_total_kib=40 * 1024))
    assert used is not None
    assert size_problems(DEBIAN, reserved=60 * MIB, kind=used.kind, captures=(used,)) == (), (
        "it was seen to fit"
    )
    held_twice = Sizes(kernel=42 * MIB, unpacked=30 * MIB, working_set=MIB, image=28 * MIB)
    assert size_problems(held_twice, reserved=96 * MIB), "the kernel holds the archive while it unpacks"


def summary(**changes: object) -> Summary:
    told = {
        "result": CaptureResult.SAVED,
        "started_at": 7,
        "kernel_release": "6.12",
        "memory_kind": KIND,
        "memory_total_kib": 48140,
        "memory_least_kib": 13360,
        "memory_reserved_kib": 92 << 10,
    }
    return Summary.model_validate({**told, **changes})


def test_a_capture_that_was_saved_tells_what_it_took() -> None:
    found = capture_of(summary())
    assert found is not None
    assert (found.kind, found.started_at, found.reserved_bytes) == (KIND, 7, 92 * MIB)
    assert found.used_bytes == (94208 - 13360) << 10


@pytest.mark.parametrize(
    "changes",
    [
        {"result": CaptureResult.FAILED},
        {"fallback": "dump_to_rootfs"},
        {"memory_kind": ""},
        {"memory_least_kib": 0},
        {"memory_reserved_kib": 0},
        {"memory_least_kib": 93 << 10},
    ],
)
def test_a_capture_that_cannot_tell_is_left_out(changes: dict[str, object]) -> None:
    assert capture_of(summary(**changes)) is None


def test_the_last_twenty_are_kept_each_once() -> None:
    each = tuple(AT_92.model_copy(update={"started_at": at}) for at in range(30))
    known = learned(each[:25], each[20:])
    assert [one.started_at for one in known] == list(range(30 - MOST_CAPTURES, 30))
    assert learned(known, each[25:]) == known
