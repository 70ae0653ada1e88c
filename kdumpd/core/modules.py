"""The modules a kernel has: which file each is, what it needs first, and which other names it answers to."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_ENDING = re.compile(r"\.ko(\.(xz|zst|gz))?$")
_WILDCARD = re.compile(r"[*?\[]")
_PLAIN = re.compile(r"^alias ([^\s*?\[]+) (\S+)$", re.MULTILINE)
_NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """Modules to load, in order; `missed` are wanted but blacklisted, `unknown` are no module of this kernel."""

    load: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleIndex:
    """What depmod wrote of one kernel. Names are normalised: `-` is `_`.

    `files` are paths below `directory`; `needs` are as modules.dep lists them, the last to be loaded first.
    `aliases` holds the names without a wildcard; those with one are looked up in the text of modules.alias, for as
    values of their own they would take several times its megabyte.
    `options` are those of modprobe.d: not the kernel's own, but looked up at the same moment.
    """

    directory: str = ""
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    before: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    builtin: frozenset[str] = frozenset()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    alias_text: str = ""
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def path(self, name: str) -> str:
        """The absolute path of a module's file. KeyError for a name that is no loadable module."""
        return f"{self.directory}/{self.files[normalised(name)]}"

    def is_known(self, name: str) -> bool:
        return bool(self.named(name)) or normalised(name) in self.builtin

    def named(self, name: str) -> tuple[str, ...]:
        """The loadable modules that `name` means: the module of that name, else all that have it as an alias."""
        plain = normalised(name)
        if plain in self.files:
            return (plain,)
        if plain in self.builtin:
            return ()
        return self.aliases.get(name, self.aliases.get(plain, ()))

    def serving(self, modalias: str) -> tuple[str, ...]:
        """The modules whose patterns a device's modalias fits, in the order of modules.alias."""
        lines = re.compile(rf"^alias ({re.escape(modalias.partition(':')[0])}:\S*) (\S+)$", re.MULTILINE)
        fitting = (
            normalised(module)
            for pattern, module in (found.groups() for found in lines.finditer(self.alias_text))
            # The beginning first: each pattern that fnmatch sees it compiles and keeps.
            if modalias.startswith(_WILDCARD.split(pattern, maxsplit=1)[0])
            and fnmatch.fnmatchcase(modalias, pattern)
        )
        return tuple(dict.fromkeys((*self.aliases.get(modalias, ()), *fitting)))

    def closure(self, names: Iterable[str], *, blacklist: Iterable[str] = ()) -> Closure:
        """All that has to be loaded for `names`: dependencies and soft dependencies of the kind `pre` go first.

        Built-in names need nothing. Soft dependencies that this kernel does not have are passed over, as modprobe
        does; `post` ones are left out, for a capture needs none of them. What is blacklisted is not loaded, nor
        what cannot be loaded without it; both are `missed`, unless only a soft dependency asked for them.
        """
        barred = frozenset(normalised(name) for name in blacklist)
        walk = _Walk(index=self, barred=barred)
        unknown: list[str] = []
        missed: list[str] = []
        for name in dict.fromkeys(names):
            meant = self.named(name)
            if not meant and normalised(name) not in self.builtin:
                unknown.append(name)
            loaded = [module for module in meant if walk.visit(module)]
            if meant and not loaded:
                missed.append(normalised(name))
        return Closure(load=tuple(walk.order), missed=tuple(missed), unknown=tuple(unknown))


MODPROBE_FOLDERS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d")
"""modprobe.d(5): of two files with one name, the one in the earlier folder counts."""
_INDEX = ("modules.dep", "modules.softdep", "modules.builtin", "modules.alias")


def read_from(directory: str) -> tuple[str, ...]:
    """The files and folders that the index of the modules in `directory` is made of."""
    return (*index_files(directory), *MODPROBE_FOLDERS)


def index_files(directory: str) -> tuple[str, ...]:
    """What depmod wrote in `directory`, as far as it is read."""
    return tuple(f"{directory}/{name}" for name in _INDEX)


def normalised(name: str) -> str:
    return name.replace("-", "_")


def parse_index(
    *, directory: str, dep: str, softdep: str, builtin: str, alias: str, modprobe: str = ""
) -> ModuleIndex:
    """The texts of modules.dep, .softdep, .builtin and .alias, and of all modprobe.d files one after another."""
    files: dict[str, str] = {}
    needs: dict[str, tuple[str, ...]] = {}
    once: dict[str, str] = {}  # of each name one text, however many modules need it
    for line in dep.splitlines():
        path, colon, rest = line.partition(":")
        if colon:
            name = _name(path, once)
            files[name] = path
            needs[name] = tuple(_name(each, once) for each in rest.split()) if rest else ()
    return ModuleIndex(
        directory=directory,
        files=MappingProxyType(files),
        needs=MappingProxyType(needs),
        before=MappingProxyType(_soft(softdep)),
        builtin=frozenset(_name(line) for line in builtin.splitlines() if line),
        aliases=_plain_aliases(alias, once),
        alias_text=alias,
        options=parse_options(modprobe),
    )


def parse_options(modprobe: str) -> Mapping[str, str]:
    """The `options` lines of modprobe.d(5); several for one module are joined."""
    found: dict[str, str] = {}
    for line in re.sub(r"\\\n", " ", modprobe).splitlines():
        words = line.split(maxsplit=2)
        if len(words) == 3 and words[0] == "options":
            name = normalised(words[1])
            found[name] = f"{found[name]} {words[2]}" if name in found else words[2]
    return MappingProxyType(found)


@dataclass(slots=True, kw_only=True)
class _Walk:
    index: ModuleIndex
    barred: frozenset[str]
    order: dict[str, None] = field(default_factory=dict)
    on_the_way: set[str] = field(default_factory=set)

    def visit(self, name: str) -> bool:
        """Put `name` behind all that it needs; False where it, or something it needs, is barred."""
        if name in self.order or name in self.on_the_way or name in self.index.builtin:
            return True
        if name in self.barred or name not in self.index.files:
            return False
        needs = self.index.needs.get(name, ())
        if not self.barred.isdisjoint(needs):
            return False
        self.on_the_way.add(name)
        for wanted in self.index.before.get(name, ()):
            for module in self.index.named(wanted):
                self.visit(module)
        complete = all(self.visit(need) for need in reversed(needs))
        self.on_the_way.discard(name)
        if complete:
            self.order[name] = None
        return complete


def _name(path: str, once: dict[str, str] | None = None) -> str:
    name = _ENDING.sub("", path.rpartition("/")[2]).replace("-", "_")
    return name if once is None else once.setdefault(name, name)


def _soft(text: str) -> dict[str, tuple[str, ...]]:
    before: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or words[0] != "softdep":
            continue
        name, pre, kind = normalised(words[1]), list(before.get(normalised(words[1]), ())), ""
        for word in words[2:]:
            if word in {"pre:", "post:"}:
                kind = word
            elif kind == "pre:":
                pre.append(word)
        before[name] = tuple(dict.fromkeys(pre))
    return before


def _plain_aliases(text: str, once: dict[str, str]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in _PLAIN.finditer(text):
        module = normalised(line[2])
        found[line[1]] = (*found.get(line[1], ()), once.setdefault(module, module))
    return MappingProxyType(found)
