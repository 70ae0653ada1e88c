"""Which folders must be watched for some paths, and which of the paths an event is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_NONE: frozenset[str] = frozenset()


def folders(paths: Iterable[str], *, is_folder: Callable[[str], bool]) -> frozenset[str]:
    """The folders to watch, none of them deeply.

    A path that is a folder itself, the nearest folder above each path, and the one above that: a folder that is
    removed and made anew, or renamed away, is heard of only there.
    """
    found: set[str] = set()
    for path in paths:
        if is_folder(path):
            found.add(path)
        above = _parent(path)
        while not is_folder(above) and above != "/":
            above = _parent(above)
        found |= {above, _parent(above)}
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """Which paths an event in one folder is about, looked up by name: most events in a folder like /etc are about others."""

    whole: frozenset[str] = frozenset()
    by_name: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    below: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))

    def in_event(self, name: str, *, comes_or_goes: bool) -> frozenset[str]:
        """That very path, and the folder if it is one of the paths itself; what is in `name` where that `comes_or_goes`.

        What merely happens in a folder above a path is about others. An event of the folder itself has no name.
        """
        if not name:
            return self.all if comes_or_goes else self.whole
        found = self.whole | self.by_name.get(name, _NONE)
        return found | self.below.get(name, _NONE) if comes_or_goes else found

    @property
    def all(self) -> frozenset[str]:
        return self.whole.union(*self.by_name.values(), *self.below.values())


def interest(folder: str, paths: Iterable[str]) -> Interest:
    """What events in `folder` can be about, of `paths`."""
    inside = folder.rstrip("/") + "/"
    whole: set[str] = set()
    by_name: dict[str, set[str]] = {}
    below: dict[str, set[str]] = {}
    for path in paths:
        if inside.startswith(path.rstrip("/") + "/"):
            whole.add(path)
        elif path.startswith(inside):
            name, slash, _ = path[len(inside) :].partition("/")
            (below if slash else by_name).setdefault(name, set()).add(path)
    return Interest(
        whole=frozenset(whole),
        by_name=MappingProxyType({name: frozenset(each) for name, each in by_name.items()}),
        below=MappingProxyType({name: frozenset(each) for name, each in below.items()}),
    )


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
