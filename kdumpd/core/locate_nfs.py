"""Which NFS export a dump goes to, which mounts of it the agent tries, and what the capture kernel needs for them.

The capture kernel has no mount.nfs, rpcbind or statd: the kernel itself takes the options as text, asks the server's
rpcbind for ports and its mountd for the export, and without locks (`nolock`) NFS version 3 needs nobody else. The
server stands in the options as a number, so no name has to be resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import MappingProxyType

from kdumpd.core import locate_path
from kdumpd.core.config import Config
from kdumpd.core.environment import MountTry
from kdumpd.core.located import Line, Located, Search, path_line
from kdumpd.core.machine import Machine, Mount
from kdumpd.core.mounts import Place
from kdumpd.core.network import Way, way_to
from kdumpd.core.problems import Problem, Severity, errors
from kdumpd.core.targets import Nfs, TargetKind, bracketed, parse_nfs

FILESYSTEMS = ("nfs", "nfs3", "nfs4")
"""As mountinfo has them."""
VERSIONS = ("4.2", "4.1", "4", "3")
"""As mount.nfs(8) tries them; `4` is 4.0."""
SECONDS_UNTIL_RESENT = 60
RESENT_AT_MOST = 2
"""nfs(5): a server may be silent for three minutes; with `soft` that is then an error, and the dump has failed."""

_FOLLOWED = ("port", "sec")
"""Options of a live mount that say how this server has to be talked to."""
_NOT_OF_THE_KERNEL = frozenset(
    (
        *("addr", "auto", "bg", "clientaddr", "comment", "defaults", "dev", "exec", "fg", "fsc", "group"),
        *("lock", "mountaddr", "nfsvers", "noauto", "nofail", "nolock", "nouser", "owner", "retry", "rw"),
        *("suid", "user", "users", "vers", "_netdev"),
    )
)
"""Options that mount(8) and mount.nfs(8) keep for themselves, and those that are said here."""


def hosts(machine: Machine, target: Nfs) -> frozenset[str]:
    """The server, and the address by which it is mounted now: the name may have none when it is asked for."""
    live = _mounted(machine, target)
    return frozenset({target.host, *_address(live)})


def target(config: Config, machine: Machine, target: Nfs, line: Line) -> Search:
    given = config.dracut_mount.options if config.dracut_mount else ""
    live = _mounts_of(machine, target)
    # A mount of an export has the whole of it: what mountinfo gives as its root lies above the export.
    place = locate_path.below_mount([replace(mount, root="/") for mount in live], config.path)
    directory = place.directory if place is not None else config.path
    found = _located(machine, target, live[-1] if live else None, directory, given, line)
    if place is None:
        return found
    warning = locate_path.shortened(place, config.path, path_line(config, line))
    return replace(found, problems=(*found.problems, warning))


def exported(place: Place) -> Nfs | Problem:
    """The export that a mount of the running system comes from."""
    return parse_nfs(place.mount.source, version="4" if place.mount.fstype == "nfs4" else "")


def holding(machine: Machine, place: Place, line: Line) -> Search:
    """The default target where `path` lies on a mounted export."""
    target = exported(place)
    if isinstance(target, Problem):
        return Search(located=None, problems=(line.placed(target),))
    if "ro" in place.mount.options:
        told = f"{place.mount.source} is mounted read-only at {place.mount.target}"
        return Search(
            located=None, problems=(line.problem("target-read-only", told, "mount it with the option rw"),)
        )
    return _located(machine, target, place.mount, place.directory, "", line)


def _located(
    machine: Machine, target: Nfs, live: Mount | None, directory: str, given: str, line: Line
) -> Search:
    options = _parsed(given.split(","))
    problems = [*_refused(target, options, live, line)]
    way = _way(machine, target, live)
    if not isinstance(way, Way):
        problems += [line.placed(problem) for problem in way]
    if errors(problems) or not isinstance(way, Way):
        return Search(located=None, problems=tuple(problems))
    problems += [line.placed(problem) for problem in way.warnings]
    tries = tuple(
        attempt
        for version in _versions(target, options, live)
        for address in way.addresses
        for attempt in _attempts(target, version, address, options, live)
    )
    newest = {attempt.words.partition(" ")[0] for attempt in tries}
    modules = (
        "nfs",
        *(["nfsv4"] if any(each.startswith("vers=4") for each in newest) else []),
        *(["nfsv3"] if "vers=3" in newest else []),
    )
    told = {
        "type": TargetKind.NFS.value,
        "fstype": "nfs4" if "nfsv3" not in modules else "nfs",
        "server": target.host,
        "export": target.export,
        "directory": directory,
        "layers": way.words,
    }
    return Search(
        located=Located(
            kind=TargetKind.NFS,
            name=target.source,
            directory=directory,
            directory_prefix=way.source.partition("%")[0] or machine.host_name or "127.0.0.1",
            fstype="nfs",  # the kernel takes every version under this name
            mount_options=tries[0].options if tries else "",
            mount_tries=tries,
            told=MappingProxyType(told),
            ways=(way,),
            modules=modules,
            beyond_direct=tuple(line.placed(problem) for problem in way.beyond_direct),
        ),
        problems=tuple(problems),
    )


def _refused(target: Nfs, options: dict[str, str], live: Mount | None, line: Line) -> Iterable[Problem]:
    at_work = _parsed(live.options) if live else {}
    security = options.get("sec") or at_work.get("sec", "")
    if security.startswith("krb5"):
        yield line.problem(
            "target-kerberos",
            f"{target.source} requires Kerberos (sec={security}), and the capture kernel has no ticket",
            "export it to this machine with sec=sys as well, or name another target",
        )
    if "ro" in options:
        yield line.problem(
            "target-read-only", f"{target.source} is to be mounted read-only", "leave out the option ro"
        )
    elif "ro" in at_work and live is not None:
        told = f"{target.source} is mounted read-only at {live.target}: perhaps the server lets nobody write"
        yield line.warning(
            "target-read-only", told, "the capture kernel tries to write; mount it with rw to see"
        )
    version = options.get("vers") or options.get("nfsvers") or ""
    if target.version and version and not version.startswith(target.version):
        yield line.problem(
            "target-version-differs",
            f"nfs{target.version} and vers={version} contradict each other",
            "leave out vers=",
        )


def _way(machine: Machine, target: Nfs, live: Mount | None) -> Way | tuple[Problem, ...]:
    """To the name; where that has no address now, to the address that the kernel talks to all the time."""
    way = way_to(machine.network, target.host)
    if isinstance(way, Way):
        return way
    for address in _address(live):
        known = way_to(machine.network, address)
        if isinstance(known, Way):
            warning = Problem(
                code="name-unresolved",
                message=f"{target.host} has no address now: {address} is taken, by which it is mounted",
                severity=Severity.WARNING,
            )
            return replace(known, warnings=(*known.warnings, warning))
    return way


def _versions(target: Nfs, options: dict[str, str], live: Mount | None) -> tuple[str, ...]:
    said = options.get("vers") or options.get("nfsvers")
    if said:
        return (said,)
    at_work = _parsed(live.options) if live else {}
    mounted = at_work.get("vers", "")
    if mounted in {"3", "4", "4.0", "4.1", "4.2"} and mounted.startswith(target.version):
        return ("4" if mounted == "4.0" else mounted,)
    return tuple(version for version in VERSIONS if version.startswith(target.version))


def _attempts(
    target: Nfs, version: str, address: str, options: dict[str, str], live: Mount | None
) -> Iterator[MountTry]:
    over = "tcp6" if ":" in address else "tcp"
    at_work = _parsed(live.options) if live else {}
    all_options = {
        "vers": version,
        "addr": address,
        "proto": over,
        "soft": "",
        "timeo": str(SECONDS_UNTIL_RESENT * 10),
        "retrans": str(RESENT_AT_MOST),
        "sec": "sys",
    }
    if version == "3":
        all_options |= {"nolock": "", "mountproto": over}
    all_options |= {name: at_work[name] for name in _FOLLOWED if name in at_work}
    if "hard" in options or "softerr" in options:
        del all_options["soft"]
    all_options |= {name: value for name, value in options.items() if name not in _NOT_OF_THE_KERNEL}
    source, words = f"{bracketed(address)}:{target.export}", f"vers={version} at {address}"
    yield MountTry(source=source, options=_joined(all_options), words=words)
    # Where mountd listens is asked of the server, for it may be elsewhere after a restart; a firewall may hide who
    # would answer.
    port = at_work.get("mountport", "")
    if version == "3" and port and at_work.get("mountproto", over) == over and "mountport" not in all_options:
        all_options["mountport"] = port
        yield MountTry(
            source=source, options=_joined(all_options), words=f"{words} with mountd at port {port}"
        )


def _joined(options: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" if value else name for name, value in options.items())


def _mounted(machine: Machine, target: Nfs) -> Mount | None:
    """The export as it is mounted now; of several mounts the last, which is the newest."""
    return next(reversed(_mounts_of(machine, target)), None)


def _mounts_of(machine: Machine, target: Nfs) -> list[Mount]:
    return [mount for mount in machine.mounts if _is_mount_of(target, mount)]


def _is_mount_of(target: Nfs, mount: Mount) -> bool:
    if mount.fstype not in FILESYSTEMS:
        return False
    of_mount = parse_nfs(mount.source)
    return (
        isinstance(of_mount, Nfs)
        and of_mount.export.rstrip("/") == target.export.rstrip("/")
        and target.host in {of_mount.host, *_address(mount)}
    )


def _address(mount: Mount | None) -> tuple[str, ...]:
    """The server's, as the kernel has it."""
    found = _parsed(mount.options).get("addr", "") if mount else ""
    return (found,) if found else ()


def _parsed(options: Iterable[str]) -> dict[str, str]:
    """By name, those of systemd and libmount left out."""
    parts = (option.strip().partition("=") for option in options)
    return {name: value for name, _, value in parts if name and not name.lower().startswith("x-")}
