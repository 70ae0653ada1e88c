"""What keeps the crash kernel from being loaded, or from being ours: the kernel's locks, the wish, the daemon, other tools."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kdumpd.core.finding import Finding, Gravity, of_problem, unless_loaded
from kdumpd.core.machine import Lockdown
from kdumpd.core.next_step import AT_WORK
from kdumpd.core.obstacles import obstacles
from kdumpd.core.problems import errors
from kdumpd.core.symptoms import SYSCTL_FOLDERS, Symptoms, Sysctl

WISH, DAEMON = "kdump.service", "kdumpd.service"
OTHERS: Mapping[str, str] = MappingProxyType(
    {
        "kdump-tools.service": "kdump-tools of Debian and Ubuntu",
        "kdump-early.service": "openSUSE's kdump",
        "kdumpst-init.service": "kdumpst of Arch Linux and SteamOS",
    }
)
"""Units of other tools that load a crash kernel at boot."""
FIRST_KEXEC_WITH_AUTO = (2, 0, 17)
"""The release that has -a (kexec-tools commit 20fea93, April 2018)."""
FEW_LOADS = 3
_SETTINGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "load-disabled": ("kernel.kexec_load_disabled", "0"),
        "load-limit": ("kernel.kexec_load_limit_panic", "-1"),
    }
)
"""With the value that forbids nothing. Neither lets itself be loosened before a reboot (admin-guide/sysctl/kernel)."""
_AS_ROOT_ONLY = "run it as root"
_REBOOT = "systemctl reboot"
RESTART = f"systemctl start {DAEMON} && kdumpctl restart"


def findings(of: Symptoms) -> Iterator[Finding]:
    yield from _locks(of)
    yield from _wishes(of)
    yield from _daemon(of)
    yield from _others(of)
    yield from _versions(of)


def unexplained(of: Symptoms) -> Iterator[Finding]:
    """What is loaded is nothing, or not ours, or not what is planned, and nothing else that was found says why."""
    daemon = of.daemon
    if not of.machine.crash.loaded:
        said = daemon.message if daemon is not None and daemon.is_running else "no crash kernel is loaded"
        if daemon is not None and daemon.activity in AT_WORK:
            yield _finding(
                "at-work", Gravity.FAILURE, said, "wait: kdumpd is at work, `kdumpctl watch` shows it"
            )
            return
        yield _finding("not-loaded", Gravity.FAILURE, said, "arm the machine", command=RESTART)
    elif (
        daemon is not None
        and daemon.state == "stale"
        and not daemon.error
        and not errors(of.resolution.problems)
    ):
        yield _finding(
            "stale",
            Gravity.RISK,
            daemon.message,
            "`kdumpctl why` says what differs; load what the configuration says",
            command="kdumpctl restart",
        )


def _locks(of: Symptoms) -> Iterator[Finding]:
    crash, plan = of.machine.crash, of.resolution.plan
    for problem in obstacles(crash, plan):
        if problem.code == "no-reserved-memory":
            continue  # what is known of the reservation says more
        remedy, command = _unlocking(of, *_SETTINGS[problem.code]) if problem.code in _SETTINGS else ("", "")
        yield of_problem(problem, unless_loaded(of), remedy=remedy, command=command)
    if 0 < crash.loads_left <= FEW_LOADS:
        yield _finding(
            "few-loads-left",
            Gravity.RISK,
            f"kernel.kexec_load_limit_panic allows {crash.loads_left} more loads of a crash kernel before a reboot: "
            "each edit and each change of memory uses one",
            "see who sets it in /etc/sysctl.d, and reboot when convenient",
        )
    must_be_signed = crash.secure_boot or crash.lockdown is not Lockdown.NONE
    if must_be_signed and of.is_kernel_signed is False and plan is not None:
        why = f"kernel lockdown ({crash.lockdown})" if crash.lockdown is not Lockdown.NONE else "Secure Boot"
        yield _finding(
            "kernel-unsigned",
            unless_loaded(of),
            f"{plan.load.kernel_image} has no signature, and {why} requires one",
            "install the signed package of the kernel, or sign it with a key that the machine knows (mokutil)",
        )
    if crash.lockdown is Lockdown.CONFIDENTIALITY:
        yield _finding(
            "lockdown-confidentiality",
            Gravity.NOTE,
            "kernel lockdown (confidentiality) hides /proc/kcore from everybody: the size of a dump cannot be "
            "estimated",
        )


def _unlocking(of: Symptoms, name: str, harmless: str) -> tuple[str, str]:
    """Remedy and command. A file of a package is left alone: one of the same name in /etc stands before it."""
    last = of.sysctl_files.get(name, Sysctl(value=harmless))
    setters = [each for each in (*last.earlier, last) if each.value != harmless]
    if not setters:
        return "", _REBOOT
    if len(setters) > 1:
        places = ", ".join(f"{each.file}:{each.line}" for each in setters)
        return f"remove each line that sets it, and reboot: {places}", ""
    (setter,) = setters
    file = shlex.quote(setter.file)
    if setter.file.startswith("/etc/"):
        return (
            f"remove the line from {setter.file} and reboot",
            f"sed -i '{setter.line}d' {file} && {_REBOOT}",
        )
    ours = f"{SYSCTL_FOLDERS[0]}/{setter.file.rpartition('/')[2]}"
    return (
        f"copy {setter.file} without that line to {ours}, which is read instead, and reboot",
        f"sed '{setter.line}d' {file} >{shlex.quote(ours)} && {_REBOOT}",
    )


def _wishes(of: Symptoms) -> Iterator[Finding]:
    wish, daemon = of.units.get(WISH), of.units.get(DAEMON)
    if wish is not None and wish.is_masked:
        yield _finding(
            "kdump-masked",
            unless_loaded(of),
            f"{WISH} is masked: this machine is not meant to be armed",
            "unmask and enable it",
            command=f"systemctl unmask {WISH} && systemctl enable {WISH} && kdumpctl start",
        )
    elif wish is not None and wish.is_there and not wish.mentions_kdumpd:
        yield _finding(
            "unit-of-another",
            Gravity.RISK,
            f"{WISH} is not kdumpd's: another package, or a file in /etc/systemd/system, replaces it",
            "see which with `systemctl cat kdump.service`, and remove it",
        )
    elif not of.wish.lasts:
        yield _finding(
            "kdump-disabled",
            unless_loaded(of),
            f"{WISH} is disabled: from the next boot on the machine is not armed, if it is now",
            "enable it",
            command=f"systemctl enable {WISH} && kdumpctl start",
        )
    if of.wish.is_held:
        yield _finding(
            "kdump-stopped",
            unless_loaded(of),
            "somebody stopped kdump: the machine is not armed until a reboot or the next start",
            "start it",
            command="kdumpctl start",
        )
    if daemon is not None and daemon.is_masked:
        yield _finding(
            "daemon-masked",
            unless_loaded(of),
            f"{DAEMON} is masked: nothing looks after the crash kernel",
            "unmask and start it",
            command=f"systemctl unmask {DAEMON} && systemctl enable --now {DAEMON}",
        )
    elif daemon is not None and daemon.is_there and not daemon.is_enabled:
        yield _finding(
            "daemon-disabled",
            Gravity.NOTE,
            f"{DAEMON} is disabled: at boot it starts only if {WISH} is enabled, and no program can start it over "
            "D-Bus",
            "enable it",
            command=f"systemctl enable {DAEMON}",
        )


def _daemon(of: Symptoms) -> Iterator[Finding]:
    daemon, unit = of.daemon, of.units.get(DAEMON)
    if daemon is not None and not daemon.is_running and not (unit is not None and unit.is_masked):
        yield _finding(
            "daemon-not-running",
            unless_loaded(of),
            "kdumpd is not running: a change of the machine or of its configuration goes unnoticed",
            f"start it; `journalctl -u {DAEMON}` says why it ended",
            command=f"systemctl start {DAEMON}",
        )
    if daemon is not None and daemon.error:
        yield _finding(
            daemon.error,
            unless_loaded(of),
            f"kdumpd could not arm what the configuration says: {daemon.error_text}",
            "fix it; kdumpd tries again by itself, and at once with",
            command="kdumpctl restart",
        )
    is_foreign = daemon.state == "foreign" if daemon is not None and daemon.state else of.is_recorded is False
    if of.machine.crash.loaded and is_foreign:
        yield _finding(
            "foreign",
            Gravity.RISK,
            "the crash kernel that is loaded is not kdumpd's: it is not known whether it saves a dump, and where",
            "load what the configuration says",
            command=RESTART,
        )
    elif of.machine.crash.loaded and of.is_recorded is None and not (daemon is not None and daemon.state):
        yield _finding(
            "unseen",
            Gravity.UNKNOWN,
            "it could not be seen whether kdumpd loaded the crash kernel that is loaded",
            _AS_ROOT_ONLY,
        )


def _others(of: Symptoms) -> Iterator[Finding]:
    for name, whose in OTHERS.items():
        unit = of.units.get(name)
        if unit is not None and unit.is_enabled and not unit.is_masked:
            yield _finding(
                "another-service",
                Gravity.RISK,
                f"{name} ({whose}) is enabled too: it and kdumpd replace each other's crash kernel, and either "
                "unloads it when it is stopped",
                "keep only one of the two",
                command=f"systemctl disable {name}",
            )


def _versions(of: Symptoms) -> Iterator[Finding]:
    plan = of.resolution.plan
    wants_auto = plan is None or "-a" in plan.load.kexec_flags
    if of.kexec_version and of.kexec_version < FIRST_KEXEC_WITH_AUTO and wants_auto:
        shown = ".".join(map(str, of.kexec_version))
        yield _finding(
            "kexec-too-old",
            unless_loaded(of),
            f"kexec-tools {shown} does not know the option -a, which kdumpd uses to try both system calls",
            "install kexec-tools 2.0.17 or newer, or set KEXEC_ARGS to -s or -c in the sysconfig file",
        )


def _finding(code: str, gravity: Gravity, message: str, remedy: str = "", *, command: str = "") -> Finding:
    return Finding(code=code, gravity=gravity, message=message, remedy=remedy, command=command)
