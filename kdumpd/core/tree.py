"""The tree that an image unpacks to, as values: laid layer over layer, compared with the plan, recorded and read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kdumpd.core import newc, proofs
from kdumpd.core.identity import digest_of
from kdumpd.core.layer import Placed, follow
from kdumpd.core.plan import Folder, FromHost, Link, ModuleFile, Written
from kdumpd.core.problems import Problem

RECORD = 1
"""The form of a recorded tree: one of another form is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One entry of the image, with what its contents tell."""

    entry: newc.Entry
    digest: str = ""
    target: str = ""  # of a link
    interpreter: str = ""
    is_elf: bool = False
    is_script: bool = False
    words: proofs.ModuleWords | None = None


Look = Callable[[newc.Entry, bytes], Seen]


@dataclass(slots=True, kw_only=True)
class Tree:
    """What is where, by path without leading slash, after the layers that were laid so far."""

    seen: dict[str, Seen] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def unpacked_bytes(self) -> int:
        return proofs.unpacked_bytes(seen.entry.size_bytes for seen in self.seen.values())

    @property
    def links(self) -> Mapping[str, str]:
        return {path: seen.target for path, seen in self.seen.items() if seen.entry.is_link}

    def at(self, path: str) -> Seen | None:
        """What a program in the image finds at `path`."""
        return self.seen.get(self.place(path))

    def place(self, path: str) -> str:
        """Where `path` leads to, once every link is followed."""
        return follow(path, self.links, last=True)

    def lay(self, entry: newc.Entry, contents: bytes, look: Look) -> bool:
        """Lay one more entry over what is there; False, and a problem more, where it would hide something."""
        before = self.seen.get(entry.path)
        parent = entry.path.rpartition("/")[0]
        within = self.seen.get(parent)
        if parent and (within is None or not within.entry.is_folder):
            self.problems.append(
                _clash(f"/{entry.path} lies in /{parent}, which is not a folder of the image")
            )
            return False
        if before is not None and before.entry.is_folder != entry.is_folder:
            self.problems.append(
                _clash(f"/{entry.path} of the overlay would take the place of another thing")
            )
            return False
        self.seen[entry.path] = look(entry, contents)
        return True

    def differences(self, layer: Iterable[Placed]) -> list[Problem]:
        """Where the image is not what the plan says, entry by entry."""
        return [
            Problem(code="image-differs", message=f"/{item.path} in the image is not what was planned")
            for item in layer
            if not _is_as_planned(self.seen.get(item.path), item)
        ]


def look_outside(entry: newc.Entry, contents: bytes) -> Seen:
    """Its kind and, for a link, where it leads: all that another layer's programs ask of what is beneath."""
    if entry.is_link:
        return Seen(entry=entry, target=contents.decode("utf-8", "surrogateescape"))
    return Seen(entry=entry, is_elf=contents.startswith(proofs.ELF))


def look_inside(entry: newc.Entry, contents: bytes) -> Seen:
    if entry.is_link:
        return Seen(entry=entry, target=contents.decode("utf-8", "surrogateescape"))
    if not entry.is_regular:
        return Seen(entry=entry)
    return Seen(
        entry=entry,
        digest=digest_of(contents),
        interpreter=proofs.interpreter(contents),
        is_elf=contents.startswith(proofs.ELF),
        is_script=proofs.SHELL_SCRIPT.match(contents) is not None or entry.path.endswith(".sh"),
        words=proofs.module_words(contents),
    )


def record(tree: Tree) -> bytes:
    """As much of a proved tree as `look_outside` sees, for layers that are laid over it later."""
    entries = [
        [path, seen.entry.mode, seen.entry.size_bytes, seen.target, int(seen.is_elf)]
        for path, seen in tree.seen.items()
    ]
    return json.dumps({"form": RECORD, "entries": entries}, separators=(",", ":")).encode("ascii")


def recorded(text: bytes) -> Tree | None:
    """The tree of which `text` is the record; None where it is none, or one of another form."""
    try:
        told = json.loads(text)
        if told["form"] != RECORD:
            return None
        return Tree(
            seen={
                path: Seen(
                    entry=newc.Entry(path=path, mode=mode, size_bytes=size),
                    target=target,
                    is_elf=bool(is_elf),
                )
                for path, mode, size, target, is_elf in told["entries"]
            }
        )
    except (ValueError, KeyError, TypeError):
        return None


def _is_as_planned(seen: Seen | None, item: Placed) -> bool:
    if seen is None:
        return False
    content = item.content
    match content:
        case Folder(mode=mode):
            return seen.entry.mode == newc.FOLDER | mode
        case Link(target=target):
            return seen.entry.is_link and seen.target == target
        case Written(text=text, mode=mode):
            planned = digest_of(text.encode("utf-8", "surrogateescape"))
            return seen.entry.mode == newc.REGULAR | mode and seen.digest == planned
        case FromHost(digest=of_host, mode=mode):
            return seen.entry.mode == newc.REGULAR | mode and seen.digest == of_host
        case ModuleFile():
            return seen.entry.is_regular


def _clash(message: str) -> Problem:
    return Problem(code="image-clash", message=message)
