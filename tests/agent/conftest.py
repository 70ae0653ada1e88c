from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.agent.capture_kernel import CaptureKernel

if TYPE_CHECKING:
    from pathlib import Path


def _shells() -> tuple[tuple[str, ...], ...]:
    dash, busybox = shutil.which("dash"), shutil.which("busybox")
    assert dash, "dash is not installed"
    assert busybox, "busybox is not installed"
    return (dash,), (busybox, "ash")


@pytest.fixture(params=_shells(), ids=["dash", "ash"])
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The argv of each sh that the agent must run under."""
    argv: tuple[str, ...] = request.param
    return argv


@pytest.fixture
def kernel(tmp_path: Path, shell: tuple[str, ...]) -> CaptureKernel:
    return CaptureKernel(tmp_path, shell)
