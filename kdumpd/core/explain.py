"""Why two plans differ: what moved, in words, and what has to be done again because of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from kdumpd.core import environment
from kdumpd.core.plan import Json
from kdumpd.core.problems import Trouble

PLAN_ENV = "/kdump/plan.env"


class Reason(StrEnum):
    """The words of StateReason's list of what is stale."""

    CONFIG = "config-changed"
    KERNEL = "kernel-changed"
    MODULES = "modules-changed"
    PROGRAMS = "programs-changed"
    HOOKS = "hooks-changed"
    COMMAND_LINE = "command-line-changed"
    LAYOUT = "cpu-memory-changed"


class Effect(IntEnum):
    """What has to be done again; a greater one includes the smaller."""

    LOAD = 1
    OVERLAY = 2
    BASE = 3


_EFFECTS = {
    Effect.BASE: "the base of the image is built again",
    Effect.OVERLAY: "the overlay of the image is made again",
    Effect.LOAD: "the crash kernel is loaded again",
}
_CONSEQUENCES = {
    Effect.BASE: "builds the whole image again and loads it",
    Effect.OVERLAY: "makes the small part of the image again and loads the image",
    Effect.LOAD: "loads the image that there is again",
}
_SETTINGS = {
    "target_device": "the target's device",
    "target_fstype": "the target's file system",
    "target_mount_options": "the target's mount options",
    "target_directory": "the directory of dumps",
    "bring_up": "how the target's layers are brought up",
    "host_name": "the host's name",
    "timezone": "the time zone",
    "stall_seconds": "stall_seconds",
    "fence": "what fence_kdump_send is called with",
    "hook_timeout": "hook_timeout_seconds",
    "root_device": "the root file system's device",
    "root_directory": "the root directory",
    "pre_d": "the programs of pre.d",
    "post_d": "the programs of post.d",
    "emergency_d": "the programs of emergency.d",
}
_HOOK_FIELDS = frozenset({"pre_d", "post_d", "emergency_d"})
_FOLLOWS = frozenset({"capture_id", "kernel_release"})  # from something else that is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that moved. The crash kernel is loaded again in every case."""

    reason: Reason
    what: str
    effect: Effect

    def __str__(self) -> str:
        return f"{self.what}: {_EFFECTS[self.effect]}"


def why(old: Json, new: Json) -> tuple[str, ...]:
    """A sentence for each difference of two plans as `describe` gives them; `old` may be of an older kdumpd."""
    return tuple(str(difference) for difference in differences(old, new))


def reasons(old: Json, new: Json) -> tuple[str, ...]:
    """The codes of those differences, each once."""
    return tuple(dict.fromkeys(difference.reason.value for difference in differences(old, new)))


def differences(old: Json, new: Json) -> tuple[Difference, ...]:
    """All of them, the weightiest first."""
    base_old, base_new = _at(old, "base"), _at(new, "base")
    found = [
        *(
            _of_base(base_old, base_new) if base_old != base_new else ()
        ),  # hundreds of items, of which few ever move
        *_of_overlay(_at(old, "overlay"), _at(new, "overlay")),
        *_of_load(_at(old, "load"), _at(new, "load")),
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda difference: -difference.effect))


def what_follows(found: Sequence[Difference]) -> str:
    """What kdumpd does because of them, in a sentence."""
    if not found:
        return "nothing is to be built or loaded"
    does = _CONSEQUENCES[max(difference.effect for difference in found)]
    return f"so kdumpd {does}; until then the loaded image protects the machine"


def _of_base(old: Json, new: Json) -> Iterator[Difference]:
    for key, told, reason in (
        ("engine", "the engine", Reason.CONFIG),
        ("recipe", "how kdumpd builds the base", Reason.PROGRAMS),
        ("kernel_release", "the capture kernel", Reason.KERNEL),
        ("packing", "how the base is packed", Reason.KERNEL),
        ("compression_level", "compression_level", Reason.CONFIG),
        ("dracut_args", "dracut_args", Reason.CONFIG),
    ):
        yield from _moved(_at(old, key), _at(new, key), told, reason, Effect.BASE)
    sources_old, sources_new = (_by_path(_at(of, "dracut_sources"), "path") for of in (old, new))
    for path, what in _changes(sources_old, sources_new):
        yield Difference(reason=Reason.PROGRAMS, what=f"{path} {what}", effect=Effect.BASE)
    modules_old, modules_new = _by_path(_at(old, "modules"), "name"), _by_path(_at(new, "modules"), "name")
    for name, what in _changes(modules_old, modules_new):
        yield Difference(reason=Reason.MODULES, what=f"module {name} {what}", effect=Effect.BASE)
    items_old, items_new = _by_path(_at(old, "items"), "path"), _by_path(_at(new, "items"), "path")
    for path, what in _changes(items_old, items_new):
        yield Difference(reason=Reason.PROGRAMS, what=f"{path} {what}", effect=Effect.BASE)


def _of_overlay(old: Json, new: Json) -> Iterator[Difference]:
    yield from _moved(
        _at(old, "recipe"),
        _at(new, "recipe"),
        "how kdumpd makes the overlay",
        Reason.PROGRAMS,
        Effect.OVERLAY,
    )
    yield from _moved(
        _at(old, "packing"), _at(new, "packing"), "how the overlay is packed", Reason.KERNEL, Effect.OVERLAY
    )
    items_old, items_new = _by_path(_at(old, "items"), "path"), _by_path(_at(new, "items"), "path")
    for path, what in _changes(items_old, items_new):
        if path == PLAN_ENV:
            continue
        written = "Written" in {_at(items_old.get(path), "is"), _at(items_new.get(path), "is")}
        reason = Reason.PROGRAMS if written else Reason.HOOKS
        yield Difference(reason=reason, what=f"{path} {what}", effect=Effect.OVERLAY)
    yield from _of_environment(_text(items_old.get(PLAN_ENV)), _text(items_new.get(PLAN_ENV)))


def _of_environment(old: str, new: str) -> Iterator[Difference]:
    try:
        before, after = environment.parse(old), environment.parse(new)
    except Trouble:
        yield Difference(reason=Reason.CONFIG, what="other settings for the agent", effect=Effect.OVERLAY)
        return
    for name in sorted(before.keys() | after.keys()):
        field = name.removeprefix(environment.PREFIX)
        if before.get(name) == after.get(name) or field in _FOLLOWS:
            continue
        reason = Reason.HOOKS if field in _HOOK_FIELDS else Reason.CONFIG
        if field == "modules":
            what = "the modules to load, their order or their options"
            yield Difference(reason=Reason.MODULES, what=what, effect=Effect.OVERLAY)
            continue
        if field == "version":
            reason = Reason.PROGRAMS
        what = f"{_SETTINGS.get(field, field)} {_from_to(before.get(name, ''), after.get(name, ''))}"
        yield Difference(reason=reason, what=what, effect=Effect.OVERLAY)


def _of_load(old: Json, new: Json) -> Iterator[Difference]:
    yield from _moved(
        _at(old, "kernel_image"), _at(new, "kernel_image"), "the kernel image", Reason.KERNEL, Effect.LOAD
    )
    if _at(old, "kernel_image") == _at(new, "kernel_image") and _at(old, "kernel_digest") != _at(
        new, "kernel_digest"
    ):
        what = f"{_at(new, 'kernel_image')} has other contents"
        yield Difference(reason=Reason.KERNEL, what=what, effect=Effect.LOAD)
    yield from _moved(
        _words(_at(old, "command_line")),
        _words(_at(new, "command_line")),
        "the capture kernel's command line",
        Reason.COMMAND_LINE,
        Effect.LOAD,
    )
    yield from _moved(
        _at(old, "kexec_flags"),
        _at(new, "kexec_flags"),
        "the flags of kexec",
        Reason.COMMAND_LINE,
        Effect.LOAD,
    )
    if _at(old, "kexec_digest") != _at(new, "kexec_digest"):
        yield Difference(reason=Reason.PROGRAMS, what="the program kexec changed", effect=Effect.LOAD)
    yield from _moved(
        _at(old, "layout"), _at(new, "layout"), "processors or memory", Reason.LAYOUT, Effect.LOAD
    )


def _words(command_line: Json) -> Json:
    """Without the name of the image, which follows from all else."""
    return " ".join(word for word in str(command_line or "").split() if not word.startswith("kdumpd.id="))


def _moved(old: Json, new: Json, told: str, reason: Reason, effect: Effect) -> Iterator[Difference]:
    if old != new:
        yield Difference(reason=reason, what=f"{told} {_from_to(_shown(old), _shown(new))}", effect=effect)


def _from_to(old: str, new: str) -> str:
    return f"{old or 'nothing'} \N{RIGHTWARDS ARROW} {new or 'nothing'}"


def _shown(value: Json) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    for key in sorted(old.keys() | new.keys()):
        if key not in old:
            yield key, "is new"
        elif key not in new:
            yield key, "is gone"
        elif old[key] != new[key]:
            yield key, "changed"


def _by_path(items: Json, key: str) -> Mapping[str, Json]:
    return {str(_at(item, key)): item for item in items} if isinstance(items, list) else {}


def _text(item: Json) -> str:
    text = _at(item, "text")
    return text if isinstance(text, str) else ""


def _at(value: Json, key: str) -> Json:
    return value.get(key) if isinstance(value, dict) else None
