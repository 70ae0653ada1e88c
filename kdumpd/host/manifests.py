"""What stands beside each artefact of the store: read each time it is asked for, parsed once for each text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, JsonValue

from kdumpd.host.doors import Files


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
    """As much of a manifest as is asked for at each look; `digest` is of its text."""

    digest: str
    manifest: Manifest  # without its description
    kernel_release: str


class Manifests:
    """Those below one store, by path. Reading raises OSError, and ValueError for what is no manifest."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[str, Known] = {}

    def read(self, path: str) -> Known:
        try:
            text = self._files.read_bytes(path)
        except OSError:
            self._known.pop(path, None)
            raise
        digest, known = digest_of(text), self._known.get(path)
        if known is None or known.digest != digest:
            whole = Manifest.model_validate_json(text)
            known = self._known[path] = Known(
                digest=digest,
                manifest=whole.model_copy(update={"description": None}),
                kernel_release=_kernel_release(whole.description),
            )
        return known

    def description(self, path: str) -> JsonValue:
        return Manifest.model_validate_json(self._files.read_bytes(path)).description


def digest_of(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _kernel_release(description: JsonValue) -> str:
    """Of the capture kernel, out of the description of a base or of an image."""
    if not isinstance(description, dict):
        return ""
    base = description.get("base", description)
    release = base.get("kernel_release") if isinstance(base, dict) else None
    return release if isinstance(release, str) else ""
