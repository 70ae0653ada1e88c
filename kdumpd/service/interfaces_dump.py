"""Dump on the bus, and the pages that tell of all dumps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from kdumpd.core.dumps import Dump
from kdumpd.core.retention import Removal
from kdumpd.service.bus import NO_OBJECT, Caller, Description, Interface, Typed, Value
from kdumpd.service.expiring import Expiring
from kdumpd.service.finds import Finds
from kdumpd.service.interfaces import as_count, dump_path
from kdumpd.service.options import require_known

EXPORTED_AT_MOST = 256
"""Dumps that are objects, the newest. All objects go into one message, and each takes memory for ever."""
PAGE_AT_MOST = 1000

Options = Mapping[str, Value]


class DumpInterface(Interface):
    """What was saved after a crash."""

    def __init__(
        self, description: Description, *, find: Dump, delete: Callable[[Dump], Awaitable[None]]
    ) -> None:
        super().__init__(description)
        self.find = find
        self._delete = delete

    def properties(self) -> Mapping[str, Value]:
        find = self.find
        return {
            "Path": find.path,
            "Time": as_count(find.time_us),
            "Size": as_count(find.size_bytes),
            "Complete": find.is_complete,
            "Kernel": find.kernel_release,
            "Reason": find.reason,
            "Test": find.is_test,
            "CallTrace": find.call_trace,
            "Sha256": find.sha256,
            "PstoreFiles": find.pstore_files,
        }

    def authorisation_details(self, _member: str, _arguments: tuple[Value, ...]) -> Mapping[str, str]:
        return {"kernel": self.find.kernel_release}

    async def delete(self, _caller: Caller, options: Options) -> None:
        require_known(options)
        await self._delete(self.find)


class DumpCatalogue:
    """See `Catalogue`."""

    def __init__(self, *, finds: Finds, expiring: Expiring) -> None:
        self._finds = finds
        self._expiring = expiring

    def page(self, *, before_us: int, before_id: str, most: int) -> tuple[Value, ...]:
        """The newest first: those before a time, and with `before_id` also those of that very time whose id is less."""
        known = self._finds.known
        exported = {find.id for find in known[-EXPORTED_AT_MOST:]}
        most = min(most, PAGE_AT_MOST) or PAGE_AT_MOST
        told: list[Dump] = []
        places = sorted(((as_count(find.time_us), find.id, find) for find in known), key=lambda at: at[:2])
        for time_us, name, find in reversed(places):
            if (before_us or before_id) and (time_us, name) >= (before_us, before_id):
                continue
            if len(told) == most:
                break
            told.append(find)
        return tuple(_row(find, is_exported=find.id in exported) for find in told)

    async def prune(self, *, is_trial: bool) -> tuple[Value, ...]:
        outcomes = await self._expiring.prune(is_trial=is_trial)
        return tuple(_removal(outcome.removal, error=outcome.error) for outcome in outcomes)


def _row(find: Dump, *, is_exported: bool) -> Mapping[str, Value]:
    return {
        "id": find.id,
        "path": find.path,
        "time": as_count(find.time_us),
        "size": as_count(find.size_bytes),
        "complete": find.is_complete,
        "kernel": find.kernel_release,
        "reason": find.reason,
        "test": find.is_test,
        "object": Typed(signature="o", value=dump_path(find.id) if is_exported else NO_OBJECT),
    }


def _removal(removal: Removal, *, error: str) -> Mapping[str, Value]:
    return {
        "id": removal.dump.id,
        "path": removal.dump.path,
        "size": as_count(removal.dump.files_bytes),
        "rule": str(removal.rule),
        "why": removal.why,
        "error": error,
    }
