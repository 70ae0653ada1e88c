"""The newc archive: read back as written, the same for the same tree, and damage is noticed."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core import newc

names = st.text(
    st.characters(min_codepoint=33, exclude_characters="/", codec="utf-8"), min_size=1, max_size=40
)


def _written(*entries: tuple[newc.Entry, bytes]) -> bytes:
    out = io.BytesIO()
    size = newc.write(((entry, (contents,)) for entry, contents in entries), out.write)
    assert size == len(out.getvalue())
    return out.getvalue()


@given(
    st.lists(st.tuples(names.filter(lambda name: name != newc.TRAILER), st.binary(max_size=50)), max_size=8)
)
def test_what_is_written_is_read_back(contents: list[tuple[str, bytes]]) -> None:
    entries = [
        (newc.Entry(path=name, mode=newc.REGULAR | 0o640, size_bytes=len(data)), data)
        for name, data in contents
    ]
    data = _written(*entries)
    assert len(data) % 4 == 0
    assert list(newc.read(io.BytesIO(data))) == entries


def test_the_header_is_the_kernels() -> None:
    data = _written((newc.Entry(path="a", mode=newc.FOLDER | 0o755), b""))
    assert data[:110] == (
        b"070701"
        b"00000001"
        b"000041ED"
        b"00000000"
        b"00000000"
        b"00000002"
        b"00000000"
        b"00000000"
        b"00000000"
        b"00000000"
        b"00000000"
        b"00000000"
        b"00000002"
        b"00000000"
    )
    assert data[110:112] == b"a\0"


def test_contents_come_in_pieces() -> None:
    out = io.BytesIO()
    entry = newc.Entry(path="big", mode=newc.REGULAR | 0o600, size_bytes=30_000)
    newc.write([(entry, (bytes(10_000) for _ in range(3)))], out.write)
    out.seek(0)
    assert next(newc.read(out)) == (entry, bytes(30_000))


def test_a_size_that_is_not_true_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 bytes, not 3"):
        _written((newc.Entry(path="a", mode=newc.REGULAR, size_bytes=3), b"12"))


@pytest.mark.parametrize("path", ["/a", "", "x" * 5000])
def test_a_name_that_the_kernel_would_not_take_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        _written((newc.Entry(path=path, mode=newc.FOLDER), b""))


def test_an_archive_cut_anywhere_is_damaged() -> None:
    data = _written((newc.Entry(path="a", mode=newc.REGULAR, size_bytes=5), b"12345"))
    for size in range(len(data)):
        with pytest.raises(newc.Damaged):
            list(newc.read(io.BytesIO(data[:size])))


def test_something_else_is_no_archive() -> None:
    with pytest.raises(newc.Damaged, match="not a newc header"):
        list(newc.read(io.BytesIO(b"\x28\xb5\x2f\xfd" + bytes(200))))
    with pytest.raises(newc.Damaged, match="hexadecimal"):
        list(newc.read(io.BytesIO(b"070701" + b"z" * 200)))
