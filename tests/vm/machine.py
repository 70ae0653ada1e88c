"""Runs the built machine under QEMU: boots it, runs commands in it, crashes it, plugs hardware into it."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.vm.channel import Agent, Gone, NoAnswer, Qmp, Ran
from tests.vm.console import PATIENCE, Console, Line
from tests.vm.hardware import SLOTS, Disk, Shape, accelerator, on_host, overlay_on, qemu_argv
from tests.vm.requirements import Cannot
from tests.vm.store import cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.vm.build import Image
    from tests.vm.hardware import Accelerator

_PANIC_CAUSE = "sysrq: Trigger a crash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reboot:
    """What a crash looked like from outside, in seconds of the host's clock."""

    crashed: Line
    back_after: float  # until the next boot answered, or until the machine ended
    console: tuple[Line, ...]

    def seconds_to(self, text: str) -> float:
        """From the panic to the first console line that holds `text`; raises AssertionError if none does."""
        for line in self.console:
            if text in line.text:
                return line.at - self.crashed.at
        raise AssertionError(f"the console never said {text!r} after the crash")


class Machine:
    """A running QEMU with a console, an agent and a monitor; use it as a context manager."""

    def __init__(
        self,
        image: Image,
        *,
        shape: Shape,
        accelerator: Accelerator,
        backing: Path,
        disks: Sequence[Disk] = (),
        state: Path | None = None,
        log: Path | None = None,
        stops_at_reboot: bool = False,
        has_loader: bool = False,
    ) -> None:
        """`has_loader`: the root disk is booted by what is installed on it; else QEMU puts the kernel into memory."""
        runs = cache() / "run"
        runs.mkdir(exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix="vm-", dir=runs))
        self.image = image
        self.shape = shape
        self._slots = iter(range(SLOTS))
        backing_format = "raw" if backing.suffix == ".raw" else "qcow2"
        self.disk = overlay_on(backing, self.directory / "root.qcow2", backing_format=backing_format)
        agent, agent_there = socket.socketpair()
        monitor, monitor_there = socket.socketpair()
        argv = [
            *("setpriv", "--pdeathsig", "KILL"),
            *qemu_argv(
                shape,
                accelerator,
                self.directory,
                agent=agent_there.fileno(),
                monitor=monitor_there.fileno(),
            ),
            *("-drive", f"if=none,id=root,format=qcow2,cache=unsafe,discard=unmap,file={self.disk}"),
            *("-device", "virtio-blk-pci,drive=root,serial=root"),
        ]
        if not has_loader:
            argv += ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
            argv += ["-append", shape.command_line(image)]
        for disk in disks:
            argv += [
                "-drive",
                f"if=none,id={disk.serial},format=qcow2,cache=unsafe,file={disk.make(self.directory)}",
            ]
            argv += ["-device", json.dumps(disk.device())]
        if stops_at_reboot:
            argv += ["-no-reboot"]
        if state is not None:
            argv += ["-incoming", f"exec:cat {state}"]
        self._complaints = (self.directory / "qemu.log").open("wb")
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            pass_fds=(agent_there.fileno(), monitor_there.fileno()),
        )
        self.started_at = time.monotonic()
        agent_there.close()
        monitor_there.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.log = log or self.directory / "console.log"
        self.console = Console(self._process.stdout, self._process.stdin, self.log)
        self.agent = Agent(agent)
        try:
            self.qmp = Qmp(monitor)
        except (Gone, NoAnswer) as problem:
            monitor.close()
            complaint = self.complaint()
            self._process.kill()
            self._put_away()
            raise Cannot(f"QEMU did not start: {complaint}") from problem

    @classmethod
    def boot(
        cls,
        image: Image,
        *,
        shape: Shape | None = None,
        disks: Sequence[Disk] = (),
        log: Path | None = None,
        stops_at_reboot: bool = False,
        by_loader_of: Path | None = None,
        timeout: float = 900,
    ) -> Self:
        """A machine started cold, once its agent answers.

        `by_loader_of`: the root disk of a machine that has ended and had a boot loader put on it; that boots."""
        machine = cls(
            image,
            shape=shape or Shape(),
            accelerator=accelerator(image),
            backing=by_loader_of or image.disk,
            disks=disks,
            log=log,
            stops_at_reboot=stops_at_reboot,
            has_loader=by_loader_of is not None,
        )
        with machine.closed_on_error():
            machine.wait_until_up(timeout=timeout)
        return machine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    # commands and files

    def run(self, *argv: str, stdin: bytes = b"", check: bool = True, timeout: float = 120) -> Ran:
        """Runs argv as root in the guest; raises AssertionError with its output if it fails, unless check=False."""
        ran = self.agent.run(argv, stdin=stdin, timeout=timeout)
        if check and ran.status != 0:
            raise AssertionError(f"{argv} ended with {ran.status} in the machine:\n{ran.stdout}{ran.stderr}")
        return ran

    def sh(self, script: str, *, check: bool = True, timeout: float = 120) -> str:
        """Runs a shell script in the guest and gives its stdout without the last newline."""
        return self.run("sh", "-c", script, check=check, timeout=timeout).stdout.rstrip("\n")

    def put(self, path: str, data: bytes | str, *, mode: int = 0o644) -> None:
        self.agent.put(path, data.encode() if isinstance(data, str) else data, mode=mode)

    def get(self, path: str) -> bytes:
        return self.agent.get(path)

    def wait_until(self, script: str, *, timeout: float) -> None:
        """Waits inside the guest until the shell script ends with 0."""
        loop = 'until sh -c "$1" >/tmp/waited-for 2>&1; do sleep 0.5; done'
        bound = timeout * PATIENCE
        ran = self.run(
            "timeout", f"{bound:.0f}", "sh", "-c", loop, "sh", script, check=False, timeout=timeout + 30
        )
        if ran.status != 0:
            said = self.sh("cat /tmp/waited-for")
            raise NoAnswer(
                f"{bound:.0f} s passed in the machine without {script!r} succeeding; it said: {said}"
            )

    # boots and crashes

    def wait_until_up(self, *, timeout: float = 900, other_than: str = "") -> str:
        """The boot id, once the agent answers from a boot that is not `other_than`."""
        try:
            return self.agent.hello(timeout=timeout, other_than=other_than)
        except (Gone, NoAnswer) as problem:
            raise type(problem)(
                f"{problem} {self.complaint()}\nThe console's end:\n{self.console.tail()}"
            ) from None

    def wait_until_idle(self, *, timeout: float = 900) -> str:
        """Waits until systemd has nothing left to start; its word for the system ("running", "degraded")."""
        return self.run(
            "systemctl", "is-system-running", "--wait", check=False, timeout=timeout
        ).stdout.strip()

    def crash(self, *, sync: bool = True, by: str = "echo c > /proc/sysrq-trigger") -> Line:
        """Panics the kernel; the console line that shows it.  Without sync, what is not written yet is lost."""
        since = self.console.here()
        flush = "sync; " if sync else ""
        self.agent.tell({"run": ["sh", "-c", f"{flush}{by}"]})
        return self.console.wait_for(_PANIC_CAUSE, timeout=60, since=since)

    def crash_and_come_back(
        self, *, timeout: float = 900, sync: bool = True, by: str = "echo c > /proc/sysrq-trigger"
    ) -> Reboot:
        """Panics the kernel and waits until the system answers from its next boot."""
        before = self.agent.boot
        crashed = self.crash(sync=sync, by=by)
        self.wait_until_up(timeout=timeout, other_than=before)
        back_after = time.monotonic() - crashed.at
        return Reboot(crashed=crashed, back_after=back_after, console=self.console.lines[crashed.number :])

    def crash_and_end(self, *, timeout: float = 900) -> Reboot:
        """Panics the kernel and lets the capture kernel's reboot (or halt) be the end; much faster than coming back.

        What was saved is read with read_offline."""
        self.stop_at_reboot()
        crashed = self.crash()
        self.wait_for_exit(timeout=timeout)
        back_after = time.monotonic() - crashed.at
        self.console.wait_for_end()
        return Reboot(crashed=crashed, back_after=back_after, console=self.console.lines[crashed.number :])

    def reboot(self, *, timeout: float = 900) -> None:
        before = self.agent.boot
        self.agent.tell({"run": ["systemctl", "reboot"]})
        self.wait_until_up(timeout=timeout, other_than=before)

    def stop_at_reboot(self) -> None:
        """From now on the next reboot ends QEMU instead (see wait_for_exit)."""
        self.qmp.ask("set-action", {"reboot": "shutdown"})

    def wait_for_exit(self, *, timeout: float = 900) -> None:
        """Waits until QEMU has ended: the guest powered off, or rebooted where that stops it."""
        try:
            self._process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            raise NoAnswer(
                f"the machine still runs after {timeout * PATIENCE:.0f} s:\n{self.console.tail()}"
            ) from None

    def power_off(self, *, timeout: float = 120) -> None:
        """An orderly shutdown; afterwards the disk can be read with read_offline."""
        self.agent.tell({"run": ["systemctl", "poweroff"]})
        self.wait_for_exit(timeout=timeout)

    def end(self) -> None:
        """Ends QEMU, as for a machine that has halted; afterwards its disks can be read."""
        self.qmp.ask("quit")
        self.wait_for_exit(timeout=60)

    def set_clock(self) -> None:
        """Gives the guest the host's time: a woken guest's clock stands where it was frozen."""
        self.run("date", "--utc", "--set", f"@{time.time():.3f}")

    # snapshots within one machine (all disks are qcow2; not with NVMe)

    def save(self, name: str) -> None:
        self.qmp.monitor(f"savevm {name}", timeout=900)

    def load(self, name: str) -> None:
        """Goes back to save(name), in whatever state the machine is; the clock is set."""
        self.qmp.monitor(f"loadvm {name}", timeout=900)
        self.wait_until_up()
        self.set_clock()

    # hardware that comes while the machine runs

    def plug(self, disk: Disk) -> str:
        """Plugs a virtio or NVMe disk in; its device node, once udev knows it."""
        if disk.bus == "sata":
            raise Cannot("a SATA disk must be there from the start: Machine.boot(disks=...)")
        self._add_block_node(disk)
        self._add_device(disk.serial, disk.device())
        find = f"lsblk -dnpo NAME,SERIAL | grep -w {disk.serial}"
        self.wait_until(f"udevadm settle && {find}", timeout=60)
        return self.sh(find).split()[0]

    def plug_paths(self, disk: Disk, *, wwn: int, count: int = 2) -> None:
        """Plugs one SCSI disk in that is seen `count` times, through as many controllers."""
        self._add_block_node(disk)
        for path in range(count):
            controller = f"{disk.serial}-path{path}"
            self._add_device(controller, {"driver": "virtio-scsi-pci"})
            device = {"driver": "scsi-hd", "drive": disk.serial, "serial": disk.serial, "wwn": wwn}
            bus = f"dev-{controller}.0"
            self.qmp.ask("device_add", {**device, "id": f"{controller}-disk", "bus": bus, "share-rw": True})
        self.wait_until(
            f"test $(lsblk -dno SERIAL | grep -cw {disk.serial}) -eq {count} && udevadm settle", timeout=60
        )

    def plug_card(self, name: str, netdev: dict[str, object] | None = None, *, mac: str = "") -> str:
        """Plugs a virtio network card in; its interface.  By default the user network (the host is 10.0.2.2)."""
        self.qmp.ask("netdev_add", {**(netdev or {"type": "user"}), "id": name})
        before = set(self.sh("ls /sys/class/net").split())
        card: dict[str, object] = {"driver": "virtio-net-pci", "netdev": name, "romfile": ""}
        if mac:
            card["mac"] = mac
        self._add_device(f"card-{name}", card)
        self.wait_until(f"test $(ls /sys/class/net | wc -l) -gt {len(before)} && udevadm settle", timeout=60)
        (new,) = set(self.sh("ls /sys/class/net").split()) - before
        return new

    def plug_share(self, tag: str, socket: Path) -> None:
        """Plugs in what a virtiofsd serves on that socket (see tests.vm.share)."""
        address = {"type": "unix", "data": {"path": str(socket)}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        self.qmp.ask("chardev-add", {"id": tag, "backend": backend})
        self._add_device(tag, {"driver": "vhost-user-fs-pci", "chardev": tag, "tag": tag})

    def unplug(self, serial: str) -> None:
        """Takes a plugged disk away, as a cable would; waits until the guest has let go."""
        self.qmp.ask("device_del", {"id": f"dev-{serial}"})
        self.qmp.wait_for("DEVICE_DELETED", timeout=60)

    def _add_block_node(self, disk: Disk) -> None:
        path = disk.make(self.directory)
        storage = {"driver": "file", "filename": str(path), "cache": {"direct": False, "no-flush": True}}
        self.qmp.ask("blockdev-add", {"node-name": disk.serial, "driver": "qcow2", "file": storage})

    def _add_device(self, name: str, device: dict[str, object]) -> None:
        slot = next(self._slots, None)
        if slot is None:
            raise Cannot(f"only {SLOTS} things can be plugged into one machine")
        self.qmp.ask("device_add", {**device, "id": f"dev-{name}", "bus": f"slot{slot}"})

    # the end

    def read_offline(self, path: str, *, disk: str = "root") -> bytes:
        """A file of a disk with ext4 (a regular file, symlinks not followed) of a machine that has ended."""
        wanted = self.directory / "wanted"
        wanted.unlink(missing_ok=True)
        on_host("debugfs", "-R", f'dump "{path}" {wanted}', str(self._offline_disk(disk)))
        if not wanted.exists():
            raise FileNotFoundError(path)
        return wanted.read_bytes()

    def list_offline(self, path: str, *, disk: str = "root") -> tuple[str, ...]:
        """The names in a directory of a disk with ext4 of a machine that has ended; empty if it is not there."""
        said = on_host("debugfs", "-R", f'ls -p "{path}"', str(self._offline_disk(disk)))
        names = [line.split("/")[5] for line in said.splitlines() if line.count("/") >= 6]
        return tuple(sorted(name for name in names if name not in {".", ".."}))

    def _offline_disk(self, serial: str) -> Path:
        if self._process.poll() is None:
            raise Cannot("the disk can be read only when the machine has ended")
        raw = self.directory / f"{serial}-offline.raw"
        if not raw.exists():
            on_host("qemu-img", "convert", "-O", "raw", str(self.directory / f"{serial}.qcow2"), str(raw))
            # After a crash the journal holds the last writes, and debugfs alone does not replay it.
            subprocess.run(["e2fsck", "-fy", str(raw)], capture_output=True, check=False)
        return raw

    def complaint(self) -> str:
        """What QEMU itself said on stderr."""
        return (self.directory / "qemu.log").read_text(errors="replace").strip()[-800:]

    def close(self) -> None:
        """Ends QEMU if it runs and removes this machine's disks; the console log stays if it lies elsewhere."""
        if self._process.poll() is None:
            self._process.kill()
        self.qmp.close()
        self._put_away()

    def _put_away(self) -> None:
        self._process.wait()
        self.console.close()
        self.agent.close()
        self._complaints.close()
        shutil.rmtree(self.directory, ignore_errors=True)
