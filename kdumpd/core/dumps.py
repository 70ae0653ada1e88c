"""What was saved after a crash, told in a line: from the names, sizes and texts of a dump directory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kdumpd.core.estimate import RELEASE_CHARACTERS, Capture, capture_of
from kdumpd.core.last_words import call_trace, kernel_of, one_line, panic_line
from kdumpd.core.machine import Mount
from kdumpd.core.mounts import holding
from kdumpd.core.summary import CaptureResult, Summary

CORES = ("vmcore", "vmcore.flat")  # whole ones; the first that is there counts
INCOMPLETE = ("vmcore-incomplete", "vmcore.flat-incomplete", "vmcore-incomplete.flat")
SUM = "{core}.sha256"
"""The file beside a core that holds its SHA-256."""
FAILURES = "/var/lib/kdumpd/failures"
"""Records of captures that failed, as the agent writes them on the root file system."""
ON_ROOTFS = "rootfs_directory"
"""What a plan's target says where failure_action dump_to_rootfs may save: a directory of the root file system."""
_SUM = re.compile(r"(?P<sum>[0-9a-f]{64}) [ *](?P<name>[^\n/]+)\n?")
_NAME = re.compile(r"(?P<who>.+)-(?P<stamp>\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """One captured crash, or the record of one that could not be captured (`size_bytes` 0, not complete).

    `path` is a directory of the running system; where its file system is not mounted, or another one is mounted over
    the directory, the device stands before it (`UUID=...:/var/crash/...`). A record is a file.
    """

    id: str
    path: str
    time_us: int  # since epoch; of the crash where that is known, else of the file
    size_bytes: int  # of the core
    is_complete: bool
    kernel_release: str
    reason: str  # the panic's first line, or why there is no dump
    test_id: str = ""  # of the test crash that it is of
    panic: str = ""  # the panic's first line, where the log of the kernel was read
    failure: str = ""  # why it was not saved, or not to where it was to be
    seconds: float = 0.0  # the capture took, where that was measured
    capture: Capture | None = None  # what it took of memory, where that was measured
    folder: str = ""  # its directory, where that is one of the running system now and may be removed
    is_ours: bool = False  # there is a summary of the agent's, and nobody but root could write any of it
    is_record: bool = False  # told by a record of the agent's, which lies where only root writes
    files_bytes: int = 0  # of all its files
    call_trace: str = ""  # its head, a frame a line
    pstore_files: tuple[str, ...] = ()  # records of the firmware's store of the same crash
    core: str = ""  # the name of the vmcore in its folder
    sha256: str = ""  # of the vmcore as it was found, where that was noted beside it

    @property
    def is_test(self) -> bool:
        return self.test_id != ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpPlace:
    """Where the plan has dumps saved: a directory inside the file system of a block device."""

    device: str  # the lasting name: UUID=...
    node: str
    fstype: str
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a directory is to be seen, and how people are told of it.

    `folder` is a path of the running system. It is one inside the file system mounted at `under` where that is given:
    something else is mounted over it. It is one inside the file system `on` where that is not mounted at all.
    """

    folder: str
    shown: str
    under: str = ""
    on: DumpPlace | None = None

    @property
    def is_in_sight(self) -> bool:
        return not self.under and self.on is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What lies in one dump directory: sizes by name, the newest change, and the texts that tell about it."""

    name: str
    path: str
    sizes: Mapping[str, int]
    modified_us: int
    summary: Summary | None
    kernel_log: str  # its end is enough
    is_in_sight: bool = True  # not only for the look
    is_of_root: bool = True  # the directory, the summary and the cores are: nobody else could forge them
    sums: Mapping[str, str] = field(default_factory=dict)  # texts of the files that SUM names, by core


def dump_place(target: Mapping[str, str]) -> DumpPlace | None:
    """Where to look for the dumps of a plan's target; None where they do not stay on this machine."""
    if target.get("type") != "filesystem" or not target.get("directory"):
        return None
    device = target.get("device", "")
    return DumpPlace(
        device=device,
        node=target.get("node") or device,
        fstype=target.get("fstype", ""),
        directory=target["directory"],
    )


def spot_of(place: DumpPlace, mounts: tuple[Mount, ...], *, sources: frozenset[str], number: str) -> Spot:
    """How the running system gets to see `place`.

    `sources` are names of the device as mountinfo may have them, `number` its "major:minor".
    """
    hidden: Spot | None = None
    for mount in mounts:
        is_it = mount.source in sources or (number and mount.number == number)
        root = mount.root.rstrip("/")
        if is_it and (place.directory == root or place.directory.startswith(f"{root}/")):
            below = place.directory[len(root) :]
            folder = f"{mount.target.rstrip('/')}{below}" or "/"
            above = holding(mounts, folder)
            if above is None or above.mount == mount:
                return Spot(folder=folder, shown=folder)
            hidden = hidden or Spot(
                folder=below, shown=f"{place.device}:{place.directory}", under=mount.target
            )
    return hidden or Spot(folder=place.directory, shown=f"{place.device}:{place.directory}", on=place)


def spot_on_rootfs(directory: str, mounts: tuple[Mount, ...]) -> Spot:
    """How the running system gets to see a directory of the root file system, where the agent may have written."""
    top, holder = holding(mounts, "/"), holding(mounts, directory)
    if top is None or holder is None or holder.mount == top.mount:
        return Spot(folder=directory, shown=directory)
    return Spot(folder=directory, shown=f"{top.mount.source}:{directory}", under="/")


def stamp_of(name: str) -> str:
    """What sorts names of dump directories by their time; "" for what is none."""
    found = _NAME.fullmatch(name)
    return found["stamp"] if found is not None else ""


def is_dump_name(name: str) -> bool:
    """`<host-or-address>-YYYY-MM-DD-HH:MM:SS`, with `.N` behind it where a clock stood still; shown on terminals."""
    return name.isprintable() and stamp_of(name) != ""


def dump_of(saved: Saved) -> Dump:
    summary = saved.summary
    is_ours = summary is not None and saved.is_of_root
    core = next((name for name in (*CORES, *INCOMPLETE) if name in saved.sizes), "")
    failed = summary is not None and summary.result is CaptureResult.FAILED and not summary.fallback
    said = summary.panic if summary is not None and summary.panic else panic_line(saved.kernel_log)
    dump = Dump(
        id=saved.name,
        path=saved.path,
        time_us=summary.crashed_us if summary is not None and summary.crashed_us else saved.modified_us,
        size_bytes=saved.sizes.get(core, 0),
        is_complete=core in CORES and not failed,
        kernel_release=(_release(summary) if summary is not None else "") or kernel_of(saved.kernel_log),
        reason=one_line(said or (summary.reason if summary is not None else "")),
        panic=one_line(said),
        capture=capture_of(summary) if summary is not None and is_ours else None,
        folder=saved.path if saved.is_in_sight else "",
        is_ours=is_ours,
        files_bytes=sum(saved.sizes.values()),
        call_trace="\n".join(call_trace(saved.kernel_log)),
        core=core,
        sha256=noted_sum(saved.sums.get(core, ""), core),
    )
    return _as_told(dump, summary) if summary is not None else dump


def noted_sum(text: str, core: str) -> str:
    """The SHA-256 of `core` that a file as sha256sum writes it tells; "" where it tells none."""
    found = _SUM.fullmatch(text)
    return found["sum"] if found is not None and found["name"] == core else ""


def sum_note(sha256: str, core: str) -> str:
    """What `sha256sum --check` takes."""
    return f"{sha256}  {core}\n"


def failure_of(*, name: str, path: str, modified_us: int, summary: Summary) -> Dump:
    """A capture of which only the agent's record is left."""
    dump = Dump(
        id=f"failure-{name.removesuffix('.json')}",
        path=path,
        time_us=summary.crashed_us or modified_us,
        size_bytes=0,
        is_complete=False,
        kernel_release=_release(summary),
        reason=one_line(summary.reason or summary.panic),
        panic=one_line(summary.panic),
        is_record=True,
    )
    return _as_told(dump, summary)


def remote_of(*, name: str, modified_us: int, summary: Summary, mounts: tuple[Mount, ...]) -> Dump:
    """A dump that a server or the hypervisor keeps, of which the agent left a record here.

    Where it lies is said by its path on this machine if that is mounted now, and else as mount and ssh spell it.
    """
    dump = Dump(
        id=summary.directory.rstrip("/").rpartition("/")[2] or f"remote-{name.removesuffix('.json')}",
        path=_remote_path(summary, mounts),
        time_us=summary.crashed_us or modified_us,
        size_bytes=summary.vmcore_bytes,
        is_complete=summary.result is CaptureResult.SAVED,
        kernel_release=_release(summary),
        reason=one_line(summary.panic or summary.reason),
        panic=one_line(summary.panic),
        capture=capture_of(summary),
        is_record=True,
    )
    return _as_told(dump, summary)


def _as_told(dump: Dump, summary: Summary) -> Dump:
    return replace(
        dump,
        test_id=one_line(summary.test_id),
        failure=one_line(summary.reason),
        seconds=summary.seconds,
    )


def _release(summary: Summary) -> str:
    return one_line(summary.kernel_release)[:RELEASE_CHARACTERS]


def _remote_path(summary: Summary, mounts: tuple[Mount, ...]) -> str:
    for mount in reversed(mounts):
        if mount.source == summary.target and mount.root == "/":
            return f"{mount.target.rstrip('/')}{summary.directory}"
    target = one_line(summary.target)
    return f"{target.rstrip('/')}{summary.directory}" if ":/" in target else f"{target}:{summary.directory}"
