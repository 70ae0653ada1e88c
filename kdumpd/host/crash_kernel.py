"""Reads what the kernel says of its crash image and of loading one."""

from __future__ import annotations

from kdumpd.core import facts
from kdumpd.core.machine import CrashKernel
from kdumpd.host.doors import Files, contents, text

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def crash_kernel(files: Files, iomem: str = "") -> CrashKernel:
    """All of it; `iomem` where that was read already."""
    new, old = "/sys/kernel/kexec/crash_", "/sys/kernel/kexec_crash_"
    layout, prefix = ("new", new) if files.exists(f"{new}loaded") else ("old", old)
    if not files.exists(f"{prefix}loaded"):
        layout = ""
    # The size cannot be read while a load is running (EBUSY); the reservation stands in iomem as well.
    reserved = facts.number(text(files, f"{prefix}size")) or facts.crash_kernel_bytes(
        iomem or text(files, "/proc/iomem")
    )
    fadump = text(files, "/sys/kernel/fadump/enabled") or text(files, "/sys/kernel/fadump_enabled")
    return CrashKernel(
        layout=layout,
        loaded=text(files, f"{prefix}loaded") == "1",
        reserved_bytes=reserved,
        load_disabled=text(files, "/proc/sys/kernel/kexec_load_disabled") == "1",
        loads_left=facts.number(text(files, "/proc/sys/kernel/kexec_load_limit_panic"), otherwise=-1),
        lockdown=facts.parse_lockdown(text(files, "/sys/kernel/security/lockdown")),
        secure_boot=facts.is_secure_boot(contents(files, SECURE_BOOT)),
        cpu_hotplug=text(files, "/sys/devices/system/cpu/crash_hotplug") == "1",
        memory_hotplug=text(files, "/sys/devices/system/memory/crash_hotplug") == "1",
        fadump=fadump == "1",
    )
