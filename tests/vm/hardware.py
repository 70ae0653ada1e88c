"""Knows the test machine's parts as QEMU is told of them: its shape, its disks, and who executes its instructions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.vm.requirements import Cannot
from tests.vm.store import cache

if TYPE_CHECKING:
    from tests.vm.build import Image

Accelerator = Literal["kvm", "tcg"]
SLOTS = 8  # places where a disk or a card can be plugged in while the machine runs

_SPEED: dict[Accelerator, tuple[str, ...]] = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    # Of a processor with AVX glibc takes what emulates at half the speed: measured, a boot took 1.6 times as long.
    "tcg": ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Westmere"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What must be the same in the machine that was frozen and in those that wake from it."""

    memory_mib: int = 2048
    cpus: int = 2
    crashkernel: str = "256M"
    # QEMU's emulation lets a kernel meet, now and then, a breakpoint of its own text patching that is gone
    # already (Oops: int3): a machine that is not armed yet then boots again, as any server would.
    # What guards a kernel against processors that nobody emulates, and against itself, takes the emulator's time;
    # of the security modules each boot would load a program of systemd's into BPF, seconds of it.
    append: str = "quiet panic=5 mitigations=off init_on_alloc=0 lsm=lockdown,yama audit=0"
    cards: int = 0  # network cards, each at one end of a Wire in the machine's own directory
    devices: tuple[str, ...] = ()  # further words for QEMU, as they are

    def command_line(self, image: Image) -> str:
        crashkernel = f"crashkernel={self.crashkernel} " if self.crashkernel else ""
        return f"root=UUID={image.root_uuid} ro console=ttyS0,115200 {crashkernel}{self.append}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A cable between a card that a machine was built with and one plugged into another: two UNIX datagram sockets.

    What is sent while the other end is not there is lost, as on a real one."""

    directory: Path
    number: int

    def netdev(self, *, far_end: bool = False) -> dict[str, object]:
        """QEMU's netdev for one end, without its id."""
        near = {"type": "unix", "path": str(self.directory / f"wire{self.number}")}
        far = {"type": "unix", "path": str(self.directory / f"wire{self.number}-far")}
        local, remote = (far, near) if far_end else (near, far)
        return {"type": "dgram", "local": local, "remote": remote}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A further disk, made on the host; its /dev/disk/by-id name ends in `serial`.

    SATA disks cannot be plugged in while the machine runs, and a machine with NVMe cannot be frozen."""

    serial: str
    bus: Literal["virtio", "nvme", "sata"] = "virtio"
    size: str = "2G"
    filesystem: Literal["ext4", "xfs", "minix", "none"] = "none"
    label: str = ""
    made: Path | None = None  # a qcow2 to begin with, instead of an empty disk

    def make(self, directory: Path) -> Path:
        """The disk as a qcow2 in that directory."""
        if self.made is not None:
            return overlay_on(self.made, directory / f"{self.serial}.qcow2", backing_format="qcow2")
        raw = directory / f"{self.serial}.raw"
        on_host("truncate", "-s", self.size, str(raw))
        label = ("-L", self.label) if self.label else ()
        if self.filesystem == "xfs":
            on_host("mkfs.xfs", "-q", *label, str(raw))
        elif self.filesystem == "minix":
            on_host("mkfs.minix", "-3", str(raw))
        elif self.filesystem == "ext4":
            on_host("mke2fs", "-q", "-t", "ext4", *label, str(raw))
        return overlay_on(raw, directory / f"{self.serial}.qcow2", backing_format="raw")

    def device(self) -> dict[str, object]:
        """QEMU's device for it, without the bus."""
        match self.bus:
            case "virtio":
                return {"driver": "virtio-blk-pci", "drive": self.serial, "serial": self.serial}
            case "nvme":
                return {"driver": "nvme", "drive": self.serial, "serial": self.serial}
            case "sata":
                return {"driver": "ide-hd", "drive": self.serial, "serial": self.serial}


def accelerator(image: Image) -> Accelerator:
    """KVM if this image's kernel really boots under it (some nested hosts have a /dev/kvm that cannot), else TCG.

    $KDUMPD_VM_ACCEL (kvm or tcg) decides without a try; the outcome of a try is kept until the host reboots."""
    wish = os.environ.get("KDUMPD_VM_ACCEL", "auto")
    if wish in {"kvm", "tcg"}:
        return "kvm" if wish == "kvm" else "tcg"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = cache() / "kvm-works"
    question = f"{boot} {qemu_version()} {image.kernel}"
    if known.exists() and known.read_text().startswith(question):
        return "kvm" if known.read_text().endswith("yes") else "tcg"
    works = _boots_under_kvm(image)
    known.write_text(f"{question} {'yes' if works else 'no'}")
    return "kvm" if works else "tcg"


def _boots_under_kvm(image: Image) -> bool:
    """Whether the kernel alone comes as far as missing its root file system, within 20 s."""
    argv = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-no-user-config", "-nodefaults"]
    argv += [
        "-machine",
        "q35",
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-m",
        "512",
        "-display",
        "none",
        "-no-reboot",
    ]
    argv += ["-serial", "stdio", "-kernel", str(image.kernel), "-append", "console=ttyS0 panic=-1"]
    try:
        tried = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return b"Unable to mount root fs" in tried.stdout


def qemu_argv(shape: Shape, chosen: Accelerator, directory: Path, *, agent: int, monitor: int) -> list[str]:
    argv = ["qemu-system-x86_64", "-no-user-config", "-nodefaults", *_SPEED[chosen]]
    # Memory that another process can be given, as virtiofsd needs it.
    argv += ["-machine", "q35,memory-backend=memory"]
    argv += ["-object", f"memory-backend-memfd,id=memory,share=on,size={shape.memory_mib}M"]
    argv += ["-m", str(shape.memory_mib), "-smp", str(shape.cpus), "-display", "none"]
    argv += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    argv += ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
    argv += ["-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={agent}"]
    argv += ["-device", "virtserialport,chardev=agent,name=org.kdumpd.test", "-device", "virtio-rng-pci"]
    for slot in range(SLOTS):
        argv += ["-device", f"pcie-root-port,id=slot{slot},chassis={slot + 1}"]
    for number in range(shape.cards):
        netdev = {**Wire(directory=directory, number=number).netdev(), "id": f"wire{number}"}
        argv += ["-netdev", json.dumps(netdev)]
        card = f"netdev=wire{number},mac=52:54:00:00:0f:{number + 1:02x},romfile="
        argv += ["-device", f"virtio-net-pci,{card}"]
    return [*argv, *shape.devices]


def overlay_on(backing: Path, overlay: Path, *, backing_format: str) -> Path:
    on_host("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(backing), "-F", backing_format, str(overlay))
    return overlay


def on_host(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Cannot(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def qemu_version() -> str:
    return on_host("qemu-system-x86_64", "--version").splitlines()[0]


def host_cpu() -> str:
    flags = [
        line
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("model name", "flags"))
    ]
    return f"{platform.release()} {flags[:2]}"
