"""kdumpd as installed in the machine: what a front end would ask it, and what a crash left behind."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.vm.machine import Machine

CONF = "/etc/kdump.conf"
NAME = "org.kdumpd.Kdump1"
ROOT = "/org/kdumpd/Kdump1"
MANAGER = f"{NAME}.Manager"
CONFIG = f"{NAME}.Config"
_SAMPLER = Path(__file__).parent / "guest" / "sampler.py"

Value = str | int | float | bool | list["Value"] | dict[str, "Value"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the 5 ms sampler saw: how often it looked, the gaps in seconds, and gaps outside any load call."""

    samples: int
    gaps: tuple[float, ...]
    unprotected: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Installed:
    machine: Machine

    # over the bus, as any program would

    def value(self, name: str, *, interface: str = MANAGER, path: str = ROOT) -> Value:
        """One property, read with busctl."""
        told = self.machine.sh(f"busctl --json=short get-property {NAME} {path} {interface} {name}")
        data: Value = json.loads(told)["data"]
        return data

    def call(self, method: str, *arguments: str, interface: str = MANAGER) -> list[Value]:
        words = shlex.join(["busctl", "--json=short", "call", NAME, ROOT, interface, method, *arguments])
        data: list[Value] = json.loads(self.machine.sh(words))["data"]
        return data

    def introspected(self) -> str:
        return self.machine.sh(f"busctl introspect --no-pager {NAME} {ROOT}")

    def wait_for(self, name: str, text: str, *, interface: str = MANAGER, timeout: float = 180) -> None:
        """Until the property, as busctl prints it, holds `text`."""
        ask = f"busctl get-property {NAME} {ROOT} {interface} {name}"
        self.machine.wait_until(f"{ask} | tee /dev/stderr | grep -qF {shlex.quote(text)}", timeout=timeout)

    def wait_until_armed(self, *, saying: str = '"armed: ', timeout: float = 180) -> None:
        """Until it says armed, with `saying` in its sentence: a state from before an edit will not do."""
        self.wait_for("StateMessage", saying, timeout=timeout)
        assert self.value("State") == "armed"

    # the configuration

    def configure(self, *lines: str) -> None:
        """Puts a whole kdump.conf in place, by rename, as editors do."""
        self.machine.put(f"{CONF}.new", "".join(f"{line}\n" for line in lines))
        self.machine.sh(f"mv {CONF}.new {CONF}")

    def configure_and_arm(self, *lines: str, saying: str = '"armed: ', timeout: float = 180) -> None:
        """Puts a kdump.conf in place and waits until exactly that is loaded."""
        before = str(self.value("Etag", interface=CONFIG))
        self.configure(*lines)
        self.machine.wait_until(
            f"! busctl get-property {NAME} {ROOT} {CONFIG} Etag | grep -qF {before}", timeout=60
        )
        self.wait_until_armed(saying=saying, timeout=timeout)
        self.wait_for("Activity", "idle")

    # protection

    def start_sampler(self) -> None:
        self.machine.put("/root/sampler.py", _SAMPLER.read_bytes())
        self.machine.sh("systemd-run --quiet --unit=sampler python3 /root/sampler.py /root/sampled.json")

    def stop_sampler(self) -> Watched:
        self.machine.sh("systemctl stop sampler")
        seen = json.loads(self.machine.get("/root/sampled.json"))
        return Watched(
            samples=seen["samples"], gaps=tuple(seen["gaps"]), unprotected=tuple(seen["unprotected"])
        )

    def journal(self) -> str:
        return self.machine.sh("journalctl -u kdumpd --no-pager -o cat | tail -60", check=False)
