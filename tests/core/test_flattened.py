"""The flattened format: what is put together is the file, whatever the pieces it came in; a broken one is known."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.flattened import HEADER_BYTES, LARGEST_FILE, Reader, is_beginning
from kdumpd.core.problems import Trouble

HEADER = (b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)).ljust(HEADER_BYTES, b"\0")
END = struct.pack(">qq", -1, -1)

Records = list[tuple[int, bytes]]
contents = st.one_of(st.binary(min_size=1, max_size=300), st.integers(1, 20_000).map(bytes))
records = st.lists(st.tuples(st.integers(0, 30_000), contents), min_size=1, max_size=8)


def stream(written: Records) -> bytes:
    return HEADER + b"".join(struct.pack(">qq", at, len(data)) + data for at, data in written) + END


def file_of(written: Records) -> bytes:
    file = bytearray(max(at + len(data) for at, data in written))
    for at, data in written:
        file[at : at + len(data)] = data
    return bytes(file)


def restored(data: bytes, *, step: int = 1 << 20) -> tuple[bytes, int]:
    """The file, and how many bytes were really written."""
    reader = Reader()
    file = bytearray()
    wrote = 0
    for start in range(0, len(data), step):
        for piece in reader.feed(data[start : start + step]):
            end = piece.offset + len(piece.data)
            file.extend(bytes(max(0, end - len(file))))
            file[piece.offset : end] = piece.data
            wrote += len(piece.data)
    reader.finish()
    file.extend(bytes(reader.size_bytes - len(file)))
    assert reader.stream_bytes <= len(data)
    return bytes(file), wrote


def code_of(data: bytes, *, step: int = 1 << 20) -> str:
    with pytest.raises(Trouble) as trouble:
        restored(data, step=step)
    return trouble.value.problems[0].code


@given(written=records, step=st.integers(1, 9000))
def test_the_file_is_what_the_records_say_however_the_stream_is_cut(written: Records, step: int) -> None:
    assert restored(stream(written), step=step)[0] == file_of(written)


@given(written=records, behind=st.binary(max_size=50))
def test_what_comes_behind_the_end_is_not_looked_at(written: Records, behind: bytes) -> None:
    whole = stream(written)
    assert restored(whole + behind)[0] == file_of(written)
    reader = Reader()
    assert all(piece.data for piece in reader.feed(whole + behind))
    assert reader.stream_bytes == len(whole)


@given(written=records, share=st.floats(0, 1, exclude_max=True), step=st.integers(1, 9000))
def test_every_beginning_of_a_stream_is_known_to_be_cut_off(
    written: Records, share: float, step: int
) -> None:
    whole = stream(written)
    cut = whole[: int(len(whole) * share)]
    assert code_of(cut, step=step) == ("stream-truncated" if len(cut) >= HEADER_BYTES else "not-flattened")


@given(written=records, share=st.floats(0, 1, exclude_max=True))
def test_a_device_that_holds_a_part_and_then_zeros_is_no_dump(written: Records, share: float) -> None:
    whole = stream(written)
    records_begin = HEADER_BYTES
    cut = whole[: records_begin + int((len(whole) - records_begin) * share)]
    assert code_of(cut + bytes(60_000)) in {"stream-truncated", "stream-damaged"}


@given(noise=st.binary(min_size=16, max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    assert code_of(noise.ljust(HEADER_BYTES, b"\1")) == "not-flattened"


@pytest.mark.parametrize(
    "record", [(-1, 5), (5, -1), (5, 0), (-2, -2), (LARGEST_FILE, 1), (0, LARGEST_FILE + 1)]
)
def test_a_record_that_cannot_be_is_damage(record: tuple[int, int]) -> None:
    assert code_of(HEADER + struct.pack(">qq", *record) + bytes(100)) == "stream-damaged"


def test_another_version_or_type_is_refused() -> None:
    assert is_beginning(HEADER[:32])
    for odd in (struct.pack(">qq", 1, 2), struct.pack(">qq", 2, 1)):
        assert not is_beginning(HEADER[:16] + odd)
    assert not is_beginning(b"KDUMP   ".ljust(32, b"\0"))


def test_zeros_become_holes_but_still_wipe_out_what_was_there_before() -> None:
    zeros = bytes(1 << 20)
    file, wrote = restored(stream([(0, b"a" + zeros + b"b")]))
    assert file == b"a" + zeros + b"b"
    assert wrote < 3 * 4096
    again = [(0, b"x" * 8192), (0, bytes(8192))]
    assert restored(stream(again))[0] == bytes(8192)


@pytest.mark.tools
def test_makedumpfile_puts_together_the_same_file(tmp_path: Path) -> None:
    """`makedumpfile -R` on the same stream."""
    makedumpfile = shutil.which("makedumpfile")
    assert makedumpfile, "makedumpfile is not installed"
    written: Records = [
        (8192, bytes(range(256)) * 300),
        (0, b"KDUMP   " + bytes(9000)),
        (4096, b"again"),
        (200_000, bytes(70_000) + b"end"),
    ]
    (tmp_path / "flat").write_bytes(stream(written))
    with (tmp_path / "flat").open("rb") as flat:
        subprocess.run(
            [makedumpfile, "-R", str(tmp_path / "vmcore")],
            stdin=flat,
            check=True,
            capture_output=True,
            timeout=30,
        )
    assert (tmp_path / "vmcore").read_bytes() == restored(stream(written))[0]
