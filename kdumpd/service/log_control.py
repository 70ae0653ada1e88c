"""org.freedesktop.LogControl1: how much is logged, and where to, as systemctl asks for it."""

from __future__ import annotations

from collections.abc import Mapping

from kdumpd.service import logs
from kdumpd.service.bus import BusError, ErrorName, Interface, Value


class LogControl(Interface):
    """Lasts until the daemon ends."""

    def properties(self) -> Mapping[str, Value]:
        return {
            "LogLevel": logs.level(),
            "LogTarget": logs.target(),
            "SyslogIdentifier": logs.IDENTIFIER,
        }

    def write(self, name: str, value: Value) -> None:
        word = str(value)
        if name == "LogLevel":
            _require_among(word, logs.LEVELS, name)
            logs.set_level(word)
        else:
            _require_among(word, logs.targets(), name)
            logs.set_target(word)
        self.announce()


def _require_among(word: str, known: Mapping[str, object] | tuple[str, ...], name: str) -> None:
    if word not in known:
        raise BusError(ErrorName.INVALID_ARGS, f"{name} is not to be {word[:80]!r}, but {', '.join(known)}.")
