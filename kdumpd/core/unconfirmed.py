"""Texts of kdump.conf that were written over D-Bus and not yet armed, and what stood there before them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

KEPT = 16


class Unconfirmed(BaseModel):
    """One write. `before` is base64, for the text may hold any bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    etag: str
    """Of what was written."""
    before_etag: str
    before: str
    was_absent: bool = False
    uid: int = 0
    boot_id: str = ""

    @property
    def text_before(self) -> str:
        return base64.b64decode(self.before).decode("utf-8", "surrogateescape")


def written(
    *, etag: str, before: str, before_etag: str, was_absent: bool, uid: int, boot_id: str
) -> Unconfirmed:
    encoded = base64.b64encode(before.encode("utf-8", "surrogateescape")).decode("ascii")
    return Unconfirmed(
        etag=etag,
        before_etag=before_etag,
        before=encoded,
        was_absent=was_absent,
        uid=uid,
        boot_id=boot_id,
    )


def left_behind(known: Sequence[Unconfirmed], *, present: str, boot_id: str) -> Unconfirmed | None:
    """What to take back should the text with the etag `present` fail: `known`, oldest first, is from an earlier start.

    None after a reboot: a network or a disk that is not up yet is no fault of the text. Where a write stood on another that was not confirmed either, what stood before both. None where the present text is
    none of them: it was put back, never written, or somebody wrote another, and that is not to be touched.
    """
    found: Unconfirmed | None = None
    wanted = present
    for record in reversed(known):
        if record.etag == wanted:
            wanted = record.before_etag
            found = record.model_copy(update={"etag": present})
    return found if found is not None and wanted != present and found.boot_id == boot_id else None
