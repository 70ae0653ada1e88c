"""A private message bus for each test, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.service.private_bus import PrivateBus, private_bus


@pytest.fixture(autouse=True)
async def _nothing_left_behind() -> AsyncIterator[None]:
    """No task and no child process outlives its test."""
    yield
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    assert not tasks, f"still running: {tasks}"
    assert not _children(), f"child processes left: {_children()}"


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()


@pytest.fixture
async def bus(_nothing_left_behind: None) -> AsyncIterator[PrivateBus]:
    async with private_bus() as started:
        yield started


@pytest.fixture
def can_be_nobody() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can connect as another uid")
