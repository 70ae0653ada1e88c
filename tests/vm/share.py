"""A directory of the host that the machine mounts with virtiofs: virtiofsd beside QEMU, plugged in while it runs."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.requirements import Cannot, virtiofsd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.machine import Machine


@contextmanager
def shared(machine: Machine, directory: Path, *, tag: str) -> Iterator[None]:
    """While inside, `mount -t virtiofs TAG` in the guest, or in its capture kernel, shows that directory."""
    socket = machine.directory / f"virtiofs-{tag}"
    with (machine.directory / f"virtiofs-{tag}.log").open("wb") as log:
        serving = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *virtiofsd(socket, directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 10
        while not socket.exists():
            if serving.poll() is not None or time.monotonic() > deadline:
                said = Path(log.name).read_text(errors="replace")
                raise Cannot(f"virtiofsd did not start: {said[-800:]}")
            time.sleep(0.05)
        machine.plug_share(tag, socket)
        yield
    finally:
        serving.kill()
        serving.wait()
