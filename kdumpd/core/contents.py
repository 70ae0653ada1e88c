"""What goes into the image from the host's files: each with its interpreter and libraries, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kdumpd.core.inventory import FileFacts, Inventory, Kind
from kdumpd.core.plan import Folder, FromHost, ImageItem, Link
from kdumpd.core.problems import Problem

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

SKELETON: tuple[ImageItem, ...] = (
    *(
        Folder(path=f"/{name}")
        for name in ("dev", "etc", "proc", "run", "sys", "usr", "var", "kdump", "kdumpd")
    ),
    *(Folder(path=f"/{name}", mode=0o1777) for name in ("tmp", "var/tmp")),
    *(Folder(path=f"/usr/{name}") for name in ("bin", "sbin", "lib", "lib64")),
    *(Link(path=f"/{name}", target=f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")),
    Folder(path="/root", mode=0o700),
    # The agent would make them: a program less for each, while the machine is down.
    *(Folder(path=f"/kdumpd/{name}", mode=0o700) for name in ("rootfs", "target", "waits")),
    Link(path="/var/run", target="/run"),
)


def merged(path: str) -> str:
    """Where `path` lies in the image, whose /bin, /sbin and /lib* are links into /usr whatever the host's are."""
    first = path.lstrip("/").partition("/")[0]
    return f"/usr{path}" if first in MERGED else path


def is_default_library_folder(path: str) -> bool:
    """Whether the loader looks there without a cache: lib or lib64 itself, or a triplet's folder below lib."""
    parts = merged(path).strip("/").split("/")[:-1]
    return parts[:1] == ["usr"] and (
        (len(parts) == 2 and parts[1].startswith("lib"))
        or (
            len(parts) >= 3 and parts[1] == "lib" and (parts[2].count("-") >= 2 or parts[2] == "glibc-hwcaps")
        )
        or (len(parts) >= 3 and parts[2] == "glibc-hwcaps")
    )


@dataclass(slots=True, kw_only=True)
class Contents:
    """Items by their path in the image. `beneath` is what another layer has already."""

    inventory: Inventory
    beneath: frozenset[str] = frozenset()
    items: dict[str, ImageItem] = field(default_factory=dict)
    problems: dict[tuple[str, str], Problem] = field(default_factory=dict)

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(self.items)

    @property
    def sorted_items(self) -> tuple[ImageItem, ...]:
        return tuple(self.items[path] for path in sorted(self.items))

    def put(self, items: Iterable[ImageItem]) -> None:
        for item in items:
            self.items.setdefault(item.path, item)

    def add(self, path: str, *, said_by: Problem, is_private: bool = False) -> None:
        """The host's file `path` at the same place, with all it needs to run; `is_private`: for root's eyes alone.

        A missing file becomes the Problem `said_by`; what else is wrong, one of its own with the line and key of
        `said_by`. The file itself takes the place of what is beneath, such as an applet; what it needs does not.
        """
        facts = self.inventory.facts(path)
        if facts.kind is Kind.MISSING:
            self.problems[said_by.code, path] = said_by
            return
        for needed in self._closed(facts, said_by):
            self._place(needed, is_asked_for=needed is facts, is_private=is_private and needed is facts)

    def _closed(self, facts: FileFacts, said_by: Problem) -> Iterator[FileFacts]:
        ahead, seen = [facts], {facts.path}
        while ahead:
            each = ahead.pop(0)
            if each.unreadable or each.kind is not Kind.FILE:
                why = each.unreadable or (
                    "it is a directory" if each.kind is Kind.DIRECTORY else "it is no file"
                )
                self._tell(said_by, "file-unreadable", f"{each.path} cannot be copied: {why}", each.path)
                continue
            for library in each.missing_libraries:
                message = f"{each.path} needs the library {library}, which is not there"
                self._tell(said_by, "library-missing", message, f"{each.path} {library}")
            yield each
            for path in (*([each.interpreter] if each.interpreter else []), *each.libraries):
                if path in seen:
                    continue
                seen.add(path)
                needed = self.inventory.facts(path)
                if merged(path) in self.items or merged(path) in self.beneath:
                    continue
                if needed.kind is Kind.MISSING:
                    message = f"{each.path} needs {path}, which is not there"
                    self._tell(said_by, "interpreter-missing", message, f"{each.path} {path}")
                else:
                    ahead.append(needed)

    def _tell(self, said_by: Problem, code: str, message: str, of: str) -> None:
        self.problems[code, of] = Problem(
            code=code, message=message, file=said_by.file, line=said_by.line, key=said_by.key
        )

    def _place(self, facts: FileFacts, *, is_asked_for: bool, is_private: bool) -> None:
        path, real = merged(facts.path), merged(facts.real or facts.path)
        if path in self.beneath and not is_asked_for:
            return
        if real != path:
            self.items.setdefault(path, Link(path=path, target=real))
        if real not in self.beneath or is_asked_for:
            mode = 0o600 if is_private else 0o755 if facts.is_executable else 0o644
            copied = FromHost(path=real, source=facts.real or facts.path, digest=facts.digest, mode=mode)
            self.items.setdefault(real, copied)
        if ".so" in path and not is_default_library_folder(path):
            name = path.rpartition("/")[2]
            self.items.setdefault(f"/usr/lib/{name}", Link(path=f"/usr/lib/{name}", target=path))
