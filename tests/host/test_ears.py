"""Hearing what the kernel of this machine tells by itself."""

from __future__ import annotations

import contextlib
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdumpd.host.ears import ClockSet, Disks, Ear, MountTable, Processors, Routes
from kdumpd.host.real import RealFiles

PATIENCE = 10.0
QUIET_SECONDS = 0.05
"""That nothing comes can only be seen by waiting; longer would not fail more often."""


@contextlib.contextmanager
def opened(made: Callable[[], Ear]) -> Iterator[Ear]:
    try:
        ear = made()
    except OSError as fault:
        pytest.skip(f"not to be had here: {fault}")
    try:
        yield ear
    finally:
        ear.close()


def is_readable(ear: Ear, *, within: float = PATIENCE) -> bool:
    return bool(select.select([ear], [], [], within)[0])


def done(*argv: str) -> None:
    result = subprocess.run(argv, check=False, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"not allowed here: {result.stderr.strip()}")


def test_a_burst_of_mounts_is_told_once(tmp_path: Path) -> None:
    said: list[str] = []
    with opened(lambda: MountTable(RealFiles("/"), said.append)) as ear:
        assert not is_readable(ear, within=QUIET_SECONDS)
        for _ in range(3):
            done("mount", "--bind", str(tmp_path), str(tmp_path))
        done("mount", "-o", "remount,bind,ro", str(tmp_path))
        assert is_readable(ear)
        ear.hear()
        assert said == ["the mounts changed"]
        assert not is_readable(ear, within=QUIET_SECONDS)
        for _ in range(3):
            done("umount", str(tmp_path))
        assert is_readable(ear)


def test_other_options_of_a_mount_are_heard(tmp_path: Path) -> None:
    said: list[str] = []
    with opened(lambda: MountTable(RealFiles("/"), said.append)) as ear:
        done("mount", "--bind", str(tmp_path), str(tmp_path))
        try:
            assert is_readable(ear)
            ear.hear()
            done("mount", "-o", "remount,bind,ro", str(tmp_path))
            assert is_readable(ear)
        finally:
            done("umount", str(tmp_path))


def test_a_copy_of_a_mount_table_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("")
    with pytest.raises(OSError, match="not permitted"):
        MountTable(RealFiles(str(tmp_path)), print)


def uevent(of: str) -> None:
    """Asks the kernel to tell of a device once more."""
    try:
        Path(of, "uevent").write_text("change")
    except OSError as fault:
        pytest.skip(f"not allowed here: {fault}")


def test_a_burst_about_processors_is_told_once_and_others_are_not() -> None:
    said: list[str] = []
    with opened(lambda: Processors(said.append)) as ear:
        uevent("/sys/devices/virtual/mem/null")
        assert is_readable(ear)
        ear.hear()
        assert said == []
        for _ in range(20):
            uevent("/sys/devices/system/cpu/cpu0")
        assert is_readable(ear)
        ear.hear()
        assert said == ["the kernel says change of cpu0"]


def test_more_uevents_than_the_socket_holds_are_a_reason_to_look() -> None:
    said: list[str] = []
    with opened(lambda: Processors(said.append)) as ear:
        for _ in range(1000):
            uevent("/sys/devices/virtual/mem/null")
        for _ in range(40):
            if is_readable(ear, within=0):
                ear.hear()
        assert said == ["the kernel told more of its devices than was heard"]


def test_of_disks_only_what_udevd_says_is_heard() -> None:
    said: list[str] = []
    with opened(lambda: Disks(said.append)) as ear:
        uevent("/sys/devices/virtual/mem/null")  # the kernel's own, which is in another group
        assert not is_readable(ear, within=QUIET_SECONDS)


def test_an_address_that_comes_and_goes_is_told_once() -> None:
    said: list[str] = []
    with opened(lambda: Routes(said.append)) as ear:
        done("ip", "address", "add", "127.77.0.1/32", "dev", "lo")
        done("ip", "address", "del", "127.77.0.1/32", "dev", "lo")
        assert is_readable(ear)
        ear.hear()
        assert said == ["links, addresses or routes changed"]


def test_a_clock_that_is_set_is_heard_each_time() -> None:
    said: list[str] = []
    with opened(lambda: ClockSet(said.append)) as ear:
        assert not is_readable(ear, within=QUIET_SECONDS)
        for _ in range(2):
            try:
                time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_REALTIME))
            except PermissionError as fault:
                pytest.skip(f"not allowed here: {fault}")
            assert is_readable(ear)
            ear.hear()
        assert said == ["the clock was set", "the clock was set"]
        assert not is_readable(ear, within=QUIET_SECONDS)
