"""What a test of the target found, and what follows from it for those who read the status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kdumpd.core import ssh
from kdumpd.core.forecast import Forecast
from kdumpd.core.locate_disk import find
from kdumpd.core.located import FILESYSTEMS
from kdumpd.core.machine import Machine
from kdumpd.core.plan import Plan, Written
from kdumpd.core.problems import Problem, Severity, Trouble, errors

MIB = 1 << 20
_SERVER = re.compile(r"[\w.:%\[\]-]{1,255}")
"""A name or an address: who is asked for a password may be shown it."""


class Verdict(StrEnum):
    NEVER = ""
    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What was seen of a target that took a file and gave it back, or of a device that could be read."""

    free_bytes: int  # what an ordinary user could still write; of a device, its size
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTest:
    """The outcome of one test; `free_bytes` and `forecast_bytes` are 0 where they are not known."""

    verdict: Verdict = Verdict.NEVER
    message: str = "the target was not tested yet"
    tested_us: int = 0  # since epoch
    free_bytes: int = 0
    forecast_bytes: int = 0
    problems: tuple[Problem, ...] = ()


NEVER = TargetTest()


def judged(
    reached: Reached | None, problems: tuple[Problem, ...], *, forecast: Forecast | None, now_us: int
) -> TargetTest:
    """A target that could not be reached has failed; one that is too small is warned of, with both numbers."""
    free = reached.free_bytes if reached is not None else 0
    if reached is not None and forecast is not None and free < forecast.size_bytes:
        problems = (*problems, too_small(free_bytes=free, forecast=forecast))
    verdict = Verdict.FAILED if errors(problems) else Verdict.WARNED if problems else Verdict.PASSED
    said = [str(problem) for problem in problems] or ([reached.words] if reached is not None else [])
    if reached is not None and forecast is not None and not problems:
        said.append(f"a dump would take about {_mib(forecast.size_bytes)}, {_mib(free)} are free")
    return TargetTest(
        verdict=verdict,
        message="; ".join(said),
        tested_us=now_us,
        free_bytes=free,
        forecast_bytes=forecast.size_bytes if forecast is not None else 0,
        problems=problems,
    )


def too_small(*, free_bytes: int, forecast: Forecast) -> Problem:
    return Problem(
        code="target-space",
        message=f"a dump would take about {_mib(forecast.size_bytes)} and the target has {_mib(free_bytes)} free",
        hint="make room there, or leave more out with -d 31 and a compression",
        severity=Severity.WARNING,
    )


def unreachable(what: str, why: str) -> Problem:
    return Problem(code="target-unreachable", message=f"{what} failed the test: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTrial:
    """The very ssh_config and known_hosts of the image, and the names that the config gives the server's addresses."""

    destinations: tuple[str, ...]
    config: str
    known_hosts: str


def ssh_trial(plan: Plan) -> SshTrial | None:
    """What a test of an ssh target goes by; None where the plan's image has no ssh."""
    texts = {item.path: item.text for item in plan.overlay.items if isinstance(item, Written)}
    if ssh.CONFIG not in texts:
        return None
    names = re.findall(r"^Host (kdump-\d+)$", texts[ssh.CONFIG], re.MULTILINE)
    return SshTrial(
        destinations=tuple(f"{plan.target.get('user', 'root')}@{name}" for name in names),
        config=texts[ssh.CONFIG],
        known_hosts=texts.get(ssh.KNOWN_HOSTS, ""),
    )


def free_of_df(text: str) -> int:
    """Bytes that are available, from `df -Pk` (POSIX): the fourth field of the last line; 0 where there is none."""
    fields = text.rstrip().rpartition("\n")[2].split()
    return int(fields[3]) * 1024 if len(fields) > 5 and fields[3].isdecimal() else 0


def required(target: Mapping[str, str], *, trial: SshTrial | None = None) -> Mapping[str, str]:
    """A target as Config.Target shows one, with what a test needs of it. Raises Trouble for anything else.

    ssh can be tested only with what the plan of the configured target gives, its `trial`.
    """
    kind, device, directory = (target.get(key, "") for key in ("type", "device", "directory"))
    if kind not in {"filesystem", "raw", "nfs", "ssh", "virtiofs"}:
        raise _bad(f"a target of type {kind!r} cannot be tested by this release")
    if kind == "ssh" and trial is None:
        raise _bad("an ssh target is tested only as it is configured")
    source = target.get("node") or device
    if (server := target.get("server", "")) and not _SERVER.fullmatch(server):
        raise _bad("server has to be a name or an address")
    if kind in {"filesystem", "raw"} and not source.startswith(
        ("/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=")
    ):
        raise _bad("device has to be a node in /dev, or UUID= and the like")
    if kind == "filesystem" and target.get("fstype", "") not in FILESYSTEMS:
        raise _bad(f"fstype has to be one of {', '.join(FILESYSTEMS)}")
    if kind == "nfs" and not (target.get("server") and target.get("export", "").startswith("/")):
        raise _bad("server and export have to be given")
    if kind == "virtiofs" and not target.get("tag"):
        raise _bad("tag has to be given")
    if kind not in {"raw", "ssh"} and (not directory.startswith("/") or ".." in directory.split("/")):
        raise _bad("directory has to be an absolute path without `..`")
    return target


def at_node(target: Mapping[str, str], machine: Machine) -> Mapping[str, str]:
    """A raw target with the node that its tag means now; mount(8) finds that out for the others by itself.

    Raises Trouble where it does not mean exactly one device.
    """
    source = target.get("node") or target.get("device", "")
    if target["type"] != "raw" or source.startswith("/dev/"):
        return target
    found = find(machine, source) if source.partition("=")[2] else ()
    if len(found) != 1:
        names = ", ".join(f"/dev/{device.name}" for device in found)
        raise Trouble(unreachable(source, f"it means {names}" if found else "there is no such device"))
    return {**target, "node": f"/dev/{found[0].name.replace('!', '/')}"}


def _bad(message: str) -> Trouble:
    return Trouble(Problem(code="target-untested", message=message, severity=Severity.WARNING))


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB"
