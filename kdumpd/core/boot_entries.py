"""Which command line the next boot will have: the menu of GRUB, the entries of the Boot Loader Specification."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from kdumpd.core import reserve
from kdumpd.core.commandline import words
from kdumpd.core.problems import Problem

GRUB_FOLDERS = ("/boot/grub", "/boot/grub2")
ENTRY_FOLDERS = ("/boot/loader", "/boot/efi/loader")
KERNEL_CMDLINE = "/etc/kernel/cmdline"
WATCHED = (
    *(f"{folder}/{name}" for folder in GRUB_FOLDERS for name in ("grub.cfg", "grubenv")),
    *(f"{folder}/{name}" for folder in ENTRY_FOLDERS for name in ("entries", "loader.conf")),
    KERNEL_CMDLINE,
)
"""Paths whose change may change the command line of the next boot."""

_QUOTED = r"""(?:'(?:[^']|'\\'')*'|"(?:[^"\\]|\\.)*"|[^\s'"{]+)"""
_MENU = re.compile(rf"\s*(?P<kind>menuentry|submenu)\s+(?P<title>{_QUOTED})(?P<rest>.*)\{{\s*$")
_ID = re.compile(rf"(?:\$menuentry_id_option|--id)[\s=]+(?P<id>{_QUOTED})")
_LINUX = re.compile(r"\s*linux(?:16|efi)?\s+\S+(?:\s+(?P<options>.*))?$")
_DEFAULT = re.compile(r"\s*set\s+default=(?P<value>.*)$")
_KERNEL_OPTIONS = re.compile(r"^\s*set\s+kernelopts=\"(?P<value>[^\"]*)\"", re.MULTILINE)
_BLS_COMMAND = re.compile(r"^\s*blscfg\b", re.MULTILINE)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that can be booted. `path` leads to it through submenus: its own place in each menu, from 0."""

    id: str
    title: str
    options: str
    linux: str = ""
    path: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFiles:
    """What is on this machine of boot menus; "" for a text that is not there."""

    grub_cfg: str = ""
    grub_cfg_path: str = ""
    grubenv: str = ""
    bls: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Path of each entry of the Boot Loader Specification, and its text."""
    loader_conf: str = ""
    loader: str = ""
    """The boot loader by its own name (LoaderInfo), such as `systemd-boot 257.9`; older GRUBs do not say."""
    chosen: str = ""
    """The entry that systemd-boot was told to boot, once or from now on: its name, which goes before loader.conf."""
    kernel_cmdline: str = ""

    @property
    def is_systemd_boot(self) -> bool:
        return self.loader.startswith("systemd-boot")

    @property
    def is_bls(self) -> bool:
        """Whether what is booted are the files below loader/entries, and not a menu in grub.cfg itself."""
        return bool(self.bls) and (
            self.is_systemd_boot or not self.grub_cfg or bool(_BLS_COMMAND.search(self.grub_cfg))
        )


def next_command_line(boot: BootFiles) -> str:
    """Of the entry that is booted unless somebody chooses another; "" where that is not known."""
    chosen = default_entry(boot)
    if chosen is not None:
        return chosen.options
    return " ".join(boot.kernel_cmdline.split()) if boot.is_systemd_boot and not boot.bls else ""


def default_entry(boot: BootFiles) -> Entry | None:
    """The entry that is booted unless somebody chooses another."""
    env = environment(boot.grubenv)
    if boot.is_bls:
        entries = bls_entries(boot)
        if boot.is_systemd_boot:
            pattern = boot.chosen.removesuffix(".conf") or _loader_default(boot.loader_conf)
            matching = (each for each in entries if pattern and fnmatch.fnmatchcase(each.id, pattern))
            return next(matching, entries[0] if entries else None)
        return _chosen(entries, env.get("next_entry") or env.get("saved_entry", ""))
    entries = grub_entries(boot.grub_cfg)
    return _chosen(entries, _grub_default(boot.grub_cfg, env))


def crashkernel_of(command_line: str) -> tuple[str, ...]:
    """The values of every crashkernel=, in their order."""
    return tuple(word.partition("=")[2] for word in words(command_line) if word.startswith("crashkernel="))


def is_reboot_due(*, running: str, following: str, memory_bytes: int, architecture: str) -> bool:
    """Whether the next boot will reserve otherwise than this one did. `following` is "" where nobody knows."""
    now, then = crashkernel_of(running), crashkernel_of(following)
    if not following or now == then:
        return False
    of_now = reserve.reserved(running, memory_bytes, architecture=architecture)
    of_then = reserve.reserved(following, memory_bytes, architecture=architecture)
    has_place = any("@" in value for value in (*now, *then))
    return has_place or isinstance(of_now, Problem) or isinstance(of_then, Problem) or of_now != of_then


def environment(grubenv: str) -> Mapping[str, str]:
    """GRUB's environment block: NAME=value lines, filled up with `#`."""
    pairs = (line.partition("=") for line in grubenv.splitlines() if not line.startswith("#"))
    return MappingProxyType({name: value for name, equals, value in pairs if equals})


def bls_entries(boot: BootFiles) -> tuple[Entry, ...]:
    """The newest first, as both GRUB and systemd-boot list them where nothing sorts them otherwise."""
    told = _KERNEL_OPTIONS.search(boot.grub_cfg)
    values = {"kernelopts": told.group("value")} if told is not None else {}
    values |= environment(boot.grubenv)
    found = [_bls_entry(path, text, values) for path, text in boot.bls.items()]
    return tuple(sorted(found, key=lambda each: _version(each.id), reverse=True))


def grub_entries(grub_cfg: str) -> tuple[Entry, ...]:
    """The entries of a generated grub.cfg that boot a Linux, in its order."""
    found: list[Entry] = []
    menus: list[int] = [0]  # how many each open menu has so far
    path: list[int] = []
    blocks: list[str] = []
    title = identity = ""
    for line in grub_cfg.splitlines():
        text = line.strip()
        opened = _MENU.match(line)
        if opened is not None:
            kind = opened.group("kind")
            path.append(menus[-1])
            menus[-1] += 1
            blocks.append(kind)
            menus.append(0)
            if kind == "menuentry":
                named = _ID.search(opened.group("rest"))
                title = _unquoted(opened.group("title"))
                identity = _unquoted(named.group("id")) if named is not None else ""
        elif text.endswith("{") and not text.startswith("#"):
            blocks.append("")
        elif text == "}" and blocks:
            if blocks.pop():
                menus.pop()
                path.pop()
        elif "menuentry" in blocks and (linux := _LINUX.match(line)) is not None:
            options = linux.group("options") or ""
            kernel = text.split()[1]
            found.append(
                Entry(id=identity, title=title, options=options.strip(), linux=kernel, path=tuple(path))
            )
    return tuple(found)


def _bls_entry(path: str, text: str, values: Mapping[str, str]) -> Entry:
    keys: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key and not key.startswith("#"):
            keys.setdefault(key, []).append(value.strip())
    options = _VARIABLE.sub(
        lambda found: values.get(found.group(1) or found.group(2), ""), " ".join(keys.get("options", ()))
    )
    name = path.rpartition("/")[2].removesuffix(".conf")
    # systemd-boot counts the tries that are left in the name: ID+LEFT-DONE.conf.
    return Entry(
        id=re.sub(r"\+\d+(-\d+)?$", "", name),
        title=" ".join(keys.get("title", ())),
        options=" ".join(options.split()),
        linux=" ".join(keys.get("linux", ())),
    )


def _chosen(entries: Sequence[Entry], default: str) -> Entry | None:
    """GRUB's `default`: a place, an id or a title, with those of the submenus before it (`1>2`); else the first."""
    if not entries:
        return None
    steps = [step for step in default.split(">") if step]
    if steps and all(step.isdecimal() for step in steps):
        place = tuple(int(step) for step in steps)
        has_paths = any(each.path for each in entries)
        by_place = {each.path if has_paths else (at,): each for at, each in enumerate(entries)}
        return by_place.get(place, entries[0])
    last = steps[-1] if steps else ""
    named = (each for each in entries if last and last in {each.id, each.title})
    return next(named, entries[0])


def _grub_default(grub_cfg: str, env: Mapping[str, str]) -> str:
    if env.get("next_entry"):
        return env["next_entry"]
    told = [
        _unquoted(found.group("value").strip())
        for found in map(_DEFAULT.match, grub_cfg.splitlines())
        if found
    ]
    said = [value for value in told if "next_entry" not in value]
    value = said[0] if said else ""
    return env.get("saved_entry", "") if "saved_entry" in value else value


def _loader_default(loader_conf: str) -> str:
    lines = (line.split(maxsplit=1) for line in loader_conf.splitlines())
    found = [line[1].strip() for line in lines if len(line) == 2 and line[0] == "default"]
    return found[-1].removesuffix(".conf") if found else ""


def _unquoted(text: str) -> str:
    if text[:1] == "'":
        return text[1:-1].replace("'\\''", "'")
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] == '"' else text


def _version(name: str) -> tuple[tuple[int, int, str], ...]:
    """To sort by, as versions of packages are: numbers by their size, and after every word."""
    return tuple(
        (1, int(part), "") if part.isdecimal() else (0, 0, part)
        for part in re.findall(r"\d+|[A-Za-z]+|~", name)
    )
