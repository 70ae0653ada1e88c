"""Who is served how much, as far as a connection has to know it."""

from __future__ import annotations

from typing import Protocol


class Rationing(Protocol):
    def charge(self, name: str, interface: str, member: str, *, octets: int) -> None:
        """Return to let the connection `name` call, before anything of the arguments is read; raise BusError to refuse."""

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
