"""The manifests beside the bases and images of the store: each is read and parsed once, for it is never written to again."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, JsonValue

from kdumpd.host.doors import Facts, Files

TICK_US = 20_000  # twice the longest between two times that a file system writes down


class Manifest(BaseModel):
    """What stands beside each artefact: whose it is, how large, and of what it was made."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    fingerprint: str
    size_bytes: int
    digest: str  # blake2b of the artefact, 32 hexadecimal digits
    built_us: int  # microseconds since epoch
    unpacked_bytes: int = 0
    record: str = ""  # digest of what the proof recorded of a base; "" where it recorded nothing
    description: JsonValue = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """As much of a manifest as is asked for at each look."""

    manifest: Manifest  # without its description
    kernel_release: str


class Manifests:
    """Those below one store, by path. Reading raises OSError, and ValueError for what is no manifest."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[str, tuple[Facts, Known]] = {}

    def read(self, path: str) -> Known:
        found = self._files.stat(path)
        before = self._known.pop(path, None)
        if before is not None and before[0] == found:
            self._known[path] = before
            return before[1]
        whole = Manifest.model_validate_json(self._files.read_bytes(path))
        known = Known(
            manifest=whole.model_copy(update={"description": None}),
            kernel_release=_kernel_release(whole.description),
        )
        if is_at_rest(found):
            self._known[path] = found, known
        return known

    def description(self, path: str) -> JsonValue:
        return Manifest.model_validate_json(self._files.read_bytes(path)).description


def is_at_rest(found: Facts) -> bool:
    """Whether whoever writes to a file from now on makes it another one to stat."""
    return found.modified_us + TICK_US < time.time_ns() // 1000


def _kernel_release(description: JsonValue) -> str:
    """Of the capture kernel, out of the description of a base or of an image."""
    if not isinstance(description, dict):
        return ""
    base = description.get("base", description)
    release = base.get("kernel_release") if isinstance(base, dict) else None
    return release if isinstance(release, str) else ""
