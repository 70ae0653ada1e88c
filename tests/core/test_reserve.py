"""crashkernel=: the kernel's own grammar, and its arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.problems import Problem
from kdumpd.core.reserve import (
    MIB,
    Fixed,
    Place,
    Range,
    Ranges,
    Reservation,
    Reserved,
    Suffixed,
    parse,
    parse_size,
    render,
    reserved,
    size_for,
    size_text,
)

GIB = 1024 * MIB
SIZES = st.integers(min_value=0, max_value=1 << 44)
OFFSETS = st.one_of(st.none(), SIZES)
RANGE = st.tuples(SIZES, st.one_of(st.none(), st.integers(min_value=1, max_value=1 << 40)), SIZES).map(
    lambda drawn: Range(start=drawn[0], end=None if drawn[1] is None else drawn[0] + drawn[1], size=drawn[2])
)
RESERVATIONS: st.SearchStrategy[Reservation] = st.one_of(
    st.builds(Fixed, size=SIZES, offset=OFFSETS),
    st.builds(Suffixed, size=SIZES, place=st.sampled_from(Place)),
    st.builds(Ranges, ranges=st.lists(RANGE, min_size=1, max_size=4).map(tuple), offset=OFFSETS),
)


@given(RESERVATIONS)
def test_what_is_written_is_read_back(reservation: Reservation) -> None:
    assert parse(render(reservation)) == reservation


@given(st.text(st.sampled_from("0123456789xXaKMGT:,-@highlowcma "), max_size=24))
def test_any_text_is_a_reservation_or_a_problem(text: str) -> None:
    found = parse(text)
    assert isinstance(found, Problem) or parse(render(found)) == found


@given(SIZES)
def test_a_size_survives_its_spelling(size: int) -> None:
    assert parse_size(size_text(size)) == size


@given(RESERVATIONS, st.integers(min_value=MIB, max_value=1 << 44))
def test_never_more_is_reserved_than_there_is(reservation: Reservation, memory: int) -> None:
    assert 0 <= size_for(reservation, memory) <= memory + 128 * MIB


@pytest.mark.parametrize(
    ("value", "memory", "expected"),
    [
        ("256M", 2 * GIB, 256 * MIB),
        ("256M@16M", 2 * GIB, 256 * MIB),
        ("0x10000000", 2 * GIB, 256 * MIB),
        ("2G", 2 * GIB, 0),
        ("1G-4G:192M,4G-64G:256M,64G-:512M", 512 * MIB, 0),
        ("1G-4G:192M,4G-64G:256M,64G-:512M", 2 * GIB, 192 * MIB),
        ("1G-4G:192M,4G-64G:256M,64G-:512M", 4 * GIB, 256 * MIB),
        ("1G-4G:192M,4G-64G:256M,64G-:512M", 1024 * GIB, 512 * MIB),
        # RAM is rounded up to 128 MiB first: a little less than 4G is 4G.
        ("1G-4G:192M,4G-64G:256M,64G-:512M", 4 * GIB - 100 * MIB, 256 * MIB),
        ("1G-4G:192M,4G-64G:256M,64G-:512M", 4 * GIB - 128 * MIB, 192 * MIB),
        ("1G-:128M,2G-:512M", 8 * GIB, 128 * MIB),
        ("512M,high", 8 * GIB, 512 * MIB),
    ],
)
def test_the_size_for_a_memory(value: str, memory: int, expected: int) -> None:
    reservation = parse(value)
    assert not isinstance(reservation, Problem)
    assert size_for(reservation, memory) == expected


@pytest.mark.parametrize(
    "value", ["", "auto", "lots", "256M,middle", "256M@", "4G-2G:64M", "1G-2G", "256M x", "-5M"]
)
def test_what_the_kernel_cannot_read_is_told(value: str) -> None:
    found = parse(value)
    assert isinstance(found, Problem)
    assert found.code == "bad-crashkernel"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("quiet", Reserved()),
        ("crashkernel=128M crashkernel=256M", Reserved(base=256 * MIB)),
        ("crashkernel=512M,high", Reserved(base=512 * MIB, low=256 * MIB)),
        ("crashkernel=512M,high crashkernel=72M,low", Reserved(base=512 * MIB, low=72 * MIB)),
        ("crashkernel=512M,high crashkernel=256M", Reserved(base=256 * MIB)),
        ("crashkernel=72M,low", Reserved()),
        ("crashkernel=256M crashkernel=1G,cma", Reserved(base=256 * MIB, cma=GIB)),
        ("crashkernel=1G,cma", Reserved()),
    ],
)
def test_what_a_whole_command_line_reserves(line: str, expected: Reserved) -> None:
    assert reserved(line, 16 * GIB, architecture="x86_64") == expected


@pytest.mark.parametrize(
    ("architecture", "line", "expected"),
    [
        *((each, "512M,high", Reserved(base=512 * MIB, low=128 * MIB)) for each in ("aarch64", "riscv64")),
        ("aarch64", "512M,high crashkernel=0,low", Reserved(base=512 * MIB)),
        *((each, "512M,high", Reserved()) for each in ("ppc64le", "s390x")),
        *((each, "512M crashkernel=64M,low", Reserved(base=512 * MIB)) for each in ("ppc64le", "s390x")),
        ("ppc64le", "4G-16G:512M,16G-64G:1G@128M", Reserved(base=GIB)),
    ],
)
def test_what_each_architecture_makes_of_a_suffix(architecture: str, line: str, expected: Reserved) -> None:
    assert reserved(f"crashkernel={line}", 16 * GIB, architecture=architecture) == expected


def test_a_bad_one_among_several_is_told() -> None:
    assert isinstance(reserved("crashkernel=256M crashkernel=auto", 16 * GIB, architecture="x86_64"), Problem)
