"""What captures took of memory is remembered over restarts, and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpd.core.estimate import MOST_CAPTURES, Capture
from kdumpd.host.captures import Captures
from kdumpd.host.real import RealFiles

PATH = "/var/lib/kdumpd/captures.json"


def capture(number: int) -> Capture:
    return Capture(
        started_at=number, kind="k", kernel_release="6.12", reserved_bytes=256 << 20, least_bytes=170 << 20
    )


def test_what_was_learned_is_known_after_a_restart(tmp_path: Path) -> None:
    captures = Captures(RealFiles(str(tmp_path)), path=PATH)
    assert captures.known == ()
    assert captures.learn([capture(2), capture(1)])
    assert not captures.learn([capture(1)])
    assert Captures(RealFiles(str(tmp_path)), path=PATH).known == (capture(1), capture(2))


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    captures = Captures(RealFiles(str(tmp_path)), path=PATH)
    for number in range(50):
        captures.learn([capture(number)])
    again = Captures(RealFiles(str(tmp_path)), path=PATH).known
    assert [one.started_at for one in again] == list(range(50 - MOST_CAPTURES, 50))


@pytest.mark.parametrize("text", ["", "{", "[{}]", '{"a": 1}', "\xff"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / PATH.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode("latin-1"))
    captures = Captures(RealFiles(str(tmp_path)), path=PATH)
    assert captures.known == ()
    assert captures.learn([capture(1)])
    assert Captures(RealFiles(str(tmp_path)), path=PATH).known == (capture(1),)


def test_what_cannot_be_written_is_known_until_the_restart(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where the folder should be")
    captures = Captures(RealFiles(str(tmp_path)), path=PATH)
    assert captures.learn([capture(1)])
    assert captures.known == (capture(1),)
