"""What goes into the image is sound: it parses in each sh, and shellcheck finds nothing, not even an unused field."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import kdumpd.agent
from kdumpd.agent import files
from kdumpd.core import iscsi
from kdumpd.core.environment import render
from kdumpd.core.iscsi import IscsiSession
from tests.agent.capture_kernel import ENVIRONMENT, CaptureKernel


def test_init_and_its_parts_are_in_the_image() -> None:
    content = files()
    assert content["init"].startswith(b"#!/bin/sh\n")
    parts = {name.removeprefix("kdump/") for name in content if name != "init"}
    assert parts == {path.name for path in Path(kdumpd.agent.__file__).parent.glob("*.sh")}


@pytest.mark.parametrize("name", files())
def test_each_file_parses(shell: tuple[str, ...], name: str) -> None:
    outcome = subprocess.run(
        [*shell, "-n"], input=files()[name], capture_output=True, check=False, timeout=20
    )
    assert (outcome.returncode, outcome.stderr) == (0, b"")


def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    for name, content in files().items():
        below = tmp_path / "kdumpd/agent" / Path(name).name
        below.parent.mkdir(parents=True, exist_ok=True)
        # With the real plan in its place, each variable of it has to be used, and nothing else may be.
        below.write_bytes(content.replace(b"source=/dev/null", b"source=plan.env"))
    (tmp_path / "plan.env").write_text(render(ENVIRONMENT))
    session = IscsiSession(target="iqn.t", initiator="iqn.i", address="192.0.2.1")
    (tmp_path / "iscsi.words").write_text(iscsi.told(session).text)
    argv = ["shellcheck", "--external-sources", "--check-sourced", "--shell=sh", "kdumpd/agent/init"]
    outcome = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (outcome.returncode, outcome.stdout) == (0, "")


def test_pid_1_mounts_what_it_needs_before_it_speaks(kernel: CaptureKernel) -> None:
    for name in ("proc/uptime", "dev/kmsg", "sys/kernel/.keep"):
        (kernel.root / name).unlink()
    (kernel.root / "sys/kernel").rmdir()
    kernel.capture()
    assert kernel.calls[:3] == (
        "mount -t proc proc /proc",
        "mount -t sysfs sysfs /sys",
        "mount -t devtmpfs devtmpfs /dev",
    )
    assert kernel.calls[-1] == "reboot -n -f"


def test_without_a_console_the_kernel_log_is_spoken_to(kernel: CaptureKernel) -> None:
    (kernel.root / "dev/console").unlink()
    os.mkdir(kernel.root / "dev/console")
    kernel.capture()
    assert "step collect" in (kernel.root / "dev/kmsg").read_text()
    assert (kernel.dump() / "vmcore").exists()
