"""What decides whether a fault of the kernel is a crash at all, and what could end the capture from outside."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from kdumpd.core.capture_kernel import command_line
from kdumpd.core.commandline import words
from kdumpd.core.finding import Finding, Gravity, sysctl
from kdumpd.core.makedumpfile import capture_cpus
from kdumpd.core.symptoms import POST_NOTIFIERS, Symptoms

HANGS = ("kernel.softlockup_panic", "kernel.hardlockup_panic", "kernel.hung_task_panic")
NMIS = ("kernel.unknown_nmi_panic", "kernel.panic_on_unrecovered_nmi")
SOFTWARE = "Software Watchdog"
"""The identity of softdog: it ends with the kernel that runs it."""
SYSRQ_DUMP = 8
"""The bit of kernel.sysrq that lets the keyboard crash the machine (admin-guide/sysrq)."""
SECONDS_UNTIL_REBOOT = 10
_PASSTHROUGH = re.compile(
    r"(?:^|\s)(?:iommu=(?:pt|off)|intel_iommu=off|amd_iommu=off|iommu\.passthrough=1)(?=\s|$)"
)
_ENCRYPTED_GUESTS = frozenset({"SEV-SNP", "TDX"})


def findings(of: Symptoms) -> Iterator[Finding]:
    yield from _oops(of)
    yield from _hangs(of)
    yield from _after_a_panic(of)
    yield from _watchdogs(of)
    yield from _capture_kernel(of)
    yield from _hardware(of)


def _oops(of: Symptoms) -> Iterator[Finding]:
    if of.sysctls.get("kernel.panic_on_oops") == "0":
        yield Finding(
            code="oops-does-not-panic",
            gravity=Gravity.RISK,
            message="an oops would not crash this machine (kernel.panic_on_oops is 0): it runs on in a damaged "
            f"state, and nothing is captured{_set_by(of, 'kernel.panic_on_oops')}",
            remedy="make an oops panic, now and at each boot",
            command=sysctl(of, "1", "kernel.panic_on_oops"),
        )


def _hangs(of: Symptoms) -> Iterator[Finding]:
    quiet = [name for name in HANGS if of.sysctls.get(name) == "0"]
    if quiet:
        yield Finding(
            code="hangs-do-not-panic",
            gravity=Gravity.NOTE,
            message=f"a processor or a task that hangs does not crash this machine: {_zero(quiet)}",
            remedy="if you want a dump of a hang, make it panic; the machine then reboots",
            command=sysctl(of, "1", *quiet),
        )
    silent = [name for name in NMIS if of.sysctls.get(name) == "0"]
    if silent:
        yield Finding(
            code="nmi-does-not-panic",
            gravity=Gravity.NOTE,
            message="an NMI sent from outside (`ipmitool power diag`, `virsh inject-nmi`, a button) does not crash this "
            f"machine: {_zero(silent)}",
            remedy="if that is how you get a dump of a machine that hangs, make it panic",
            command=sysctl(of, "1", *silent),
        )
    turned_off = of.sysctl_files.get("kernel.nmi_watchdog")
    if of.sysctls.get("kernel.nmi_watchdog") == "0" and turned_off is not None and turned_off.value == "0":
        yield Finding(
            code="hard-lockups-unseen",
            gravity=Gravity.NOTE,
            message="kernel.nmi_watchdog is 0: a processor that hangs with interrupts off is not even "
            f"noticed{_set_by(of, 'kernel.nmi_watchdog')}",
            remedy="turn it on",
            command=sysctl(of, "1", "kernel.nmi_watchdog"),
        )
    sysrq = of.sysctls.get("kernel.sysrq", "")
    if sysrq.isdecimal() and int(sysrq) != 1 and not int(sysrq) & SYSRQ_DUMP:
        yield Finding(
            code="sysrq-cannot-crash",
            gravity=Gravity.NOTE,
            message=(
                f"kernel.sysrq is {sysrq}: the keys Alt-SysRq-C do not crash the machine (/proc/sysrq-trigger "
                "still does)"
            ),
            remedy="allow it if that is how you get a dump of a machine that hangs",
            command=sysctl(of, str(int(sysrq) | SYSRQ_DUMP), "kernel.sysrq"),
        )


def _after_a_panic(of: Symptoms) -> Iterator[Finding]:
    if of.sysctls.get("kernel.panic") == "0":
        yield Finding(
            code="panic-waits-for-ever",
            gravity=Gravity.NOTE,
            message="kernel.panic is 0: if the capture kernel is not loaded or does not start, the machine hangs "
            f"until somebody resets it{_set_by(of, 'kernel.panic')}",
            remedy="make it reboot by itself",
            command=sysctl(of, str(SECONDS_UNTIL_REBOOT), "kernel.panic"),
        )
    if of.has_post_notifiers:
        word = "crash_kexec_post_notifiers"
        is_said = any(each.partition("=")[0] == word for each in words(of.machine.command_line))
        yield Finding(
            code="notifiers-before-capture",
            # The kernel sets it by itself there, for the hypervisor is told of the panic by a notifier.
            gravity=Gravity.NOTE if of.is_on_hyperv else Gravity.RISK,
            message=f"{word} is set: after a panic other code runs before the capture kernel, and if it hangs nothing is "
            "captured",
            remedy=f"remove {word} from the kernel's command line" if is_said else "turn it off",
            command="" if of.is_on_hyperv else f"echo N >{POST_NOTIFIERS}",
        )
    if of.sysctls.get("kernel.ftrace_dump_on_oops", "0") != "0":
        yield Finding(
            code="ftrace-before-capture",
            gravity=Gravity.NOTE,
            message="kernel.ftrace_dump_on_oops is set: trace buffers are printed to the console first, which may take many "
            "minutes on a serial one",
            remedy="turn it off",
            command=sysctl(of, "0", "kernel.ftrace_dump_on_oops"),
        )


def _watchdogs(of: Symptoms) -> Iterator[Finding]:
    known = of.config.extra_modules if of.config is not None else ()
    biting = [
        dog
        for dog in of.watchdogs
        if dog.is_running and dog.identity != SOFTWARE and dog.module and dog.module not in known
    ]
    modules = dict.fromkeys(
        (*known, *(dog.module for dog in biting))
    )  # whichever line is run, none takes one out
    for dog in biting:
        by = (
            f", kept quiet by systemd (RuntimeWatchdogSec={of.runtime_watchdog})"
            if of.runtime_watchdog
            else ""
        )
        yield Finding(
            code="watchdog-bites",
            gravity=Gravity.RISK,
            message=f"{dog.name} ({dog.identity or dog.module}) is running{by}, and nothing keeps it quiet after a "
            f"crash: it resets the machine after {dog.timeout_seconds} seconds, even if the dump is not "
            "saved by then",
            remedy=(
                "load its driver in the capture kernel, where it stops the watchdog or keeps it quiet, or turn "
                "it off"
            ),
            command=f"kdumpctl config set extra_modules {shlex.join(modules)}",
        )


def _capture_kernel(of: Symptoms) -> Iterator[Finding]:
    line = command_line(of.sysconfig, of.machine, capture_id="")
    cpus = capture_cpus(line)
    is_x86 = of.machine.architecture == "x86_64"
    if cpus is None:
        yield Finding(
            code="capture-takes-all-processors",
            gravity=Gravity.RISK,
            message="neither nr_cpus= nor maxcpus= is on the capture kernel's command line: each processor that it "
            "starts takes memory, and starting one may reset the machine",
            remedy="add nr_cpus=1 to KDUMP_COMMANDLINE_APPEND in the sysconfig file",
        )
    elif cpus > 1 and is_x86 and "disable_cpu_apicid=" not in line:
        yield Finding(
            code="capture-many-processors",
            gravity=Gravity.NOTE,
            message=f"the capture kernel may start {cpus} processors: if the crash was on another one than the "
            "first, starting the first one may reset the machine",
            remedy="nr_cpus=1 is safe; else add disable_cpu_apicid= with the first processor's APIC id (admin-guide/kdump)",
        )
    panics = [word for word in words(line) if word.startswith("panic=")]
    if panics and panics[-1] in {"panic=0", "panic="}:
        yield Finding(
            code="capture-waits-for-ever",
            gravity=Gravity.NOTE,
            message=(
                f"{panics[-1]} is on the capture kernel's command line: if the capture kernel panics, the "
                "machine hangs"
            ),
            remedy="remove it from KDUMP_COMMANDLINE_APPEND: kdumpd adds panic=10",
        )


def _hardware(of: Symptoms) -> Iterator[Finding]:
    if of.encryption:
        is_guest = of.encryption in _ENCRYPTED_GUESTS
        yield Finding(
            code="memory-encryption",
            gravity=Gravity.RISK if is_guest else Gravity.NOTE,
            message=(
                f"this is a guest whose memory is encrypted ({of.encryption}): many kernels cannot start another one there"
                if is_guest
                else f"the memory is encrypted ({of.encryption}): the capture kernel has to have the same mem_encrypt="
            ),
            remedy="run `kdumpctl test-crash` when the machine may be down, to see whether a crash is captured",
        )
    line = command_line(of.sysconfig, of.machine, capture_id="")
    if of.has_iommu and not _PASSTHROUGH.search(line):
        yield Finding(
            code="iommu-translates",
            gravity=Gravity.NOTE,
            message="an IOMMU is in use: the capture kernel takes over its tables, and a device that is still busy "
            "may keep its driver from starting there",
            remedy="if a test crash hangs or finds no disk, add intel_iommu=off or amd_iommu=off to "
            "KDUMP_COMMANDLINE_APPEND",
        )


def _zero(names: list[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} 0"


def _set_by(of: Symptoms, name: str) -> str:
    setting = of.sysctl_files.get(name)
    return f"; {setting.file}:{setting.line} sets it" if setting is not None else ""
