"""What one crash can show of many directives: every core collector on the same memory, hooks, modules, their options."""

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
    machine.console.wait_for(r"tried log: status \d+", timeout=900, since=crashed.number)
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
    assert any("tried log: status 0 panics 1" in line.text for line in lines)


@pytest.mark.shows(
    "kdump_pre",
    "/etc/kdump/pre.d",
    "/etc/kdump/post.d",
    "extra_modules",
    "options",
    "blacklist",
    "debug_mem_level",
    "final_action halt",
)
def test_hooks_modules_and_their_options(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    machine.sh("mkdir -p /etc/kdump/pre.d /etc/kdump/post.d")
    look = (
        '#!/bin/sh\necho "looks: $(cut -d" " -f1 /proc/modules | grep -xE "dummy|ifb" | tr "\\n" " ")'
        'links $(cd /sys/class/net && echo dummy*)"\n'
    )
    for name in ("pre.d/10", "pre.d/20", "post.d/10"):
        machine.put(f"/etc/kdump/{name}", f'#!/bin/sh\necho "hook {name} ran with ($*)"\n', mode=0o755)
    machine.put("/etc/kdump/post.d/20", "#!/bin/sh\nwhile :; do sleep 1; done\n", mode=0o755)
    machine.put("/etc/kdump-pre", look, mode=0o755)
    machine.put("/etc/kdumpd.toml", "hook_timeout_seconds = 5\n")
    kdumpd.configure_and_arm(
        "path /var/crash/many",
        "kdump_pre /etc/kdump-pre",
        "extra_modules dummy ifb",
        "options dummy numdummies=3",
        "blacklist ifb",
        "debug_mem_level 3",
        "final_action halt",
        saying="/many",
    )
    crashed = machine.crash()
    machine.console.wait_for("System halted", timeout=600, since=crashed.number)
    said = [line.text for line in machine.console.lines[crashed.number :]]
    hooks = [text[text.index("hook ") :] for text in said if re.search(r"\bhook (pre|post)\.d/\d+ ran", text)]
    assert hooks == ["hook pre.d/10 ran with ()", "hook pre.d/20 ran with ()", "hook post.d/10 ran with (0)"]
    (seen,) = (text[text.index("looks: ") :] for text in said if "looks: " in text)
    assert seen == "looks: dummy links dummy0 dummy1 dummy2"
    assert any("post.d/20 ended with 143, being ended after 5 s" in text for text in said)
    assert any("memory: MemAvailable" in text for text in said)
    assert any("kmalloc-" in text for text in said)
    assert any("saved /var/crash/many/" in text for text in said)


@pytest.mark.shows("kdump_emergency", "/etc/kdump/emergency.d")
def test_emergency_hooks_run_where_the_dump_failed_and_before_the_failure_action(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    machine.sh("mkdir -p /etc/kdump/emergency.d")
    machine.put("/etc/kdump-pre", "#!/bin/sh\nexit 3\n", mode=0o755)
    machine.put("/etc/kdump/emergency.d/10", "#!/bin/sh\necho emergency one\n", mode=0o755)
    machine.put("/etc/kdump-emergency", "#!/bin/sh\necho emergency two\n", mode=0o755)
    kdumpd.configure_and_arm(
        "path /var/crash/emergency",
        "kdump_pre /etc/kdump-pre",
        "kdump_emergency /etc/kdump-emergency",
        "failure_action halt",
        saying="/emergency",
    )
    crashed = machine.crash()
    machine.console.wait_for("System halted", timeout=300, since=crashed.number)
    said = [line.text for line in machine.console.lines[crashed.number :]]
    order = [text for text in said if text.endswith(("emergency one", "emergency two"))]
    assert [text.rpartition(" ")[2] for text in order] == ["one", "two"]
