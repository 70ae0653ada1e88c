"""The capture kernel's command line: the running kernel's, less what harms a capture, plus what it needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CAPTURE_ID = "kdumpd.id"
"""Names the image that a capture kernel was started with. The kernel passes over a word with a dot for a module it
does not have."""

LONGEST = 2048 - 96
"""Bytes: COMMAND_LINE_SIZE of x86-64 and aarch64, less what kexec adds (elfcorehdr=, memmap=, acpi_rsdp=)."""

ALWAYS_REMOVED = (
    *("crashkernel", "root", "panic_on_warn"),
    *("rd.lvm.lv", "rd.luks.uuid", "rd.dm.uuid", "rd.md.uuid"),
    *("fcoe", "netroot", "rd.iscsi.initiator"),
    # What would panic the capture kernel again.
    *("softlockup_panic", "hung_task_panic", "oops=panic", "nmi_watchdog=panic"),
    # /init of the image is the agent.
    *("init", "rdinit", CAPTURE_ID),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What an architecture's capture kernel goes without, and with."""

    remove: tuple[str, ...]
    append: tuple[str, ...]


_COMMON_REMOVED = (
    *("hugepages", "hugepagesz", "slub_debug", "quiet", "log_buf_len", "swiotlb"),
    *("hugetlb_cma", "cma"),
)
_DEFAULTS = {
    "x86_64": Defaults(
        remove=_COMMON_REMOVED,
        append=(
            *("irqpoll", "nr_cpus=1", "reset_devices", "cgroup_disable=memory", "mce=off", "numa=off"),
            *("udev.children-max=2", "panic=10", "acpi_no_memhotplug", "transparent_hugepage=never"),
            *("nokaslr", "hest_disable", "novmcoredd", "cma=0", "hugetlb_cma=0", "pcie_ports=compat"),
        ),
    ),
    "aarch64": Defaults(
        remove=_COMMON_REMOVED,
        append=(
            *("irqpoll", "nr_cpus=1", "reset_devices", "cgroup_disable=memory", "udev.children-max=2"),
            *("panic=10", "swiotlb=noforce", "novmcoredd", "cma=0", "hugetlb_cma=0"),
        ),
    ),
    "ppc64le": Defaults(
        remove=_COMMON_REMOVED,
        append=(
            *("irqpoll", "nr_cpus=16", "reset_devices", "cgroup_disable=memory", "numa=off"),
            *("udev.children-max=2", "panic=10", "transparent_hugepage=never", "novmcoredd"),
            *("cma=0", "hugetlb_cma=0"),
        ),
    ),
}
_OTHERS = Defaults(
    remove=_COMMON_REMOVED, append=("nr_cpus=1", "reset_devices", "cgroup_disable=memory", "panic=10")
)


def defaults(architecture: str) -> Defaults:
    return _DEFAULTS.get(architecture, _OTHERS)


def words(text: str) -> tuple[str, ...]:
    """The words of a kernel command line as they are spelled, quotes and all.

    A quote at the beginning of a word or of its value joins what stands between it and its partner; one that has no
    partner stands for itself and joins nothing.
    """
    found: list[str] = []
    at, length = 0, len(text)
    while at < length:
        if text[at].isspace():
            at += 1
            continue
        start = at
        while at < length and not text[at].isspace():
            opens = text[at] in "\"'" and (at == start or text[at - 1] == "=")
            closing = text.find(text[at], at + 1) if opens else -1
            at = (max(at, closing)) + 1
        found.append(text[start:at])
    return tuple(found)


def capture(
    *,
    base: str,
    architecture: str,
    remove: Iterable[str] | None = None,
    append: Iterable[str] | None = None,
    capture_id: str = "",
) -> str:
    """`base` without the words whose keys are in `remove`, then `append`; None stands for the architecture's own.

    A word of `remove` with a `=` takes out only that very word. What follows a lone `--` is for init and is left
    out. Of several `panic=` only the last is kept.
    """
    own = defaults(architecture)
    removed = {
        _plain(key.strip("\"'")) for key in (*ALWAYS_REMOVED, *(own.remove if remove is None else remove))
    }
    kept = [word for word in _before_init(words(base)) if not _is_removed(word, removed)]
    added = list(own.append if append is None else append)
    both = _last_only([*kept, *added], "panic")
    return " ".join([*both, f"{CAPTURE_ID}={capture_id}"] if capture_id else both)


def _before_init(all_words: tuple[str, ...]) -> tuple[str, ...]:
    return all_words[: all_words.index("--")] if "--" in all_words else all_words


def _plain(word: str) -> str:
    """The kernel takes `-` for `_` in a key, and a word may stand in quotes as a whole."""
    key, equals, value = word.strip('"').partition("=")
    return key.replace("-", "_") + equals + value


def _is_removed(word: str, removed: set[str]) -> bool:
    plain = _plain(word)
    return plain in removed or plain.partition("=")[0] in removed


def _last_only(all_words: list[str], key: str) -> list[str]:
    last = max((at for at, word in enumerate(all_words) if word.startswith(f"{key}=")), default=-1)
    return [word for at, word in enumerate(all_words) if at == last or not word.startswith(f"{key}=")]
