"""A small real image out of this machine's own programs, and doors to build it with."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdumpd.core import environment
from kdumpd.core.environment import CaptureEnvironment
from kdumpd.core.plan import (
    BasePlan,
    Engine,
    FromHost,
    ImageItem,
    Link,
    LoadPlan,
    ModuleFile,
    OverlayPlan,
    Plan,
    Written,
)
from kdumpd.host.doors import Files, Programs
from kdumpd.host.real import RealFiles, RealPrograms

RELEASE = "6.1.0-test"
AGENT = '#!/bin/sh\n. /kdumpd/plan.env\necho "$plan_capture_id"\n'


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def module(name: str, *, depends: str = "", release: str = RELEASE) -> bytes:
    """As much of a kernel module as the proof looks at."""
    words = f"name={name}\0depends={depends}\0vermagic={release} SMP preempt \0"
    return b"\x7fELF" + bytes(60) + b"license=GPL\0" + words.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A root directory with modules and programs in it, and a plan for an image of them."""

    root: Path
    files: Files
    programs: Programs
    plan: Plan

    @property
    def store(self) -> Path:
        return self.root / "var/lib/kdumpd"


def real_program(root: Path, path: str) -> list[ImageItem]:
    """A program of this machine with all that its loader opens, copied into the root."""
    listed = subprocess.run(["ldd", path], capture_output=True, check=False, text=True).stdout
    libraries = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    items: list[ImageItem] = []
    for each in (path, *libraries):
        target = root / each.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(each, target)
        items.append(FromHost(path=each, source=each, digest=digest(target.read_bytes()), mode=0o755))
    return items


def packed_module(root: Path, name: str, form: str, **words: str) -> ModuleFile:
    plain = module(name, **words)
    source = root / f"lib/modules/{RELEASE}/kernel/{name}.ko{form}"
    source.parent.mkdir(parents=True, exist_ok=True)
    match form:
        case ".xz":
            source.write_bytes(lzma.compress(plain))
        case ".gz":
            source.write_bytes(gzip.compress(plain))
        case ".zst":
            zstd = subprocess.run(["zstd", "-q", "-c"], input=plain, capture_output=True, check=True)
            source.write_bytes(zstd.stdout)
        case _:
            source.write_bytes(plain)
    return ModuleFile(
        name=name,
        source=f"/lib/modules/{RELEASE}/kernel/{name}.ko{form}",
        digest=digest(source.read_bytes()),
        path=f"/lib/modules/{RELEASE}/{name}.ko",
    )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    root = tmp_path / "root"
    (root / "boot").mkdir(parents=True)
    (root / "boot/vmlinuz").write_bytes(b"MZ" + bytes(5000))
    told = CaptureEnvironment(
        capture_id='it\'s "one" $(id)\n`x`',
        version="1",
        kernel_release=RELEASE,
        host_name="höst\udcff",
        target_fstype="ext4",
        target_device="UUID=1",
        kdump_pre="",
    )
    base = BasePlan(
        engine=Engine.DIRECT,
        recipe=1,
        kernel_release=RELEASE,
        compression_level=3,
        modules=(
            packed_module(root, "virtio", ".xz"),
            packed_module(root, "virtio_blk", ".zst", depends="virtio"),
            packed_module(root, "ext4", ".gz", depends="jbd2"),
            packed_module(root, "jbd2", ""),
        ),
        items=(*real_program(root, "/usr/bin/busybox"), Link(path="/bin/sh", target="/usr/bin/busybox")),
    )
    overlay = OverlayPlan(
        recipe=1,
        items=(
            Written(path="/init", text=AGENT, mode=0o755),
            Written(path="/kdumpd/plan.env", text=environment.render(told)),
            Written(path="/root/.ssh/key", text="secret", mode=0o600),
        ),
    )
    load = LoadPlan(
        kernel_image="/boot/vmlinuz",
        kernel_digest="k",
        command_line="irqpoll",
        kexec_flags=("-a",),
        layout="",
    )
    plan = Plan(
        base=base,
        overlay=overlay,
        load=load,
        engine_reason="",
        target={"type": "filesystem"},
        working_set_bytes=60 << 20,
        kernel_bytes=42 << 20,
        capture_id="c",
    )
    return Bench(root=root, files=RealFiles(str(root)), programs=RealPrograms(str(root)), plan=plan)
