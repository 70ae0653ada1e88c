"""What keeps this kernel from taking a crash image at all, whatever is planned."""

from __future__ import annotations

from kdumpd.core.machine import CrashKernel, Lockdown
from kdumpd.core.plan import Plan
from kdumpd.core.problems import Problem


def obstacles(crash: CrashKernel, plan: Plan | None = None) -> tuple[Problem, ...]:
    """Named; nothing of it can be helped by trying."""
    if not crash.layout:
        return (
            Problem(
                code="not-supported",
                message="this kernel cannot load a crash kernel",
                hint="it needs CONFIG_CRASH_DUMP and CONFIG_KEXEC or CONFIG_KEXEC_FILE",
            ),
        )
    if crash.fadump:
        return (
            Problem(
                code="fadump",
                message="this machine uses firmware-assisted dump, which kdumpd does not arm",
                hint="boot with fadump=off and crashkernel= to use a crash kernel",
            ),
        )
    if crash.reserved_bytes == 0:
        return (
            Problem(
                code="no-reserved-memory",
                message="no memory is reserved for a crash kernel",
                hint="set crashkernel= with `kdumpctl reserve set` and reboot",
            ),
        )
    if crash.load_disabled:
        return (
            Problem(
                code="load-disabled",
                message="kernel.kexec_load_disabled is 1: nothing can be loaded or unloaded until a reboot",
                hint="see who sets it in /etc/sysctl.d",
            ),
        )
    if crash.loads_left == 0:
        return (
            Problem(
                code="load-limit",
                message="kernel.kexec_load_limit_panic is used up: nothing can be loaded or unloaded until a reboot",
                hint="see who sets it in /etc/sysctl.d",
            ),
        )
    if crash.lockdown is not Lockdown.NONE and plan is not None and "-c" in plan.load.kexec_flags:
        return (
            Problem(
                code="lockdown",
                message=f"kernel lockdown ({crash.lockdown}) refuses the old kexec call that KEXEC_ARGS asks for with -c",
                hint="remove -c from KEXEC_ARGS; a signed kernel can be loaded with -s",
            ),
        )
    return ()
