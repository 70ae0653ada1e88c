"""The block devices of a machine, and the directories shared with it, as /sys/class/block and udev's database have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from kdumpd.core.driver import Driver
from kdumpd.core.facts import Contents, md_uuid, number, parse_udev
from kdumpd.core.identity import digest_of
from kdumpd.core.iscsi import IscsiSession
from kdumpd.core.machine import BlockDevice, SharedDirectory
from kdumpd.host.doors import Files, text
from kdumpd.host.drivers import drivers_from

BLOCK = "/sys/class/block"
SESSIONS = "/sys/class/iscsi_session"
_OF_SESSION = ("targetname", "initiatorname", "tpgt", "username", "password", "username_in", "password_in")
VIRTIOFS = "/sys/fs/virtiofs"
SECTOR_BYTES = 512  # the unit of every size in /sys/class/block, whatever the disk's own
_SESSION = re.compile(r"(?P<session>(?P<host>.*/host\d+)/(?P<name>session\d+))/")
_OFTEN_EMPTY = ("loop", "ram", "nbd", "zram", "fd", "sr")


def block_devices(files: Files) -> tuple[BlockDevice, ...]:
    """All of them, by name; loop devices and their like only where they have a size."""
    parents: dict[str, Driver | None] = {}
    found = (_device(files, name, parents) for name in files.names(BLOCK))
    return tuple(device for device in found if device.size_bytes or not device.name.startswith(_OFTEN_EMPTY))


def signature(files: Files) -> str:
    """What devices there are, how large, what udev says is on them, and iSCSI's sessions, as a text to compare."""
    lines = [_digest_of(f"{SESSIONS}/{name}", files) for name in files.names(SESSIONS)]
    for name in files.names(BLOCK):
        at = text(files, f"{BLOCK}/{name}/dev")
        record = digest_of(text(files, f"/run/udev/data/b{at}").encode("utf-8", "surrogateescape"))
        size = text(files, f"{BLOCK}/{name}/size")
        if size != "0" or not name.startswith(_OFTEN_EMPTY):
            lines.append(f"{name} {at} {size} {record}")
    return "\n".join(lines)


def _digest_of(session: str, files: Files) -> str:
    said = "\n".join(text(files, f"{session}/{name}") for name in _OF_SESSION)
    return f"{session} {digest_of(said.encode('utf-8', 'surrogateescape'))}"


def shared_directories(files: Files) -> tuple[SharedDirectory, ...] | None:
    """What hypervisors share over virtiofs; None where the kernel does not tell (before 6.9, or without the module)."""
    if not files.exists(VIRTIOFS):
        return None
    found = []
    for entry in files.names(VIRTIOFS):
        tag = text(files, f"{VIRTIOFS}/{entry}/tag")
        if tag:
            device = files.real(f"{VIRTIOFS}/{entry}/device")
            found.append(SharedDirectory(tag=tag, drivers=tuple(_drivers(files, device, {}))))
    return tuple(found)


def with_contents(device: BlockDevice, contents: Contents) -> BlockDevice:
    return replace(
        device,
        contents=contents.contents,
        uuid=contents.uuid,
        uuid_sub=contents.uuid_sub,
        label=contents.label,
        part_uuid=contents.part_uuid,
        part_label=contents.part_label,
        links=contents.links,
        dm_name=device.dm_name or contents.dm_name,
        md_uuid=device.md_uuid or contents.md_uuid,
        md_level=device.md_level or contents.md_level,
    )


def _device(files: Files, name: str, parents: dict[str, Driver | None]) -> BlockDevice:
    path = files.real(f"{BLOCK}/{name}")
    at = text(files, f"{path}/dev")
    is_partition = files.exists(f"{path}/partition")
    device = BlockDevice(
        name=name,
        number=at,
        size_bytes=number(text(files, f"{path}/size")) * SECTOR_BYTES,
        read_only=text(files, f"{path}/ro") == "1",
        disk=path.rpartition("/")[0].rpartition("/")[2] if is_partition else "",
        slaves=files.names(f"{path}/slaves"),
        drivers=tuple(_drivers(files, path, parents)),
        sysfs=path,
        iscsi=_iscsi_session(files, path),
        dm_name=text(files, f"{path}/dm/name"),
        dm_uuid=text(files, f"{path}/dm/uuid"),
        md_level=text(files, f"{path}/md/level"),
        md_uuid=md_uuid(text(files, f"{path}/md/uuid")),
    )
    record = text(files, f"/run/udev/data/b{at}") if at else ""
    return with_contents(device, parse_udev(record)) if record else device


def _iscsi_session(files: Files, path: str) -> IscsiSession | None:
    """What the kernel knows of the session under a disk; passwords are for root to read."""
    found = _SESSION.match(path)
    if found is None:
        return None
    session, name = found["session"], found["name"]
    of_session = f"{session}/iscsi_session/{name}"
    connections = [each for each in files.names(session) if each.startswith("connection")]
    of_connection = f"{session}/{connections[0]}/iscsi_connection/{connections[0]}" if connections else ""
    host = found["host"].rpartition("/")[2]
    said = {
        "target": f"{of_session}/targetname",
        "initiator": f"{of_session}/initiatorname",
        "portal_group": f"{of_session}/tpgt",
        "user": f"{of_session}/username",
        "password": f"{of_session}/password",
        "user_in": f"{of_session}/username_in",
        "password_in": f"{of_session}/password_in",
        "address": f"{of_connection}/persistent_address",
        "port": f"{of_connection}/persistent_port",
        "transport": f"{found['host']}/scsi_host/{host}/proc_name",
    }
    words = {key: text(files, file) for key, file in said.items()}
    return IscsiSession(**{key: "" if word == "(null)" else word for key, word in words.items()})


def _drivers(files: Files, path: str, parents: dict[str, Driver | None]) -> Iterator[Driver]:
    """Of every parent that has one, from the device up."""
    for start in (path, *_controllers(files, path)):
        yield from drivers_from(files, start, parents)


def _controllers(files: Files, path: str) -> Iterator[str]:
    """The kernel's own NVMe multipath hangs a namespace under a subsystem, which links to its controllers."""
    folder, marker, rest = path.partition("/nvme-subsystem/")
    if not marker:
        return
    subsystem = f"{folder}{marker}{rest.partition('/')[0]}"
    for name in files.names(subsystem):
        if name.startswith("nvme") and name[4:].isdecimal():
            yield files.real(f"{subsystem}/{name}")
