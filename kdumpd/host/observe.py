"""Reads the machine through the doors: what it is, the modules of its kernel, and the files a plan may need."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from kdumpd.core import boot_entries, capture_kernel, facts, kernel_size, mounts
from kdumpd.core.inventory import FileFacts, Inventory, Kind, Wants
from kdumpd.core.machine import BlockDevice, Hungry, KernelFiles, Machine, Whereabouts
from kdumpd.core.modules import MODPROBE_FOLDERS, ModuleIndex, index_files, parse_index
from kdumpd.host import abilities, firmware
from kdumpd.host.blocks import block_devices, shared_directories, with_contents
from kdumpd.host.boot_entries import boot_files
from kdumpd.host.crash_kernel import crash_kernel
from kdumpd.host.doors import Files, ProgramFailed, Programs, contents, drop_ins, text
from kdumpd.host.libraries import with_libraries

ASK_SECONDS = 30.0
BEGINNING_BYTES = 256  # BINPRM_BUF_SIZE: what the kernel reads of a program to find its interpreter
BEGINNINGS_AT_MOST = 2000
LINKS_AT_MOST = 40
"""As the kernel's MAXSYMLINKS."""
_FOUND_NOTHING = frozenset({0, 2})  # of blkid(8)


async def machine(files: Files, programs: Programs) -> Machine:
    """One look at the machine.

    What disks hold is read from udev's database, from which lsblk has it as well; blkid reads the disks themselves
    where that database says nothing, which in a copy of another machine's files has to be everywhere else: there are
    no devices to read.
    """
    seen = await asyncio.to_thread(look, files)
    silent = [device for device in seen.devices if not _is_told(device)]
    nodes = {files.outside(path): path for device in silent if (path := _node(files, device))}
    if not nodes or not programs.find("blkid"):
        return seen
    try:
        said = await programs.run(
            ["blkid", "-c", "/dev/null", "-o", "export", *nodes], timeout=ASK_SECONDS, good=_FOUND_NOTHING
        )
    except ProgramFailed:
        return seen  # a device without known contents becomes a Problem of the target that needs it
    contents = facts.parse_blkid(said.stdout.decode("utf-8", "surrogateescape"))
    told = {nodes[node]: each for node, each in contents.items() if node in nodes}
    devices = tuple(
        with_contents(device, told[f"/dev/{device.name}"]) if f"/dev/{device.name}" in told else device
        for device in seen.devices
    )
    return replace(seen, devices=devices)


def look(files: Files) -> Machine:
    """All of the machine that is in files. Never raises for a file that is missing or not readable."""
    iomem, meminfo = text(files, "/proc/iomem"), text(files, "/proc/meminfo")
    release = text(files, "/proc/sys/kernel/osrelease")
    machine_id = text(files, "/etc/machine-id")
    present = text(files, "/sys/devices/system/cpu/present")
    memory = sum(last - first + 1 for first, last in facts.system_ram(iomem) if last)
    return Machine(
        architecture=text(files, "/proc/sys/kernel/arch") or os.uname().machine,
        kernel_release=release,
        host_name=text(files, "/proc/sys/kernel/hostname") or text(files, "/etc/hostname"),
        machine_id=machine_id,
        boot_id=text(files, "/proc/sys/kernel/random/boot_id"),
        # The kernel takes any byte there; what is not UTF-8 is of use to nobody, and could not be told.
        command_line=text(files, "/proc/cmdline")
        .encode("utf-8", "surrogateescape")
        .decode("utf-8", "replace"),
        next_command_line=boot_entries.next_command_line(boot_files(files)),
        memory_bytes=memory or facts.memory_total(meminfo),
        cpus=facts.count_of_list(present),
        layout=facts.layout(cpus_present=present, iomem=iomem),
        crash=crash_kernel(files, iomem),
        mounts=mounts.lasting(
            mounts.parse_mountinfo(text(files, "/proc/1/mountinfo") or text(files, "/proc/self/mountinfo"))
        ),
        fstab=mounts.parse_fstab(text(files, "/etc/fstab")),
        crypttab=mounts.parse_crypttab(text(files, "/etc/crypttab")),
        devices=block_devices(files),
        hungry=frozenset(_hungry(files)),
        shares=shared_directories(files),
        swaps=mounts.parse_swaps(text(files, "/proc/swaps")),
        kernels=tuple(_kernels(files, running=release, machine_id=machine_id)),
        timezone=facts.posix_timezone(contents(files, "/etc/localtime")),
    )


def followed(files: Files, machine: Machine, paths: Iterable[str]) -> Machine:
    """The machine with where each of `paths` really lies."""
    return replace(machine, whereabouts=tuple(_whereabouts(files, machine, path) for path in paths))


def kernel_modules(
    files: Files, directory: str, *, has_patterns: bool = True, is_kept: bool = True
) -> ModuleIndex:
    """What depmod wrote in `directory`; `is_kept`: as long as the files stay the same, none of them is read again.

    Without `has_patterns` it cannot say which modules serve a device: nine tenths of it are of no use to whoever sees
    them at work, and take ten megabytes of memory.
    """
    version = _version(files, directory, has_patterns=has_patterns)
    known = _indexes.get(version)
    if known is not None:
        return known
    index = parse_index(
        directory=directory,
        dep=text(files, f"{directory}/modules.dep"),
        softdep=text(files, f"{directory}/modules.softdep"),
        builtin=text(files, f"{directory}/modules.builtin"),
        alias=text(files, f"{directory}/modules.alias") if has_patterns else _names(files, directory),
        modprobe="\n".join(text(files, path) for path in drop_ins(MODPROBE_FOLDERS, files.names)),
    )
    if (
        is_kept and _version(files, directory, has_patterns=has_patterns) == version
    ):  # else it may be of others
        while len(_indexes) >= INDEXES_AT_MOST:
            del _indexes[next(iter(_indexes))]
        _indexes[version] = index
    return index


_Version = tuple[str, bool, tuple[tuple[str, str], ...]]
"""Of an index: where it is of, whether it has patterns, and what it is made of, with the digest of each file."""
INDEXES_AT_MOST = 2
_indexes: dict[_Version, ModuleIndex] = {}


def _version(files: Files, directory: str, *, has_patterns: bool) -> _Version:
    sources = (*index_files(directory), *drop_ins(MODPROBE_FOLDERS, files.names))
    return directory, has_patterns, tuple((path, _digest(files, path)) for path in sources)


def _digest(files: Files, path: str) -> str:
    try:
        return files.digest(path)
    except OSError:
        return ""


def _names(files: Files, directory: str) -> str:
    """Of modules.alias what has no wildcard, without ever holding the rest in memory."""
    try:
        with files.open(f"{directory}/modules.alias") as lines:
            found = b"".join(line for line in lines if not any(each in line for each in b"*?["))
    except OSError:
        return ""
    return found.decode("utf-8", "surrogateescape")


async def inventory(files: Files, programs: Programs, wants: Wants) -> Inventory:
    """Facts of all that is wanted, and of all that it needs in turn: interpreters, libraries, their targets.

    Libraries are those that ldd says, which asks the loader of this machine: under another root it answers for the
    libraries here, and those that the root does not have are told as missing.
    """
    named = {name: path for name in sorted(wants.programs) if (path := programs.find(name))}
    ahead = {*wants.files, *named.values()}
    found = await asyncio.to_thread(_folders, files, wants.directories, wants.trees)
    ahead |= {f"{folder.path}/{name}" for folder in found.values() for name in folder.entries}
    found |= await _closed(files, programs, ahead, found)
    modules = {path: found[path] for path in wants.modules & found.keys()}
    release = wants.modules_directory.rpartition("/")[2]
    fed = await firmware.of_modules(modules, release=release, files=files, programs=programs)
    loaded = {path for each in fed.values() for path in each.files}
    found |= await _closed(files, programs, loaded, found)
    able = None
    if wants.collector:
        name = wants.collector[0]
        program = found.get(name if "/" in name else named.get(name, ""))
        if program is not None:
            able = await abilities.of_collector(wants.collector, program, files=files, programs=programs)
    configs = [found[path] for path in wants.kernel_configs]
    built = await asyncio.to_thread(lambda: abilities.of_kernel(configs, files=files))
    return Inventory(
        files=MappingProxyType(found),
        programs=MappingProxyType(named),
        firmware=MappingProxyType(dict(fed)),
        makedumpfile=able,
        unpackers=built,
    )


def _whereabouts(files: Files, machine: Machine, path: str) -> Whereabouts:
    """Component by component, so that nothing beyond a mount that may wait for ever is touched."""
    ahead = [part for part in reversed(path.split("/")) if part]
    at, links = "", list[str]()
    while ahead:
        part = ahead.pop()
        if part == "..":
            at = at.rpartition("/")[0]
            continue
        here = f"{at}/{part}"
        if mounts.may_wait(machine.mounts, here):
            rest = os.path.normpath("/".join((here, *reversed(ahead))))
            return Whereabouts(path=path, real=rest, links=tuple(links), is_beyond=True)
        said = _link(files, here)
        if not said:
            at = here
            continue
        links.append(here)
        if len(links) > LINKS_AT_MOST:
            return Whereabouts(path=path, real=path, links=tuple(dict.fromkeys(links)), is_endless=True)
        if said.startswith("/"):
            at = ""
        ahead += [part for part in reversed(said.split("/")) if part not in {"", "."}]
    return Whereabouts(path=path, real=at or "/", links=tuple(links))


def _link(files: Files, path: str) -> str:
    try:
        return files.link(path)
    except OSError:
        return ""  # whoever saves there will be told


async def _closed(
    files: Files, programs: Programs, wanted: Iterable[str], known: Mapping[str, FileFacts]
) -> dict[str, FileFacts]:
    """The facts of `wanted` and of all that they need, but for those that are known."""
    ahead = set(wanted) - known.keys()
    found: dict[str, FileFacts] = {}
    beginnings: dict[str, bytes] = {}
    while ahead:
        read = await asyncio.to_thread(_facts_of, files, sorted(ahead), beginnings)
        read = {
            path: _with_interpreter(each, beginnings.get(path, b""), programs) for path, each in read.items()
        }
        read = await with_libraries(files, programs, read, beginnings)
        found |= read
        # A relative interpreter is looked for nowhere: whoever needs it is told that it is missing.
        needed = {
            path
            for each in read.values()
            for path in (*each.libraries, each.interpreter)
            if path.startswith("/")
        }
        ahead = needed - found.keys() - known.keys()
    return found


def _hungry(files: Files) -> Iterable[Hungry]:
    if "mem_encrypt=on" in text(files, "/proc/cmdline").split():
        yield Hungry.ENCRYPTION
    if files.exists("/sys/bus/pci/drivers/mlx5_core"):
        yield Hungry.MELLANOX
    if any(name.startswith("arm-smmu-") for name in files.names("/sys/devices/platform")):
        yield Hungry.SMMU


def _kernels(files: Files, *, running: str, machine_id: str) -> Iterable[KernelFiles]:
    for release in sorted({*files.names("/lib/modules"), *([running] if running else [])}):
        modules = f"/lib/modules/{release}"
        images = capture_kernel.usual_images(release, machine_id=machine_id)
        image = next((path for path in images if files.exists(path)), "")
        has_modules = files.exists(f"{modules}/modules.dep")
        if image or has_modules:
            yield KernelFiles(release=release, image=image, modules=modules if has_modules else "")


def _is_told(device: BlockDevice) -> bool:
    return bool(device.contents or device.uuid or device.links or device.part_uuid)


def _node(files: Files, device: BlockDevice) -> str:
    path = f"/dev/{device.name.replace('!', '/')}"
    return path if device.size_bytes and files.stat(path).kind is Kind.BLOCK else ""


def _folders(files: Files, paths: Iterable[str], trees: Iterable[str]) -> dict[str, FileFacts]:
    """`paths` themselves, and `trees` with every folder below them; a link to a folder is no folder of the tree."""
    found = {}
    ahead = sorted({*paths, *trees})
    while ahead:
        path = ahead.pop()
        kind = files.stat(path).kind
        entries = files.names(path) if kind is Kind.DIRECTORY else ()
        found[path] = FileFacts(path=path, kind=kind, real=files.real(path), entries=entries)
        if any(path == tree or path.startswith(f"{tree}/") for tree in trees):
            below = (f"{path}/{name}" for name in entries)
            ahead += (
                each for each in below if files.stat(each).kind is Kind.DIRECTORY and not files.link(each)
            )
    return found


def _facts_of(files: Files, paths: Iterable[str], beginnings: dict[str, bytes]) -> dict[str, FileFacts]:
    return {path: _file(files, path, beginnings) for path in paths}


def _file(files: Files, path: str, beginnings: dict[str, bytes]) -> FileFacts:
    try:
        seen = files.stat(path)
        real = files.real(path)
        if seen.kind is not Kind.FILE:
            return FileFacts(path=path, kind=seen.kind, real=real, mode=seen.mode & 0o7777)
        digest = files.digest(path)
        beginning, loaded_bytes = _begins.get(digest) or _beginning(files, path)
        if files.stat(path) == seen:  # else it may be that of other contents
            _remember_beginning(digest, (beginning, loaded_bytes))
        beginnings[path] = beginning
    except OSError as fault:
        return FileFacts(path=path, kind=Kind.FILE, real=path, unreadable=fault.strerror or str(fault))
    return FileFacts(
        path=path,
        kind=Kind.FILE,
        real=real,
        mode=seen.mode & 0o7777,
        size_bytes=seen.size_bytes,
        loaded_bytes=loaded_bytes,
        digest=digest,
    )


_begins: dict[str, tuple[bytes, int]] = {}
"""By digest, how a file begins, and the bytes that it takes in memory should it be a kernel: so no file is opened twice."""


def _beginning(files: Files, path: str) -> tuple[bytes, int]:
    beginning = files.read_bytes(path, limit=kernel_size.HEADER_BYTES)
    return beginning[:BEGINNING_BYTES], kernel_size.loaded_bytes(beginning)


def _remember_beginning(digest: str, begins: tuple[bytes, int]) -> None:
    if len(_begins) > BEGINNINGS_AT_MOST:
        _begins.clear()
    _begins[digest] = begins


def _with_interpreter(each: FileFacts, beginning: bytes, programs: Programs) -> FileFacts:
    """`#!/usr/bin/env NAME` is run by NAME, wherever it is; one that is nowhere is told as /usr/bin/NAME."""
    program, argument = facts.interpreter(beginning)
    line = f"{program} {argument}".strip()
    if program.endswith("/env") and argument and not argument.startswith("-"):
        name = argument.split()[0]
        program = programs.find(name) or f"/usr/bin/{name}"
    return replace(each, interpreter=program, interpreter_line=line) if program else each
