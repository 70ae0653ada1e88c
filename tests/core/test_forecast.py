"""How large a dump would be, from what makedumpfile counts."""

from __future__ import annotations

import pytest

from kdumpd.core.forecast import Forecast, Source, forecast, parse_mem_usage
from kdumpd.core.problems import Problem
from kdumpd.core.target_test import Reached, Verdict, judged

COUNTED = """
TYPE		PAGES			EXCLUDABLE	DESCRIPTION
----------------------------------------------------------------------
ZERO		4698            	yes		Pages filled with zero
NON_PRI_CACHE	81000           	yes		Cache pages without private flag
PRI_CACHE	822             	yes		Cache pages with private flag
USER		20600           	yes		User process pages
FREE		347937          	yes		Free pages
KERN_DATA	46621           	no		Dumpable kernel data 

page size:		4096            
Total pages on system:	501678          
Total size on system:	2054873088       Byte
"""  # noqa: W291  # as it is printed
PAGES = parse_mem_usage(COUNTED)
GIB = 1 << 30


@pytest.mark.parametrize(
    ("level", "pages"),
    [
        (31, 46621),
        (0, 501678),
        (1, 501678 - 4698),
        (2, 501678 - 81000),
        (4, 501678 - 81822),
        (11, 501678 - 4698 - 81000 - 20600),
        (16, 501678 - 347937),
    ],
)
def test_each_bit_of_the_level_leaves_out_its_kind(level: int, pages: int) -> None:
    assert PAGES is not None
    assert PAGES.kept_bytes(level) == pages * 4096


@pytest.mark.parametrize(
    ("command", "size"),
    [
        ("makedumpfile -d 31", 46621 * 4096),
        ("makedumpfile -c -d 31", int(46621 * 4096 * 0.33)),
        ("makedumpfile -l --message-level 7 -d 31", int(46621 * 4096 * 0.40)),
        ("makedumpfile -zd31", int(46621 * 4096 * 0.31)),
        ("makedumpfile -l -d 11,31", int(46621 * 4096 * 0.40)),
        ("makedumpfile", 501678 * 4096),
    ],
)
def test_level_and_compression_make_the_size(command: str, size: int) -> None:
    told = forecast(command.split(), memory_bytes=2 * GIB, pages=PAGES, saved_bytes=(5,))
    assert told == Forecast(size_bytes=size, source=Source.PAGES)


def test_without_a_count_there_is_the_memory_or_what_was_saved_before() -> None:
    def without(command: str, *saved: int) -> Forecast | None:
        return forecast(command.split(), memory_bytes=2 * GIB, pages=None, saved_bytes=saved)

    assert without("cp --sparse=always") == Forecast(size_bytes=2 * GIB, source=Source.MEMORY)
    assert without("makedumpfile -d 0") == Forecast(size_bytes=2 * GIB, source=Source.MEMORY)
    assert without("makedumpfile -l -d 31", 100, 400) == Forecast(size_bytes=500, source=Source.DUMPS)
    assert without("makedumpfile -l -d 31") is None


def test_something_else_is_no_count() -> None:
    assert parse_mem_usage("No memory is reserved for crashkernel!\n") is None
    assert parse_mem_usage(COUNTED.replace("FREE", "FREED")) is None


def test_a_target_that_is_too_small_is_warned_of_with_both_numbers() -> None:
    reached = Reached(free_bytes=100 << 20, words="x took a file")
    needed = Forecast(size_bytes=300 << 20, source=Source.PAGES)
    told = judged(reached, (), forecast=needed, now_us=7)
    assert (told.verdict, told.tested_us) == (Verdict.WARNED, 7)
    assert [problem.code for problem in told.problems] == ["target-space"]
    assert "300 MiB" in told.message
    assert "100 MiB" in told.message
    assert judged(reached, (), forecast=None, now_us=7).verdict is Verdict.PASSED
    failed = judged(None, (Problem(code="target-unreachable", message="gone"),), forecast=needed, now_us=7)
    assert (failed.verdict, failed.free_bytes) == (Verdict.FAILED, 0)
