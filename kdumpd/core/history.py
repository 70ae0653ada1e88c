"""What this daemon has done and said so far: one line of text for each job that ended and each change of the state."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, ValidationError

from kdumpd.core.status import Status

KEPT = 200
"""Entries that can be read back."""
LINES_AT_MOST = 2 * KEPT
"""In the file: it is written anew, with those that are kept, once it has more."""
LONGEST_TEXT = 1000
"""Characters of a message; what is longer is cut."""
STATE = "state"
"""The kind of an entry about the state; any other is the kind of a job."""


class Entry(BaseModel):
    """One thing that happened. `image` and `load` are fingerprints, "" where none is meant."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    time_us: int
    kind: str
    result: str
    """Of a job how it ended, of the state the state."""
    why: str = ""
    """Of a job what it was begun for, of the state the reason as a code."""
    error: str = ""
    """The code of the first problem."""
    message: str = ""
    seconds: float = 0.0
    uid: int = 0
    image: str = ""
    load: str = ""


def of_state(status: Status, *, time_us: int, image: str, load: str) -> Entry:
    """`image` and `load` are of what is loaded."""
    return Entry(
        time_us=time_us,
        kind=STATE,
        result=str(status.state),
        why=status.reason,
        message=status.message[:LONGEST_TEXT],
        image=image,
        load=load,
    )


def is_another_state(entry: Entry, before: Entry | None) -> bool:
    """Whether `entry` says something that the last entry about the state did not."""
    return before is None or (entry.result, entry.why) != (before.result, before.why)


def lines(entries: Iterable[Entry]) -> bytes:
    """As they stand in the file, the oldest first."""
    texts = (json.dumps(entry.model_dump(), ensure_ascii=False) for entry in entries)
    return "".join(f"{text}\n" for text in texts).encode(errors="replace")


def read(data: bytes) -> tuple[Entry, ...]:
    """The oldest first, no more than are kept. A line that cannot be read is left out: one of them may be half written."""
    found = []
    for line in data.splitlines():
        try:
            found.append(Entry.model_validate_json(line))
        except ValidationError:
            continue
    return tuple(found[-KEPT:])


def is_to_be_written_anew(data: bytes) -> bool:
    """Whether the file is too long, or ends in half a line, which the next entry would be lost with."""
    return data.count(b"\n") > LINES_AT_MOST or not (data == b"" or data.endswith(b"\n"))
