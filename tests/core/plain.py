"""A machine of which nothing is told but what every machine has: a test puts in what it is about."""

from __future__ import annotations

from kdumpd.core.machine import CrashKernel, Machine

PLAIN = Machine(
    architecture="x86_64",
    kernel_release="6.1",
    host_name="anvil",
    machine_id="",
    boot_id="",
    command_line="",
    memory_bytes=1 << 31,
    cpus=2,
    layout="l",
    crash=CrashKernel(layout="old"),
)
