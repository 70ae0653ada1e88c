"""The name that contents have: 32 hexadecimal digits of a digest, different as soon as one byte differs."""

from __future__ import annotations

import hashlib

_BYTES = 16


def digest_of(contents: bytes) -> str:
    """As Files.digest tells it of a file, the plan of a part and the etag of a text."""
    return growing(contents).hexdigest()


def growing(contents: bytes = b"") -> hashlib.blake2b:
    """The same, of contents that come in pieces: `update` and, at the end, `hexdigest`."""
    return hashlib.blake2b(contents, digest_size=_BYTES)
