"""Keeps a booted machine as a file, from which any number of machines wake in about a second."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.hardware import Shape, accelerator, host_cpu, qemu_argv, qemu_version
from tests.vm.machine import Machine
from tests.vm.requirements import Cannot
from tests.vm.store import alone, cache, hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.build import Image
    from tests.vm.hardware import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A machine stopped in the middle of its life, from which any number wake, each on its own disk."""

    image: Image
    shape: Shape
    accelerator: Accelerator
    directory: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def wake(self, *, log: Path | None = None, stops_at_reboot: bool = False) -> Machine:
        """A running machine, answering, with the clock set."""
        machine = Machine(
            self.image,
            shape=self.shape,
            accelerator=self.accelerator,
            backing=self.directory / "root.qcow2",
            state=self.directory / "state",
            log=log,
            stops_at_reboot=stops_at_reboot,
        )
        with machine.closed_on_error():
            machine.wait_until_up(timeout=120)
            machine.set_clock()
        return machine


def freeze(
    image: Image,
    *,
    shape: Shape | None = None,
    ready: Callable[[Machine], object] = Machine.wait_until_idle,
    means: str = "idle",
    say: Callable[[str], None],
) -> Frozen:
    """Boots once, waits until `ready` returns, and keeps that moment; cached by image, shape, QEMU and `means`.

    `means` is a word for what `ready` waits for."""
    shape = shape or Shape()
    chosen = accelerator(image)
    # The disk's own birth too: a rebuilt image has the same files in other blocks.
    identity = (
        image.key,
        image.disk.stat().st_mtime_ns,
        shape,
        means,
        chosen,
        qemu_version(),
        host_cpu(),
        qemu_argv(shape, chosen, Path(), agent=0, monitor=0),
    )
    key = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
    frozen = Frozen(image=image, shape=shape, accelerator=chosen, directory=cache() / f"frozen-{key}")
    with alone(f"frozen-{key}"):
        if hold("frozen", key) is None:
            _boot_and_freeze(frozen, ready=ready, means=means, say=say)
            hold("frozen", key)
    return frozen


def _boot_and_freeze(
    frozen: Frozen, *, ready: Callable[[Machine], object], means: str, say: Callable[[str], None]
) -> None:
    directory, chosen = frozen.directory, frozen.accelerator
    say(f"booting the machine once under {chosen}, to freeze it")
    with Machine.boot(frozen.image, shape=frozen.shape) as machine:
        frozen.seconds["up"] = time.monotonic() - machine.started_at
        say(f"  {frozen.seconds['up']:4.0f} s  the agent answers")
        ready(machine)
        frozen.seconds[means] = time.monotonic() - machine.started_at
        say(f"  {frozen.seconds[means]:4.0f} s  {means}")
        machine.sh("sync")
        unfinished = directory.with_name(f"{directory.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        begun = time.monotonic()
        machine.qmp.ask(
            "migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]}
        )
        machine.qmp.ask("migrate-set-parameters", {"max-bandwidth": 1 << 40, "downtime-limit": 60_000})
        machine.qmp.ask("migrate", {"uri": f"exec:cat > {unfinished / 'state'}"})
        while (status := machine.qmp.wait_for("MIGRATION", timeout=900)["data"]["status"]) != "completed":
            if status in {"failed", "cancelled"}:
                raise Cannot(f"the machine could not be frozen: {machine.qmp.ask('query-migrate')}")
        machine.qmp.ask("quit")
        machine.wait_for_exit(timeout=60)
        machine.disk.rename(unfinished / "root.qcow2")
        unfinished.rename(directory)
        frozen.seconds["freeze"] = time.monotonic() - begun
        say(f"  frozen in {frozen.seconds['freeze']:.1f} s, {(directory / 'state').stat().st_size >> 20} MiB")


def idle_and_armed(machine: Machine) -> None:
    """What "ready" means once kdumpd is installed: systemd is at rest and the crash kernel is loaded."""
    machine.wait_until_idle()
    try:
        machine.wait_until("kdumpctl status", timeout=900)
    except AssertionError as problem:
        journal = machine.sh("journalctl -b -u kdumpd --no-pager | tail -40", check=False)
        raise AssertionError(
            f"the machine did not arm itself after its first boot: {problem}\n{journal}"
        ) from None
