"""Which way the command line of the next boots is set on a machine, and what would be written and run to set crashkernel=."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from kdumpd.core import reserve
from kdumpd.core.boot_entries import (
    GRUB_FOLDERS,
    KERNEL_CMDLINE,
    BootFiles,
    Entry,
    bls_entries,
    crashkernel_of,
    default_entry,
    grub_entries,
)
from kdumpd.core.problems import Problem

MIB = 1 << 20
ALL = "ALL"
DEFAULT = "DEFAULT"
PROGRAMS = ("update-grub", "grubby", "rpm-ostree", "zipl")
DEFAULT_GRUB = "/etc/default/grub"
ZIPL_CONF = "/etc/zipl.conf"
OSTREE_BOOTED = "/run/ostree-booted"
DROP_IN = "/etc/default/grub.d/zz-kdumpd.cfg"
"""grub-mkconfig of Debian reads these files by the order of their names, after /etc/default/grub; of several plain
crashkernel= the kernel takes the last, and kdump-tools leaves a kdump-tools.cfg behind."""
_SECONDS = {"update-grub": 300.0, "grubby": 120.0, "rpm-ostree": 900.0, "zipl": 120.0}

_DROP_IN_TEXT = """\
# Written by kdumpd, anew with each `kdumpctl reserve set`. grub-mkconfig reads it after all other files of this folder:
# it takes out the crashkernel= that those set, and puts in its own.
kdumpd_without_crashkernel() {{
	printf '%s' "$1" | sed -E 's/(^|[[:space:]])crashkernel=[^[:space:]]*//g'
}}
GRUB_CMDLINE_LINUX="$(kdumpd_without_crashkernel "${{GRUB_CMDLINE_LINUX-}}")"
GRUB_CMDLINE_LINUX_DEFAULT="$(kdumpd_without_crashkernel "${{GRUB_CMDLINE_LINUX_DEFAULT-}}") {words}"
"""


class Way(StrEnum):
    """By the program that does it."""

    DROP_IN = "update-grub"
    GRUBBY = "grubby"
    RPM_OSTREE = "rpm-ostree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What this machine has to change its boot entries with; `programs` by name, those of PROGRAMS that are there."""

    programs: Mapping[str, str]
    is_ostree: bool = False
    has_default_grub: bool = False
    has_zipl_conf: bool = False
    drop_in: str = ""  # the text of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    argv: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Nothing to write and nothing to run where the next boots reserve as wanted already."""

    way: Way
    values: tuple[str, ...]
    kernel: str
    writes: tuple[Written, ...] = ()
    commands: tuple[Command, ...] = ()
    may_change: tuple[str, ...] = ()
    """Files that are put back as they were where one of the commands fails."""
    undo: tuple[Command, ...] = ()
    """Run after that, where all commands were done and the result is not what was wanted."""

    @property
    def is_needed(self) -> bool:
        return bool(self.writes or self.commands)


def values_of(text: str) -> tuple[str, ...] | Problem:
    """One value of crashkernel= or several with blanks between them (`1G,high 128M,low`), each in its shortest spelling.

    What the kernel cannot read is a Problem, and so is a size in bytes that was meant in MiB.
    """
    found: list[str] = []
    for word in text.split():
        one = reserve.parse(word.removeprefix("crashkernel="))
        if isinstance(one, Problem):
            return one
        for size in reserve.sizes_of(one):
            if 0 < size < MIB:
                return _forgotten_unit(word, size)
        found.append(reserve.render(one))
    return tuple(found)


def _forgotten_unit(word: str, size: int) -> Problem:
    return Problem(
        code="bad-crashkernel",
        message=f"crashkernel={word.removeprefix('crashkernel=')} reserves {size} bytes, which hold no kernel",
        hint="write M behind a number of MiB, such as 256M",
    )


def planned(boot: BootFiles, tools: Tools, *, values: tuple[str, ...], kernel: str = ALL) -> Change | Problem:
    """What is to be done so that the next boots have `crashkernel=` with each of `values`, and no other.

    `kernel` is ALL, DEFAULT or the path of an image; only grubby sets one kernel's alone.
    """
    way = way_of(boot, tools)
    match way:
        case Problem():
            return way
        case Way.DROP_IN:
            return _drop_in(boot, tools, values=values)
        case Way.GRUBBY:
            return _grubby(boot, tools, values=values, kernel=kernel)
        case Way.RPM_OSTREE:
            return _rpm_ostree(boot, tools, values=values)


def way_of(boot: BootFiles, tools: Tools) -> Way | Problem:
    """How it is done here. Where two would do, the one whose result is what is booted."""
    if tools.is_ostree:
        return Way.RPM_OSTREE if "rpm-ostree" in tools.programs else _unknown("rpm-ostree is not installed")
    if boot.is_systemd_boot:
        return _unknown(
            "this machine is booted by systemd-boot",
            hint=f"put crashkernel= into {KERNEL_CMDLINE} and run `kernel-install add` for each kernel",
        )
    if "grubby" in tools.programs and (boot.is_bls or boot.grub_cfg or tools.has_zipl_conf):
        return Way.GRUBBY
    if "update-grub" in tools.programs and tools.has_default_grub and boot.grub_cfg and not boot.is_bls:
        return Way.DROP_IN
    return _unknown("found neither grubby, nor update-grub with a boot menu that it makes")


def told(change: Change, *, is_done: bool) -> tuple[str, ...]:
    """What is written and run, line by line: in full, for whoever decides whether it is to be done."""
    lines: list[str] = []
    verb = ("writes", "runs") if is_done else ("would write", "would run")
    for write in change.writes:
        lines += (f"{verb[0]} {write.path}:", *(f"    {line}" for line in write.text.splitlines()))
    lines += (f"{verb[1]} {shlex.join(command.argv)}" for command in change.commands)
    return tuple(lines)


def warnings_of(change: Change, *, memory_bytes: int, architecture: str) -> tuple[str, ...]:
    """What somebody would want to know before."""
    lines: list[str] = []
    if change.way is not Way.GRUBBY and change.kernel != ALL:
        lines.append(f"{change.way} sets the same for every kernel: {change.kernel} is ignored")
    then = reserve.reserved(_words(change.values), memory_bytes, architecture=architecture)
    if not isinstance(then, Problem) and memory_bytes and not then.base:
        lines.append(f"on this machine, with {memory_bytes // MIB} MiB, it reserves no memory")
    return tuple(lines)


def unmet(change: Change, after: BootFiles) -> Problem | None:
    """Why what was written does not have the effect that was wanted; None where it has, or nobody can know."""
    wrong = [each for each in _meant(after, change) if crashkernel_of(each.options) != change.values]
    if not wrong:
        return None
    has = _words(crashkernel_of(wrong[0].options)) or "no crashkernel="
    return Problem(
        code="not-effective",
        message=f"{change.way} was run, and the boot entry {wrong[0].title or wrong[0].id} still has {has}",
        hint=_why_unmet(change),
    )


def outcome(change: Change, *, before: BootFiles, after: BootFiles) -> tuple[str, ...]:
    """What became of each entry, in the words that scripts know from kdump-utils."""
    old = {(each.id, each.path): crashkernel_of(each.options) for each in _entries(before)}
    lines: list[str] = []
    for at, each in enumerate(_entries(after)):
        kernel = each.linux if each.linux.startswith("/boot/") else f"/boot{each.linux}"
        index = ">".join(map(str, each.path)) or str(at)
        values = crashkernel_of(each.options)
        if values == change.values and old.get((each.id, each.path)) != values:
            lines.append(f"Updated {_words(values)} for kernel={kernel}, grub entry index={index}.")
        elif values == change.values:
            lines.append(f"No need to update crashkernel value for kernel={kernel}, grub entry index={index}")
    return tuple(lines)


def _why_unmet(change: Change) -> str:
    if change.way is Way.DROP_IN:
        return f"see which file sets it beside {DROP_IN}"
    # A second one of the same name takes the place of the first (grubby-bls, update_args).
    return "grubby may accept only one crashkernel=: give one value" if len(change.values) > 1 else ""


def _drop_in(boot: BootFiles, tools: Tools, *, values: tuple[str, ...]) -> Change:
    text = _DROP_IN_TEXT.format(words=_words(values))
    change = Change(way=Way.DROP_IN, values=values, kernel=ALL)
    if tools.drop_in == text.rstrip("\n") and unmet(change, boot) is None:
        return change
    return Change(
        way=Way.DROP_IN,
        values=values,
        kernel=ALL,
        writes=(Written(path=DROP_IN, text=text),),
        commands=(_command(tools, "update-grub"),),
        may_change=(DROP_IN, boot.grub_cfg_path),
    )


def _grubby(boot: BootFiles, tools: Tools, *, values: tuple[str, ...], kernel: str) -> Change:
    change = Change(way=Way.GRUBBY, values=values, kernel=kernel)
    if _meant(boot, change) and unmet(change, boot) is None:
        return change
    zipl = (_command(tools, "zipl"),) if tools.has_zipl_conf and "zipl" in tools.programs else ()
    arguments = (f"--update-kernel={kernel}", "--remove-args=crashkernel", f"--args={_words(values)}")
    return Change(
        way=Way.GRUBBY,
        values=values,
        kernel=kernel,
        commands=(_command(tools, "grubby", *arguments), *zipl),
        may_change=(
            *boot.bls,
            *filter(None, (boot.grub_cfg_path,)),
            *(f"{folder}/grubenv" for folder in GRUB_FOLDERS),
            *(DEFAULT_GRUB, KERNEL_CMDLINE, ZIPL_CONF),
        ),
        undo=zipl,
    )


def _rpm_ostree(boot: BootFiles, tools: Tools, *, values: tuple[str, ...]) -> Change:
    change = Change(way=Way.RPM_OSTREE, values=values, kernel=ALL)
    now = default_entry(boot)
    has = crashkernel_of(now.options) if now is not None else ()
    if has == values:
        return change
    return Change(
        way=Way.RPM_OSTREE,
        values=values,
        kernel=ALL,
        commands=(_kargs(tools, out=has, into=values),),
        undo=(_kargs(tools, out=values, into=has),),
    )


def _kargs(tools: Tools, *, out: Iterable[str], into: Iterable[str]) -> Command:
    """One call makes one deployment, or none where it fails."""
    return _command(
        tools,
        "rpm-ostree",
        "kargs",
        *(f"--delete-if-present=crashkernel={value}" for value in out),
        *(f"--append=crashkernel={value}" for value in into),
    )


def _command(tools: Tools, name: str, *arguments: str) -> Command:
    return Command(argv=(tools.programs[name], *arguments), seconds=_SECONDS[name])


def _entries(boot: BootFiles) -> tuple[Entry, ...]:
    return bls_entries(boot) if boot.is_bls else grub_entries(boot.grub_cfg)


def _meant(boot: BootFiles, change: Change) -> tuple[Entry, ...]:
    """The entries that must have it. What is there for rescue may be left without."""
    default = default_entry(boot)
    of_default = (default,) if default is not None else ()
    if change.way is not Way.GRUBBY or change.kernel == DEFAULT:
        return of_default
    entries = _entries(boot)
    if change.kernel != ALL:
        name = change.kernel.rpartition("/")[2]
        return tuple(each for each in entries if each.linux.rpartition("/")[2] == name)
    return tuple(each for each in entries if "rescue" not in each.id) or of_default


def _words(values: Iterable[str]) -> str:
    return " ".join(f"crashkernel={value}" for value in values)


def _unknown(message: str, *, hint: str = "") -> Problem:
    return Problem(
        code="not-supported",
        message=f"kdumpd does not know how the kernel's command line is set here: {message}",
        hint=hint or "put crashkernel= into the configuration of your boot loader, as its manual says",
    )
