"""Every core collector on the memory of one crash."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm.installed import Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine

_COLLECTORS = Path(__file__).parent / "guest" / "collectors.sh"
_TRIED = re.compile(
    r"tried (?P<name>[\w-]+): status (?P<status>\d+) bytes (?P<bytes>\d+)(?: blocks (?P<blocks>\d+))?"
)


@pytest.fixture
def kdumpd(machine: Machine) -> Installed:
    return Installed(machine)


@pytest.mark.shows(
    "core_collector makedumpfile -c",
    "core_collector makedumpfile -l",
    "core_collector makedumpfile -z",
    "core_collector makedumpfile -E",
    "core_collector makedumpfile -d 11,31",
    "core_collector cp",
    "core_collector",
    "kdump_post",
    "extra_bins",
)
def test_every_collector_on_one_crash(kdumpd: Installed, say: Callable[[str], None]) -> None:
    machine = kdumpd.machine
    machine.put("/etc/kdump-post", _COLLECTORS.read_text(), mode=0o755)
    kdumpd.configure_and_arm(
        "core_collector makedumpfile -z --message-level 1 -d 31",
        "path /var/crash",
        "kdump_post /etc/kdump-post",
        "extra_bins /usr/bin/cp /usr/bin/fallocate",
        saying="/var/crash",
    )
    crashed = machine.crash()
    # The whole line: what it ends with may come in another piece.
    machine.console.wait_for(r"tried log: status 0 panics 1\b", timeout=900, since=crashed.number)
    lines = machine.console.lines[crashed.number :]
    found = {match["name"]: match for line in lines if (match := _TRIED.search(line.text))}
    say("; ".join(f"{name} {int(match['bytes']) / 1e6:.0f} MB" for name, match in found.items()))
    size = {name: int(match["bytes"]) for name, match in found.items()}
    too_large = found.pop("eleven-too-large")
    assert {match["status"] for match in found.values()} == {"0"}
    assert max(size["zstd"], size["zlib"]) < size["lzo"] < size["raw"] < size["elf"]
    assert size["lzo"] < size["eleven"] < size["all"]
    assert int(found["sparse"]["blocks"]) * 512 < size["sparse"]
    # The level list begins again where the first level alone fails; what it left is whole.
    assert too_large["status"] != "0"
    assert size["list"] < size["eleven"]
    assert size["read-back"] == size["list"]
