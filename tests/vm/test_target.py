"""A target is tested before a crash has to: one that is well, one that is too small, one that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm.hardware import Disk
from tests.vm.installed import Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine


@pytest.fixture
def kdumpd(machine: Machine) -> Installed:
    return Installed(machine)


def test_a_target_is_tested_after_each_change_and_when_asked(
    kdumpd: Installed, say: Callable[[str], None]
) -> None:
    machine = kdumpd.machine
    kdumpd.wait_until_armed()
    ran = machine.run("kdumpctl", "test-target", timeout=400)
    assert ran.stdout.startswith("target test passed on ")
    assert machine.sh("ls -A /var/crash") == ""
    assert "target-test" not in machine.sh("cat /proc/mounts")
    say(ran.stdout.strip())

    machine.plug(Disk(serial="small", size="24M", filesystem="ext4", label="small"))
    kdumpd.configure_and_arm("ext4 LABEL=small", "path /dumps", saying="/dumps")
    kdumpd.wait_for("TargetTestResult", "warned", timeout=400)
    told = str(kdumpd.value("TargetTestMessage"))
    forecast, free = int(str(kdumpd.value("DumpForecastBytes"))), int(str(kdumpd.value("TargetFreeBytes")))
    assert 0 < free < forecast < 1 << 31, told
    assert kdumpd.value("State") == "armed"

    machine.unplug("small")
    ran = machine.run("kdumpctl", "test-target", check=False, timeout=400)
    assert ran.status == 1
    assert "failed the test" in ran.stderr
    assert machine.run("kdumpctl", "status").stdout.startswith("Kdump is operational")
