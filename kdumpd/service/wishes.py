"""The administrator's wishes: to be armed at all, as systemd keeps it for kdump.service, and until the reboot, as /run does."""

from __future__ import annotations

from kdumpd.core.problems import Problem, Trouble
from kdumpd.host import units
from kdumpd.host.doors import Files, ProgramFailed, Programs

UNIT = "kdump.service"
WANTED = "/run/kdumpd/wanted"
HELD = "/run/kdumpd/unloaded"

_SYSTEMD_SECONDS = 30.0
_UNIT_ALONE = {"SYSTEMCTL_SKIP_SYSV": "1"}
"""Without it systemctl also has the links of the script of init in /etc/rc?.d made, by programs that are not everywhere."""


class Wishes:
    """What lasts is the enablement of kdump.service; where that unit is not installed, a flag file in the store.

    Every method may raise OSError; those that change what lasts, Trouble as well.
    """

    def __init__(self, files: Files, programs: Programs, *, folder: str) -> None:
        self._files = files
        self._programs = programs
        self._disabled = f"{folder}/disabled"

    @property
    def enabled(self) -> bool:
        """`systemctl disable` says nothing of this boot: what was wanted in it stays wanted."""
        return self._files.exists(WANTED) or self.lasts

    @property
    def held(self) -> bool:
        return self._files.exists(HELD)

    async def enable(self) -> None:
        """Be armed from now on, also after a reboot; ends a hold."""
        await self._make_last(enabled=True)
        self.want()

    async def disable(self) -> None:
        """Be armed neither now nor after a reboot."""
        await self._make_last(enabled=False)
        self.hold()

    def want(self) -> None:
        """Be armed in this boot; ends a hold."""
        self._raise(WANTED, b"Wanted armed in this boot. `kdumpctl stop` removes this file.\n")
        self._files.remove(HELD)

    def hold(self) -> None:
        """/run is empty after a reboot, and the hold with it gone."""
        self._raise(HELD, b"Unloaded on request. `kdumpctl start` removes this file.\n")
        self._files.remove(WANTED)

    def release(self) -> None:
        self._files.remove(HELD)

    @property
    def _is_a_unit(self) -> bool:
        return bool(units.file_of(UNIT, self._files))

    @property
    def lasts(self) -> bool:
        """Whether it is to be armed at each boot."""
        if not self._is_a_unit:
            return not self._files.exists(self._disabled)
        return units.is_enabled(UNIT, self._files)

    async def _make_last(self, *, enabled: bool) -> None:
        if not self._is_a_unit:
            if enabled:
                self._files.remove(self._disabled)
            else:
                self._raise(self._disabled, b"Not to be armed. Enabling kdumpd removes this file.\n")
            return
        if self.lasts is enabled:
            return
        argv = ("systemctl", "--no-reload", "enable" if enabled else "disable", UNIT)
        try:
            await self._programs.run(argv, timeout=_SYSTEMD_SECONDS, environment=_UNIT_ALONE)
        except ProgramFailed as fault:
            said = fault.output.stderr.decode("utf-8", "replace").strip() or fault.reason
            raise Trouble(
                Problem(
                    code="wish-not-kept",
                    message=f"systemd did not {argv[2]} {UNIT}: {said}",
                    hint=f"try `systemctl {argv[2]} {UNIT}`; a masked unit has to be unmasked first",
                )
            ) from fault

    def _raise(self, path: str, says: bytes) -> None:
        self._files.make_folder(path.rpartition("/")[0], mode=0o755)
        self._files.write(path, says, mode=0o644)
