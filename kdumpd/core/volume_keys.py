"""Which lines of crypttab(5) keep the volume key of an encrypted device for a capture kernel, and what such a line says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kdumpd.core.dracut import encrypted, key_file
from kdumpd.core.located import Located
from kdumpd.core.machine import Machine
from kdumpd.core.problems import Problem, Severity

CRYPTTAB = "/etc/crypttab"
BACKUP = f"{CRYPTTAB}.before-kdumpd"
KEYS = "/sys/kernel/config/crash_dm_crypt_keys"
"""Where a kernel is told which keys it hands over to the capture kernel (CONFIG_CRASH_DM_CRYPT)."""
ARCHITECTURE = "x86_64"
"""The only one whose kernels do it."""
OPTION = "link-volume-key="
OWN_OPTION = f"{OPTION}@u::%logon:kdump-cryptsetup:vk-"
"""And the UUID behind it: where tools for kdump look for the key, among root's others."""
_FIELD = re.compile(r"\S+")
_NO_KEY = "none"
_KEY_FILE = f"give the device a key file in {CRYPTTAB}: with that kdumpd opens it after a crash"
_UUID_OF = re.compile(r"CRYPT-LUKS[0-9]-(\w{8})(\w{4})(\w{4})(\w{4})(\w{12})-")
_OPENED_WITHOUT_KEY = ("CRYPT-SUBDEV-", "CRYPT-INTEGRITY-", "CRYPT-VERITY-")
"""The beginnings of cryptsetup's names for what lies below a LUKS device, or is not encrypted at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """An encrypted device by its name below /dev/mapper."""

    name: str
    uuid: str

    @property
    def option(self) -> str:
        return f"{OWN_OPTION}{self.uuid}"


def inability(machine: Machine, *, hands_keys_over: bool) -> Problem | None:
    """Why volume keys are of no use on this machine."""
    if machine.architecture != ARCHITECTURE:
        return _unable(f"on {machine.architecture} no kernel hands the keys of encrypted devices over")
    if not hands_keys_over:
        return _unable(
            f"the kernel {machine.kernel_release} hands no keys of encrypted devices over to a capture kernel "
            f"(CONFIG_CRASH_DM_CRYPT; there is no {KEYS})"
        )
    return None


def volumes(target: Located) -> tuple[Volume, ...] | Problem:
    """The LUKS devices below a target, or which other device keeps a capture from it: only LUKS has volume keys."""
    found: list[Volume] = []
    for device in encrypted(target):
        uuid = _UUID_OF.match(device.dm_uuid)
        if uuid is not None:
            found.append(Volume(name=device.dm_name, uuid="-".join(uuid.groups())))
        elif not device.dm_uuid.startswith(_OPENED_WITHOUT_KEY):
            return Problem(
                code="not-luks",
                message=f"{device.dm_name or device.name} is encrypted, but not by LUKS, and has no volume key to keep",
                hint=_KEY_FILE,
            )
    return tuple(found)


def doubts(target: Located, machine: Machine) -> tuple[Problem, ...]:
    """A capture by kdumpd asks for a key file, whatever else there is."""
    closed = [device.dm_name for device in encrypted(target) if not key_file(device, machine)]
    if not closed:
        return ()
    return (
        Problem(
            code="key-missing",
            message=f"kdumpd opens {', '.join(closed)} only with a key file, and does not use the volume key yet",
            hint=_KEY_FILE,
            severity=Severity.WARNING,
        ),
    )


def with_volume_keys(text: str, wanted: Iterable[Volume]) -> str | Problem:
    """The text of crypttab with the option for each volume; of every line no more is changed than its options.

    Where the administrator has the key kept elsewhere already, for systemd knows one place alone, that is a Problem.
    """
    lines = text.splitlines(keepends=True)
    for volume in wanted:
        at = next((at for at, line in enumerate(lines) if _opens(line, volume)), None)
        if at is None:
            return Problem(
                code="not-in-crypttab",
                message=f"no line opens {volume.name} (UUID={volume.uuid})",
                hint="what is opened by other means than crypttab leaves no key behind",
                file=CRYPTTAB,
            )
        if any(each.startswith(OPTION) and not each.startswith(OWN_OPTION) for each in _options(lines[at])):
            return Problem(
                code="kept-elsewhere",
                message=f"{volume.name} has a {OPTION} of its own already",
                hint="remove it if nothing else needs the key there: systemd keeps it in only one place",
                file=CRYPTTAB,
                line=at + 1,
            )
        lines[at] = _with_option(lines[at], volume)
    return "".join(lines)


def _opens(line: str, volume: Volume) -> bool:
    fields = line.split()
    return len(fields) > 1 and not fields[0].startswith("#") and fields[0] == volume.name


def _options(line: str) -> list[str]:
    fields = line.split()
    return fields[3].split(",") if len(fields) > 3 else []


def _with_option(line: str, volume: Volume) -> str:
    fields = list(_FIELD.finditer(line))
    if len(fields) < 4:
        end = fields[-1].end()
        missing = "" if len(fields) > 2 else f" {_NO_KEY}"
        return f"{line[:end]}{missing} {volume.option}{line[end:]}"
    options = fields[3]
    others = [each for each in options.group().split(",") if not each.startswith(OPTION)]
    return line[: options.start()] + ",".join((*others, volume.option)) + line[options.end() :]


def _unable(why: str) -> Problem:
    return Problem(
        code="not-supported",
        message=why,
        hint=_KEY_FILE,
    )
