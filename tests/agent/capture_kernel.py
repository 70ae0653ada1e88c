"""A capture kernel made of directories: the agent runs in it with an ordinary user's rights.

Its PATH holds the programs that the agent says it needs and nothing else, from busybox or from coreutils; those that
would touch the machine are small scripts that write down how they were called.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from kdumpd import agent
from kdumpd.core.environment import CaptureEnvironment, render
from kdumpd.core.summary import Summary, read_summary

if TYPE_CHECKING:
    from pathlib import Path

PANIC_LOG = """\
[    0.000000] Linux version 6.1.0 (a "builder" in C:\\path)
[   11.000000] BUG: an older one that was survived
[   12.345678] sysrq: Trigger a crash
[   12.345679] Kernel panic - not syncing: sysrq triggered crash
[   12.345680] CPU: 1 PID: 412 Comm: sh
"""

ENVIRONMENT = CaptureEnvironment(
    capture_id="c-1",
    version="0.1.0",
    kernel_release="6.1.0-37-amd64",
    host_name="anvil",
    target_fstype="ext4",
    target_device="/dev/vda1",
    core_collector=("makedumpfile", "-l", "-d", "31"),
    disk_timeout=1,
    poll_seconds=0.02,
    watch_seconds=0.05,
    grace_seconds=0.5,
    stall_seconds=30,
)

# An ending never returns on a real machine.
_ENDING = 'called "$@"; kill -KILL $PPID'

_SCRIPTS = {
    "mount": 'called "$@"',
    "umount": 'called "$@"',
    "insmod": 'called "$@"',
    "dmesg": 'echo "[    0.000000] the capture kernel"',
    "makedumpfile": """called "$@"
        case $1 in
        --dump-dmesg) cat "$KDUMPD_ROOT/crashed.log" >"$3" ;;
        *) for output; do :; done; cat "$KDUMPD_ROOT/proc/vmcore" >"$output" ;;
        esac""",
    "sh": 'called "$@"',
    "reboot": _ENDING,
    "halt": _ENDING,
    "poweroff": _ENDING,
}


class CaptureKernel:
    """`shell` is the argv of the sh that plays PID 1: busybox's comes with busybox's applets, dash with coreutils."""

    def __init__(self, root: Path, shell: tuple[str, ...]) -> None:
        self.root = root
        self._shell = shell
        self.target = root / "kdumpd/target"
        self.rootfs = root / "kdumpd/rootfs"
        for name, content in agent.files().items():
            self.write(name, content)
        self.write("proc/vmcore", b"the memory of the crashed kernel")
        self.write("proc/cmdline", b"console=ttyS0 nr_cpus=1\n")
        self.write(
            "proc/partitions",
            b"major minor  #blocks  name\n\n 254        0    8388608 vda\n 254  1  8 vda1\n",
        )
        self.write("sys/kernel/.keep", b"")
        for node in ("console", "kmsg", "vda", "vda1"):
            self.write(f"dev/{node}", b"")
        for file in ("uptime", "meminfo", "self"):
            (root / "proc" / file).symlink_to(f"/proc/{file}")
        self.write("crashed.log", PANIC_LOG.encode())
        (root / "bin").mkdir()
        for name in agent.PROGRAMS:
            if name not in _SCRIPTS:
                self.link(name)
        for name, body in _SCRIPTS.items():
            self.program(name, body)
        # Syncing the whole machine that runs the tests would prove nothing.
        self.link("sync", "sync.real")
        self.program("sync", f'[ $# -eq 0 ] || {self.applet("sync")} "$@"')

    def write(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def script(self, name: str, body: str) -> str:
        """An executable in the image that notes its calls by `called`; returns its path there."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        note = f'called() {{ echo "{path.name}${{*:+ $*}}" >>"$KDUMPD_ROOT/calls"; }}'
        path.write_text(f"#!/bin/dash\n{note}\n{body}\n")
        path.chmod(0o755)
        return "/" + name.lstrip("/")

    def program(self, name: str, body: str) -> None:
        self.script(f"bin/{name}", body)

    def counted(self, *names: str) -> None:
        """Gives the agent's /proc the real directory of each process that these programs become.

        Without it the kernel counts nothing: neither bytes nor the time of a processor.
        """
        for name in names:
            path = self.root / "bin" / name
            path.rename(path.with_name(f"{name}.counted"))
            path.write_text(
                '#!/bin/dash\n/bin/ln -s "/proc/$$" "$KDUMPD_ROOT/proc/$$"\nexec "$0.counted" "$@"\n'
            )
            path.chmod(0o755)

    def without(self, name: str) -> None:
        (self.root / "bin" / name).unlink()

    def capture(self, environment: CaptureEnvironment = ENVIRONMENT, **changes: object) -> None:
        """Runs the agent from beginning to end."""
        told = replace(environment, **changes)  # type: ignore[arg-type]  # a test names a field and its value
        self.write("kdump/plan.env", render(told).encode())
        self.run_init()

    def run_init(self) -> None:
        self._run("init")

    def run_parts(self, *lines: str, **changes: object) -> None:
        """Runs these lines of sh with the parts of the agent around them, and in place of `init`."""
        told = replace(ENVIRONMENT, **changes)  # type: ignore[arg-type]  # a test names a field and its value
        self.write("kdump/plan.env", render(told).encode())
        parts = [f'. "$root/{name}"' for name in agent.files() if name != "init"]
        console = 'exec >>"$root/dev/console" 2>&1'
        beginning = ["set -u", "root=$KDUMPD_ROOT", 'mkdir -p "$root/kdumpd"', console, *parts]
        self.write("parts", "\n".join([*beginning, '. "$root/kdump/plan.env"', *lines]).encode())
        self._run("parts")

    def _run(self, script: str) -> None:
        running = subprocess.Popen(
            [*self._shell, str(self.root / script)],
            env={"KDUMPD_ROOT": str(self.root), "PATH": str(self.root / "bin")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            running.wait(timeout=50)
        finally:
            # A kernel ends with its PID 1: nothing that the agent started may go on.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()

    @property
    def console(self) -> str:
        return (self.root / "dev/console").read_text(errors="replace")

    @property
    def calls(self) -> tuple[str, ...]:
        """The programs run, in order, with the root of this kernel left out of their arguments."""
        calls = self.root / "calls"
        text = calls.read_text(errors="replace") if calls.exists() else ""
        return tuple(text.replace(str(self.root), "").splitlines())

    def dump(self, *, below: Path | None = None) -> Path:
        """The one dump directory, by default in the target's /var/crash."""
        (found,) = (below or self.target / "var/crash").iterdir()
        return found

    def summary(self, *, below: Path | None = None) -> Summary:
        return read_summary((self.dump(below=below) / "summary.json").read_bytes())

    def link(self, name: str, link: str = "") -> None:
        real = (
            self._shell[0]
            if len(self._shell) > 1
            else shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
        )
        assert real is not None, f"{name} is not installed"
        os.symlink(real, self.root / "bin" / (link or name))

    def applet(self, name: str) -> str:
        return f"{self._shell[0]} {name}" if len(self._shell) > 1 else f"{self.root}/bin/{name}.real"
