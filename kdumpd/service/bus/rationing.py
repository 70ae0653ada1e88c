"""Who is served how much, as far as a connection has to know it."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Rationing(Protocol):
    def charge(self, name: str, interface: str, member: str, *, octets: int) -> asyncio.Task[bool] | None:
        """Asked before anything of the arguments is read: None lets the connection `name` call; raise BusError to refuse.

        A task: that has to be waited for, and where it gives True it is to be asked again.
        """

    def has_had_enough(self, _name: str, /) -> bool:
        """Whether what that connection sends and wants no answer to is dropped unread."""

    async def close(self) -> None:
        """It is not asked any more."""


class Boundless:
    """Serves whoever calls, as much as they call."""

    def charge(self, name: str, interface: str, member: str, *, octets: int) -> None: ...

    def has_had_enough(self, _name: str) -> bool:
        return False

    async def close(self) -> None: ...
