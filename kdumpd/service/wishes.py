"""The administrator's wishes that outlive the daemon: to be armed at all, and not to be armed until the reboot."""

from __future__ import annotations

from kdumpd.host.doors import Files

HELD = "/run/kdumpd/unloaded"


class Wishes:
    """Two flag files; without them the machine is to be armed. Every method may raise OSError."""

    def __init__(self, files: Files, *, folder: str) -> None:
        self._files = files
        self._disabled = f"{folder}/disabled"

    @property
    def enabled(self) -> bool:
        return not self._files.exists(self._disabled)

    @property
    def held(self) -> bool:
        return self._files.exists(HELD)

    def enable(self) -> None:
        """Be armed from now on, also after a reboot; ends a hold."""
        self._files.remove(self._disabled)
        self.release()

    def disable(self) -> None:
        self._raise(self._disabled, b"Not to be armed. `kdumpctl start` removes this file.\n")

    def hold(self) -> None:
        """/run is empty after a reboot, and the hold with it gone."""
        self._raise(HELD, b"Unloaded on request. `kdumpctl start` removes this file.\n")

    def release(self) -> None:
        self._files.remove(HELD)

    def _raise(self, path: str, says: bytes) -> None:
        self._files.make_folder(path.rpartition("/")[0], mode=0o755)
        self._files.write(path, says, mode=0o644)
