"""Engine direct: packs the planned files into the two layers of the capture image, and nothing that was not planned."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import lzma
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

from kdumpd.core import newc
from kdumpd.core.identity import digest_of
from kdumpd.core.layer import Placed, base_layer, overlay_layer
from kdumpd.core.plan import (
    BasePlan,
    Engine,
    Folder,
    FromHost,
    Link,
    ModuleFile,
    OverlayPlan,
    Packing,
    Written,
)
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.storing import is_out_of_space, storing_fault
from kdumpd.host.doors import Files, Output, ProgramFailed, Programs
from kdumpd.host.finishing import until_stopped

OVERLAY_LEVEL = 9  # of gzip, for kilobytes: no program has to be started for them
ULTRA_LEVEL = 19  # zstd wants to be told twice above this
WINDOW_LOG = 20
"""The kernel holds the window in memory beside the archive and what it has unpacked so far: 1 MiB in place of 4 at level 9
makes an image for a plain disk 1 percent larger, and of 8 to 128 MiB at higher levels it would run out."""
PACK_SECONDS = 1800.0  # the slowest machine at the highest level; a bound, not a wish


async def build_base(
    plan: BasePlan,
    *,
    files: Files,
    programs: Programs,
    target: str,
    on_stage: Callable[[str], None],
    beneath: str = "",
) -> None:
    """Write the base to `target`, a new file in a private folder, which the caller removes whatever happens.

    It is not synced: it is to be published as another file, or not at all.

    `beneath` is an archive that what is planned is laid over: the two become one.

    Raises Trouble: `changed-while-building` when a file is no longer as planned (look again), `module-damaged`,
    `zstd-missing`, `packing-failed`, `no-space`, `store-unwritable`, `store-failing`.
    """
    if plan.engine is not Engine.DIRECT and not beneath:
        raise Trouble(
            Problem(code="engine-missing", message=f"engine {plan.engine} cannot be asked to build directly")
        )
    layer = base_layer(plan)
    on_stage("modules")
    unpacked = await _unpack_zstd_modules(
        plan.modules, files=files, programs=programs, folder=f"{target}.modules"
    )
    await _pack(
        layer,
        unpacked,
        plan.packing,
        level=plan.compression_level,
        files=files,
        programs=programs,
        target=target,
        on_stage=on_stage,
        beneath=beneath,
    )


async def build_overlay(
    plan: OverlayPlan,
    *,
    base: BasePlan,
    files: Files,
    target: str,
) -> None:
    """Write the overlay that lies on `base` to `target`, which is not synced: it is to be joined to the base.

    No program has to be started for it: zstd is for the base. Raises Trouble as `build_base` does.
    """
    layer = overlay_layer(plan, base=base)

    def pack(stop: threading.Event) -> None:
        _write_archive(
            files, _Contents(files, {}, stop), layer, target, packing=plan.packing, level=OVERLAY_LEVEL
        )

    try:
        await _in_thread(pack)
    except OSError as fault:
        raise Trouble(storing_fault(fault, target.rpartition("/")[0])) from fault


async def _pack(
    layer: Sequence[Placed],
    unpacked: dict[str, str],
    packing: Packing,
    *,
    level: int,
    files: Files,
    programs: Programs,
    target: str,
    on_stage: Callable[[str], None],
    beneath: str,
) -> None:
    is_for_zstd = packing is Packing.ZSTD
    archive = f"{target}.cpio" if is_for_zstd else target
    try:
        on_stage("files")
        await _in_thread(
            lambda stop: _write_archive(
                files,
                _Contents(files, unpacked, stop),
                layer,
                archive,
                packing=Packing.NONE if is_for_zstd else packing,
                level=level,
                beneath=beneath,
            )
        )
        if not is_for_zstd:
            return
        on_stage("compress")
        await _zstd(
            programs,
            (
                *(("--ultra",) if level > ULTRA_LEVEL else ()),
                f"-{level}",
                f"--zstd=wlog={WINDOW_LOG}",
                "-T1",  # one and the same result on every machine
                "-o",
                files.outside(target),
                files.outside(archive),
            ),
            target=target,
        )
        files.remove(archive)
    except OSError as fault:
        raise Trouble(storing_fault(fault, target.rpartition("/")[0])) from fault


async def _unpack_zstd_modules(
    modules: Iterable[ModuleFile], *, files: Files, programs: Programs, folder: str
) -> dict[str, str]:
    """Modules that only the zstd program can unpack, from source to where they lie unpacked."""
    packed = [module.source for module in modules if module.source.endswith(".zst")]
    if not packed:
        return {}
    files.make_folder(folder, lasts=False)
    places: dict[str, str] = {}
    for number, source in enumerate(packed):
        # One at a time: a kernel may have two modules of one name in different folders.
        places[source] = f"{folder}/{number}.ko"
        arguments = ("-d", "-o", files.outside(places[source]), files.outside(source))
        await _zstd(programs, arguments, target=folder)
    return places


async def _zstd(programs: Programs, arguments: tuple[str, ...], *, target: str) -> Output:
    try:
        return await programs.run(("zstd", "-q", "-f", *arguments), timeout=PACK_SECONDS, gentle=True)
    except ProgramFailed as fault:
        said = fault.output.stderr.decode("utf-8", "replace").strip()
        if fault.output.status == 127:
            raise Trouble(
                Problem(
                    code="zstd-missing",
                    message="the program zstd is missing",
                    hint="install the package zstd",
                )
            ) from fault
        if is_out_of_space(said):
            raise Trouble(
                Problem(
                    code="no-space",
                    message=f"there is no room for the image in {target.rpartition('/')[0]}",
                    hint="make room there; kdumpd tries again by itself",
                )
            ) from fault
        raise Trouble(
            Problem(code="packing-failed", message=f"zstd {fault.reason}", hint=" ".join(fault.output.argv))
        ) from fault


class _Contents:
    """What the entries of a layer hold, read one at a time and compared with what was planned."""

    def __init__(self, files: Files, unpacked: dict[str, str], stop: threading.Event) -> None:
        self._files = files
        self._unpacked = unpacked
        self._stop = stop

    def entry(self, placed: Placed) -> tuple[newc.Entry, Iterable[bytes]]:
        if self._stop.is_set():
            raise _Stopped
        mode, data = self._mode_and_data(placed)
        return newc.Entry(path=placed.path, mode=mode, size_bytes=len(data)), (data,)

    def beneath(
        self, source: newc.Source, ours: dict[str, Placed]
    ) -> Iterator[tuple[newc.Entry, Iterable[bytes]]]:
        """The entries of another archive that are not ours as well; a folder of both stands where it stood there.

        Nodes of devices are left out: the kernel's own /dev has them. Raises Trouble (`image-damaged`).
        """
        try:
            for entry, data in newc.read(source):
                path = entry.path.removeprefix("./").strip("/")
                own = ours.get(path)
                if self._stop.is_set():
                    raise _Stopped
                if own is not None and isinstance(own.content, Folder):
                    yield self.entry(ours.pop(path))
                elif own is None and path != "." and (entry.is_folder or entry.is_link or entry.is_regular):
                    yield newc.Entry(path=path, mode=entry.mode, size_bytes=len(data)), (data,)
        except newc.Damaged as fault:
            raise Trouble(
                Problem(code="image-damaged", message=f"what the engine made cannot be read: {fault}")
            ) from fault

    def _mode_and_data(self, placed: Placed) -> tuple[int, bytes]:
        content = placed.content
        match content:
            case Folder():
                return newc.FOLDER | content.mode, b""
            case Link():
                return newc.LINK | 0o777, content.target.encode("utf-8", "surrogateescape")
            case Written():
                return newc.REGULAR | content.mode, content.text.encode("utf-8", "surrogateescape")
            case FromHost():
                return newc.REGULAR | content.mode, self._as_planned(content)
            case ModuleFile():
                return newc.REGULAR | 0o644, self._module(content)

    def _as_planned(self, item: FromHost | ModuleFile) -> bytes:
        try:
            data = self._files.read_bytes(item.source)
        except FileNotFoundError as fault:
            raise _changed(item.source, "is gone") from fault
        except OSError as fault:
            raise Trouble(
                Problem(
                    code="unreadable",
                    message=f"{item.source} cannot be read: {fault.strerror}",
                    file=item.source,
                )
            ) from fault
        if digest_of(data) != item.digest:
            raise _changed(item.source, "is another file than it was")
        return data

    def _module(self, module: ModuleFile) -> bytes:
        data = self._as_planned(module)
        if module.source in self._unpacked:
            return self._files.read_bytes(self._unpacked[module.source])
        try:
            if module.source.endswith(".xz"):
                return lzma.decompress(data)
            if module.source.endswith(".gz"):
                return gzip.decompress(data)
        except (lzma.LZMAError, zlib.error, OSError, EOFError) as fault:
            raise Trouble(
                Problem(
                    code="module-damaged",
                    message=f"kernel module {module.name} cannot be unpacked: {fault}",
                    hint="reinstall the package of this kernel",
                    file=module.source,
                )
            ) from fault
        return data


class _Stopped(Exception):
    """Nobody waits for the archive any more."""


def _write_archive(
    files: Files,
    contents: _Contents,
    layer: Iterable[Placed],
    archive: str,
    *,
    packing: Packing,
    level: int,
    beneath: str = "",
) -> None:
    """Packed on the way but for zstd, which is a program's."""

    def entries() -> Iterator[tuple[newc.Entry, Iterable[bytes]]]:
        ours = {placed.path: placed for placed in layer}
        if beneath:
            with files.open(beneath) as source:
                yield from contents.beneath(source, ours)
        for placed in ours.values():
            yield contents.entry(placed)

    with files.create(archive) as file, _packed_into(file, packing, level=level) as take:
        newc.write(entries(), take)


@contextlib.contextmanager
def _packed_into(file: BinaryIO, packing: Packing, *, level: int) -> Iterator[Callable[[bytes], object]]:
    if packing is not Packing.GZIP:
        yield file.write
        return
    # Without name and time: one and the same result on every machine.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=level, fileobj=file, mtime=0) as packer:
        yield packer.write


async def _in_thread(work: Callable[[threading.Event], None]) -> None:
    """Run `work` in a thread; cancelled, it is told to stop and waited for, so that it leaves nothing behind us."""
    stop = threading.Event()
    await until_stopped(asyncio.ensure_future(asyncio.to_thread(work, stop)), stop.set)


def _changed(source: str, how: str) -> Trouble:
    return Trouble(
        Problem(
            code="changed-while-building",
            message=f"{source} {how} since the image was planned",
            hint="kdumpd looks again by itself",
            file=source,
        )
    )
