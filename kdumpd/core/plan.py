"""What the capture image is made of and how it is loaded; the identity of each part is the digest of its description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from functools import cached_property, lru_cache

from kdumpd.core.identity import digest_of
from kdumpd.core.problems import Problem

Json = object  # what json keeps: str, int, bool, None, lists and string-keyed dicts of them


class Engine(StrEnum):
    DIRECT = "direct"
    DRACUT = "dracut"


class Packing(StrEnum):
    """How one part of the image is packed; `none` is the archive as it is."""

    ZSTD = "zstd"
    GZIP = "gzip"
    NONE = "none"

    @property
    def highest_level(self) -> int:
        return {Packing.ZSTD: 22, Packing.GZIP: 9, Packing.NONE: 0}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class FromHost:
    """A file copied from the host; `digest` is of the contents that were planned, so a later change is another plan."""

    path: str
    source: str
    digest: str
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file whose contents we write."""

    path: str
    text: str
    mode: int = 0o644
    is_secret: bool = False
    """The text is not told in a description, only its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    path: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    path: str
    mode: int = 0o755


ImageItem = FromHost | Written | Link | Folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFile:
    """A kernel module, stored uncompressed at `path` whatever its form on the host (.ko, .ko.xz, .ko.zst, .ko.gz)."""

    name: str
    source: str
    digest: str  # of the file on the host, compressed as it stands
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of the host that decides what engine dracut puts in; in the plan for its identity alone."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BasePlan:
    """The slow part: kernel modules, programs, libraries. `recipe` moves when the engine's own way of building does."""

    engine: Engine
    recipe: int
    kernel_release: str
    compression_level: int  # of `packing`; 0 where nothing is compressed
    modules: tuple[ModuleFile, ...] = ()
    items: tuple[ImageItem, ...] = ()
    dracut_args: tuple[str, ...] = ()
    dracut_sources: tuple[Source, ...] = ()
    packing: Packing = Packing.ZSTD


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayPlan:
    """The quick part: the agent, plan.env, hooks, keys. Unpacked over the base by the kernel."""

    recipe: int
    items: tuple[ImageItem, ...] = ()
    packing: Packing = Packing.GZIP


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    kernel_image: str
    kernel_digest: str
    command_line: str
    kexec_flags: tuple[str, ...]  # -a, -s or -c and what KEXEC_ARGS adds
    layout: str  # cpus and memory that the crash headers describe
    kexec_digest: str = ""  # of the program that loads it: it writes part of what runs first after a crash


@dataclass(frozen=True, kw_only=True)  # without slots, for what is remembered of it once it was asked for
class Plan:
    base: BasePlan
    overlay: OverlayPlan
    load: LoadPlan
    engine_reason: str
    target: Mapping[str, str]  # for people: type, device, uuid, directory ...
    working_set_bytes: int  # what the capture needs beside kernel and unpacked image
    capture_id: str
    warnings: tuple[Problem, ...] = ()
    kernel_bytes: int = 0  # what the capture kernel keeps of the memory it is given
    unpacked_bytes: int = (
        0  # of the files whose size is known before the image is built: the least it will be
    )
    memory_kind: str = ""  # captures of one kind need about the same memory
    packing_reason: str = ""

    @cached_property
    def base_fingerprint(self) -> str:
        return fingerprint(self.base)

    @cached_property
    def overlay_fingerprint(self) -> str:
        return fingerprint(self.overlay)

    @cached_property
    def image_fingerprint(self) -> str:
        return fingerprint([self.base_fingerprint, self.overlay_fingerprint])

    @cached_property
    def load_fingerprint(self) -> str:
        """Covers the image as well: another image is another load."""
        return fingerprint([self.image_fingerprint, fingerprint(self.load)])

    @cached_property
    def load_fingerprint_but_layout(self) -> str:
        """The same for a kernel that keeps the crash headers of a loaded image current by itself."""
        return fingerprint([self.image_fingerprint, fingerprint(replace(self.load, layout=""))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Either a plan, or the errors that stand in its way; warnings in both cases."""

    plan: Plan | None
    problems: tuple[Problem, ...] = ()


def describe(value: object) -> Json:
    """Every field of a frozen value, by name, in a form that json keeps: nobody picks what counts by hand."""
    if isinstance(value, str):  # first of all, for they are by far the most
        return value if value.isascii() else _in_unicode(value)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        described: dict[str, Json] = {"is": type(value).__name__}
        described.update({field.name: describe(getattr(value, field.name)) for field in fields(value)})
        if isinstance(value, Written) and value.is_secret:
            described["text"] = f"digest {digest_of(_bytes_of(value.text))}"
        return described
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in sorted(value.items())}
    if isinstance(value, frozenset):
        return sorted(json.dumps(describe(item), sort_keys=True) for item in value)
    raise TypeError(f"{type(value).__name__} has no place in a plan")


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _in_unicode(text: str) -> str:
    """Bytes that are not UTF-8, as in names of files, spelled out: json and the bus take none."""
    return _bytes_of(text).decode("utf-8", "backslashreplace")


def fingerprint(value: object) -> str:
    """32 hexadecimal digits that change with any field of `value`."""
    return _of_part(value) if isinstance(value, BasePlan | OverlayPlan | LoadPlan) else _digest(value)


@lru_cache(maxsize=8)
def _of_part(part: BasePlan | OverlayPlan | LoadPlan) -> str:
    """Remembered by value: each look makes the same plan anew, and asks for its fingerprints many times."""
    return _digest(part)


def _digest(value: object) -> str:
    text = json.dumps(describe(value), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return digest_of(text.encode("ascii"))
