"""What is wrong with the place of the dumps and with the store of the images: room, read-only file systems, tests, the clock."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from kdumpd.core import tuning
from kdumpd.core.finding import Finding, Gravity, remount, unless_loaded
from kdumpd.core.storing import UNKNOWN_ROOM
from kdumpd.core.symptoms import DumpFolder, DumpsPlace, Symptoms

MIB, GIB = 1 << 20, 1 << 30
LEAST_STORE_BYTES = 64 * MIB
"""Two images of engine dracut, the old and the new one, and what is built beside them."""
MUCH = 0.5
"""Of the file system, taken by dumps that nothing lets go."""
CLOCK_SLACK_US = 3_600_000_000
KEPT = 5


def findings(of: Symptoms) -> Iterator[Finding]:
    yield from _room(of)
    yield from _test(of)
    yield from _kept(of)
    yield from _store(of)
    yield from _clock(of)


def _room(of: Symptoms) -> Iterator[Finding]:
    place = of.place
    if not place.folder or place.room == UNKNOWN_ROOM:
        return
    if place.room.is_read_only:
        yield Finding(
            code="target-read-only",
            gravity=Gravity.RISK,
            message=(
                f"the file system of {place.folder} is mounted read-only: if that is because of an error, it "
                "may not take a dump either"
            ),
            remedy="see the kernel's log for errors of its disk, and mount it with rw",
            command=remount(of, place.folder),
        )
    if place.forecast_bytes and place.room.free_bytes < place.forecast_bytes:
        gone = _to_delete(place)
        yield Finding(
            code="target-space",
            gravity=Gravity.RISK,
            message=f"a dump would take about {_shown(place.forecast_bytes)}, and {place.folder} has "
            f"{_shown(place.room.free_bytes)} free",
            remedy=(
                f"delete the {'oldest dump' if len(gone) == 1 else f'{len(gone)} oldest dumps'} there, or set "
                "keep_free_bytes in kdumpd.toml, which does it by itself"
                if gone
                else "free some space there, choose a larger target, or make dumps smaller with -d 31 and a compression"
            ),
            command=f"kdumpctl dumps delete {shlex.join(each.name for each in gone)}" if gone else "",
        )


def _to_delete(place: DumpsPlace) -> tuple[DumpFolder, ...]:
    """The oldest dumps whose room would be enough, but never the newest; none where that is not enough."""
    free, gone = place.room.free_bytes, list[DumpFolder]()
    for each in place.dumps[:-1]:
        free += each.size_bytes
        gone.append(each)
        if free >= place.forecast_bytes:
            return tuple(gone)
    return ()


def _test(of: Symptoms) -> Iterator[Finding]:
    daemon = of.daemon
    if daemon is None or not daemon.is_running:
        return
    if daemon.test == "failed":
        yield Finding(
            code="target-test-failed",
            gravity=Gravity.RISK,
            message=f"the last test of the target failed: {daemon.test_message}",
            remedy="fix the target, and test it again",
            command="kdumpctl test-target",
        )
    elif not daemon.was_tested and daemon.state == "armed":
        yield Finding(
            code="target-untested",
            gravity=Gravity.NOTE,
            message="the target was never tested: whether it takes a file is not known",
            remedy="test it",
            command="kdumpctl test-target",
        )


def _kept(of: Symptoms) -> Iterator[Finding]:
    place = of.place
    taken = sum(each.size_bytes for each in place.dumps)
    if of.tuning.retention.are_set or not place.capacity_bytes or taken < MUCH * place.capacity_bytes:
        return
    yield Finding(
        code="dumps-fill-the-target",
        gravity=Gravity.NOTE,
        message=f"{len(place.dumps)} dumps take {_shown(taken)} of {_shown(place.capacity_bytes)} in "
        f"{place.folder}, and no rule deletes any",
        remedy="say how many to keep, for how long, or how much space to leave free. With this line kdumpd keeps "
        f"the newest {KEPT}, and deletes older ones as soon as it finds a new good dump",
        # The first line: an append would run into a last one that has no end, or into a table. sed wants a line to be there.
        command=f"test -s {tuning.FILE} || echo >{tuning.FILE} && sed -i '1i keep_count = {KEPT}' {tuning.FILE}",
    )


def _store(of: Symptoms) -> Iterator[Finding]:
    room, store = of.store_room, of.tuning.store
    if room == UNKNOWN_ROOM:
        return
    if room.is_read_only:
        yield Finding(
            code="store-unwritable",
            gravity=unless_loaded(of),
            message=f"{store} is on a file system that is mounted read-only: no image can be built",
            remedy="see the kernel's log for errors of its disk, and mount it with rw",
            command=remount(of, store),
        )
    elif room.free_bytes < LEAST_STORE_BYTES:
        yield Finding(
            code="store-full",
            gravity=Gravity.RISK,
            message=f"{store} has {_shown(room.free_bytes)} free: the next image may find no room",
            remedy=f"make room there, or let kdumpd keep fewer images with store_budget_mib in {tuning.FILE}",
        )


def _clock(of: Symptoms) -> Iterator[Finding]:
    if of.newest_us and of.now_us + CLOCK_SLACK_US < of.newest_us:
        yield Finding(
            code="clock-wrong",
            gravity=Gravity.NOTE,
            message="the clock is behind the time at which the kernel or the image was installed: dumps would be "
            "named after a wrong time, and none would be found too old to be kept",
            remedy="set the clock, and keep it synchronised",
            command="timedatectl set-ntp true",
        )


def _shown(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size // MIB} MiB"
