"""What was measured, and on what: asked of both machines and of this host."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from tests.bench.systems import Systems
from tests.vm.hardware import qemu_version


def versions(both: Systems) -> dict[str, str]:
    """By name, for people."""
    packages = {
        "kdumpd": (both.kdumpd, "kdumpd"),
        "kdump-tools": (both.kdump_tools, "kdump-tools"),
        "initramfs-tools": (both.kdump_tools, "initramfs-tools"),
        "makedumpfile": (both.kdumpd, "makedumpfile"),
        "kexec-tools": (both.kdumpd, "kexec-tools"),
    }
    told: dict[str, str] = {}
    with both.kdumpd.wake() as ours, both.kdump_tools.wake() as theirs:
        awake = {id(both.kdumpd): ours, id(both.kdump_tools): theirs}
        kernels = {machine.sh("uname -r -v") for machine in (ours, theirs)}
        told["kernel"] = ", ".join(sorted(kernels))
        for name, (frozen, package) in packages.items():
            told[name] = awake[id(frozen)].sh(f"dpkg-query -W -f '${{Version}}' {package}")
        told["Debian"] = ours.sh("cat /etc/debian_version")
    if commit := _commit():
        told["kdumpd"] += f" of {commit}"
    shape = both.kdumpd.shape
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    told["the machine"] = (
        f"{shape.cpus} processors, {shape.memory_mib} MiB, crashkernel={shape.crashkernel}, ext4 on virtio"
    )
    told["QEMU"] = f"{qemu_version()}, accelerator {both.kdumpd.accelerator}"
    told["host"] = (
        f"{os.cpu_count()} processors{f', {model[1]}' if model else ''}, Linux {platform.release()}"
    )
    return told


def _commit() -> str:
    """Of the working tree, where it is one; whether it has changes that are not committed is said too."""
    here = Path(__file__).parent
    argv = ("git", "-C", str(here), "describe", "--always", "--dirty=, changed", "--abbrev=10")
    told = subprocess.run(argv, capture_output=True, text=True, check=False)
    return f"commit {told.stdout.strip()}" if told.returncode == 0 else ""
