"""The clean end that these tests share with those of the service."""

from __future__ import annotations

from tests.service.conftest import _nothing_left_behind, can_be_nobody

__all__ = ["_nothing_left_behind", "can_be_nobody"]
