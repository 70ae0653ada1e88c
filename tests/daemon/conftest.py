"""The bus and the clean end that the daemon's tests share with those of the service."""

from __future__ import annotations

import subprocess

import pytest

from tests.service.conftest import _nothing_left_behind, bus, can_be_nobody

__all__ = ["_nothing_left_behind", "bus", "can_be_nobody"]


@pytest.fixture
def can_mount() -> None:
    if subprocess.run(("unshare", "-m", "true"), check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can have mounts of its own")
