"""Records of pstore, and the dumps that tell of the same crash."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.dumps import Dump
from kdumpd.core.pstore import LATER_US, NEAR_US, PstoreRecord, joined

MINUTE = 60_000_000
HOUR = 60 * MINUTE


def dump(identity: str, *, at: int, reason: str = "", trace: str = "") -> Dump:
    return Dump(
        id=identity,
        path=f"/var/crash/{identity}",
        time_us=at,
        size_bytes=1,
        is_complete=True,
        kernel_release="",
        reason=reason,
        call_trace=trace,
    )


def record(path: str, *, at: int, reason: str = "", trace: str = "") -> PstoreRecord:
    return PstoreRecord(path=path, modified_us=at, reason=reason, call_trace=trace)


def test_the_same_words_join_though_the_record_was_copied_hours_later() -> None:
    dumps = [dump("old", at=0, reason="BUG: x"), dump("new", at=10 * HOUR, reason="BUG: x")]
    records = [record("/p/a", at=3 * HOUR, reason="BUG: x"), record("/p/b", at=12 * HOUR, reason="BUG: x")]
    assert joined(dumps, records) == {"old": ("/p/a",), "new": ("/p/b",)}


def test_an_oops_is_known_by_its_call_trace() -> None:
    dumps = [dump("one", at=0, reason="Kernel panic - not syncing: Fatal exception", trace="f+0x1/0x2")]
    assert joined(dumps, [record("/p/a", at=HOUR, reason="BUG: x", trace="f+0x1/0x2")]) == {"one": ("/p/a",)}


def test_parts_without_words_go_with_their_record() -> None:
    dumps = [dump("one", at=0, reason="BUG: x")]
    records = [
        record("/p/1/part1", at=HOUR, reason="BUG: x"),
        record("/p/1/part2", at=HOUR + MINUTE),
        record("/p/2/part2", at=HOUR),
        record("/p/1/part9", at=9 * HOUR),
    ]
    assert joined(dumps, records) == {"one": ("/p/1/part1", "/p/1/part2")}


def test_what_was_written_at_the_crash_belongs_to_what_could_not_be_saved() -> None:
    failure = dump("failure-x", at=HOUR, reason="the disk is full")
    assert joined([failure], [record("/p/a", at=HOUR - MINUTE, reason="BUG: x")]) == {"failure-x": ("/p/a",)}


def test_another_crash_joins_nothing() -> None:
    dumps = [dump("one", at=10 * HOUR, reason="BUG: x")]
    others = [
        record("/p/a", at=9 * HOUR, reason="BUG: x"),  # before
        record("/p/b", at=10 * HOUR + LATER_US + 1, reason="BUG: x"),  # long after
        record("/p/c", at=11 * HOUR, reason="BUG: y"),
        record("/p/d", at=11 * HOUR),
    ]
    assert joined(dumps, others) == {}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(("", "a", "b"))), max_size=6),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(("", "a", "b"))), max_size=6),
)
def test_a_record_belongs_to_one_dump_that_it_can_belong_to(
    of_dumps: list[tuple[int, str]], of_records: list[tuple[int, str]]
) -> None:
    dumps = {f"d{n}": dump(f"d{n}", at=at * MINUTE, reason=why) for n, (at, why) in enumerate(of_dumps)}
    records = {
        f"/p/{n}": record(f"/p/{n}", at=at * MINUTE, reason=why) for n, (at, why) in enumerate(of_records)
    }
    found = joined(dumps.values(), tuple(records.values()))
    paths = [path for each in found.values() for path in each]
    assert len(paths) == len(set(paths))
    for identity, each in found.items():
        for path in each:
            if records[path].reason:
                after = records[path].modified_us - dumps[identity].time_us
                assert after >= -NEAR_US
                assert records[path].reason == dumps[identity].reason or after <= NEAR_US
