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
class Trimmed:
    """Words that the capture kernel goes without unless an administrator says otherwise, and why."""

    keys: tuple[str, ...]
    why: str


TRIMMED = (
    Trimmed(keys=("quiet",), why="the console is where a capture says what it does"),
    Trimmed(
        keys=("hugepages", "hugepagesz", "default_hugepagesz", "hugetlb_cma", "cma", "kho", "kho_scratch"),
        why="they set memory aside for what no capture does (admin-guide/kernel-parameters, mm/kho)",
    ),
    Trimmed(
        keys=("reserve_mem", "log_buf_len", "trace_buf_size", "trace_event", "trace_instance", "ftrace"),
        why="buffers are made at boot, of the size that a whole machine was given",
    ),
    Trimmed(
        keys=(
            "dhash_entries",
            "ihash_entries",
            "mhash_entries",
            "mphash_entries",
            "thash_entries",
            "uhash_entries",
        ),
        why="without them the kernel makes its hash tables as large as suits its memory (alloc_large_system_hash())",
    ),
    Trimmed(
        keys=("kernelcore", "movablecore", "movable_node"),
        why="memory for pages that can be moved alone holds neither the unpacked image nor slabs: half of it would "
        "lie idle while the kernel is out of memory",
    ),
    Trimmed(
        keys=("slub_debug", "slab_debug", "slub_nomerge", "slab_nomerge"),
        why="red zones and caches of their own make slabs up to twice as large (mm/slub)",
    ),
    Trimmed(
        keys=("page_owner", "kmemleak", "debug_pagealloc", "debug_guardpage_minorder"),
        why="who checks the use of memory keeps a record of each page or object, or maps it by small pages",
    ),
    Trimmed(
        keys=("swiotlb",),
        why="bounce buffers as large as the whole machine wants them do not fit; what must have some (SEV, TDX) "
        "makes 64 MiB by itself",
    ),
    Trimmed(
        keys=("isolcpus", "nohz_full", "rcu_nocbs", "rcu_nocb_poll", "irqaffinity"),
        why="the one processor of the capture is to do all the work; Linux before 6.9 could not boot where it was the "
        "one that nohz_full= isolates (commit 5097cbcb38e6)",
    ),
    Trimmed(
        keys=("audit", "audit_backlog_limit"),
        why="records are kept in memory for a daemon that does not run here (kernel/audit.c: audit_hold_queue)",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What an architecture's capture kernel goes without, and with."""

    remove: tuple[str, ...]
    append: tuple[str, ...]


_REMOVED = tuple(key for each in TRIMMED for key in each.keys)
_SAVING = (  # memory, and time
    "cgroup_disable=memory",  # 0.4 percent of the memory on older kernels, and a counter for each slab page
    # The image is unpacked into a tmpfs of half the memory at most where no root= is given; a ramfs has no such limit
    # (init/do_mounts.c: init_rootfs()).
    "rootfstype=ramfs",
    "kfence.sample_interval=0",  # 2 MiB of guarded objects (dev-tools/kfence)
    # A tenth of the way to the dump went to tests of ciphers that the crashed kernel had passed. With fips=1 the kernel
    # tests them all the same (crypto/testmgr.c: alg_test()).
    "cryptomgr.notests",
    "novmcoredd",  # drivers would copy their devices' state into memory
)
_DEFAULTS = {
    "x86_64": Defaults(
        remove=_REMOVED,
        append=(
            *("irqpoll", "nr_cpus=1", "reset_devices", *_SAVING, "mce=off", "numa=off"),
            *("udev.children-max=2", "panic=10", "acpi_no_memhotplug", "transparent_hugepage=never"),
            *("nokaslr", "hest_disable", "cma=0", "hugetlb_cma=0", "pcie_ports=compat"),
        ),
    ),
    "aarch64": Defaults(
        remove=_REMOVED,
        append=(
            *("irqpoll", "nr_cpus=1", "reset_devices", *_SAVING, "udev.children-max=2"),
            *("panic=10", "swiotlb=noforce", "cma=0", "hugetlb_cma=0"),
        ),
    ),
    "ppc64le": Defaults(
        remove=_REMOVED,
        append=(
            *("irqpoll", "nr_cpus=16", "reset_devices", *_SAVING, "numa=off"),
            *("udev.children-max=2", "panic=10", "transparent_hugepage=never"),
            *("cma=0", "hugetlb_cma=0"),
        ),
    ),
}
_OTHERS = Defaults(remove=_REMOVED, append=("nr_cpus=1", "reset_devices", *_SAVING, "panic=10"))


def has_roomy_rootfs(command_line: str) -> bool:
    """Whether the kernel unpacks an image into a ramfs, and not into a tmpfs of half the memory at most."""
    last = [word for word in words(command_line) if word.startswith(("root=", "rootfstype="))]
    kinds = [word.partition("=")[2] for word in last if word.startswith("rootfstype=")]
    return any(word.startswith("root=") for word in last) if not kinds else "tmpfs" not in kinds[-1]


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
