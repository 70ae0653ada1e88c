"""One look at the configuration and the machine through the doors, and the plan that follows from it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from kdumpd.core import (
    ahead,
    boot_entries,
    capture_kernel,
    config,
    document,
    locate,
    sources,
    sysconfig,
    tuning,
)
from kdumpd.core.config import Config
from kdumpd.core.identity import digest_of
from kdumpd.core.located import KDUMP_CONF
from kdumpd.core.machine import Machine
from kdumpd.core.plan import Resolution
from kdumpd.core.problems import Problem, errors
from kdumpd.core.resolve import resolve, wants
from kdumpd.core.sysconfig import Sysconfig
from kdumpd.core.tuning import Tuning
from kdumpd.host import network, observe, ssh
from kdumpd.host.doors import PATH, Files, Programs

ALWAYS_WATCHED = (
    *sources.READ_ALWAYS,
    *boot_entries.WATCHED,
    "/etc/kdump/pre.d",
    "/etc/kdump/post.d",
    "/etc/kdump/emergency.d",
)
NO_FILE = "none"  # the etag of a file that is not there
LARGEST_FILE_BYTES = 256 * 1024
"""Each of these files has a few kilobytes; a larger one is some other file that came here by mistake."""
PROBLEMS_KEPT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigText:
    """kdump.conf as it stands: its text, and what reading it alone found."""

    path: str
    text: str
    etag: str
    config: Config | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the files say. `tuning` and `sysconfig` are the defaults where their files have an error."""

    config: ConfigText
    sysconfig: Sysconfig
    tuning: Tuning
    machine: Machine
    resolution: Resolution
    watched: frozenset[str]
    """Every path whose change may change any of this: what was read, and what was looked for and not found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    config: ConfigText
    sysconfig: Sysconfig | None
    tuning: Tuning | None
    problems: tuple[Problem, ...]


async def read(files: Files, programs: Programs) -> Reading:
    """Look once. A file that cannot be read is a problem of the resolution; only the machine itself can raise OSError."""
    texts = await asyncio.to_thread(_texts, files)
    machine = await observe.machine(files, programs)
    resolution = Resolution(plan=None, problems=texts.problems)
    watched = {KDUMP_CONF, tuning.FILE, *sysconfig.FILES, *ALWAYS_WATCHED}
    watched |= ahead.watched(files.names("/lib/modules"), machine_id=machine.machine_id)
    if texts.tuning is not None and texts.tuning.sysconfig_file:
        watched.add(texts.tuning.sysconfig_file)
    if texts.config.config is not None:
        paths = locate.paths(texts.config.config, machine)
        machine = await asyncio.to_thread(observe.followed, files, machine, paths)
        watched |= {link for each in machine.whereabouts for link in each.watched}
    if texts.config.config is not None and texts.sysconfig is not None and texts.tuning is not None:
        found, hanging_on, machine = await _resolved(
            texts.config.config, texts.sysconfig, texts.tuning, machine, files, programs
        )
        watched |= hanging_on
        if machine.network.hosts:
            watched.update(network.WATCHED)
        problems = dict.fromkeys((*texts.problems, *found.problems))
        resolution = Resolution(plan=None if errors(problems) else found.plan, problems=tuple(problems))
    return Reading(
        config=texts.config,
        sysconfig=texts.sysconfig or Sysconfig(),
        tuning=texts.tuning or Tuning(),
        machine=machine,
        resolution=resolution,
        watched=frozenset(watched),
    )


async def read_ahead(files: Files, programs: Programs, reading: Reading, release: str) -> Resolution:
    """What would follow from the same configuration, were kernel `release` running: the image for its first boot.

    What `reading` found of the machine is not looked at again, servers and routes included.
    """
    if reading.config.config is None or reading.resolution.plan is None:
        return reading.resolution
    machine = ahead.as_if_running(reading.machine, release)
    found, _ = await _planned(
        reading.config.config, reading.sysconfig, reading.tuning, machine, files, programs, is_kept=False
    )
    return found


def tuning_of(files: Files) -> Tuning:
    """Kdumpd's own settings; the defaults where their file has an error, which a look then tells."""
    return tuning.read(_text(files, tuning.FILE)[0], file=tuning.FILE).tuning or Tuning()


def etag_of(data: bytes) -> str:
    return digest_of(data)


async def _resolved(
    of_config: Config,
    of_sysconfig: Sysconfig,
    of_tuning: Tuning,
    machine: Machine,
    files: Files,
    programs: Programs,
) -> tuple[Resolution, frozenset[str], Machine]:
    """What follows, the files it hangs on, and the machine with what ssh and the network say of the target."""
    first = wants(of_config, of_sysconfig, of_tuning, machine)
    if first.ssh is not None:
        machine = replace(machine, ssh=await ssh.look(files, programs, first.ssh))
        first = wants(of_config, of_sysconfig, of_tuning, machine)
    if first.hosts:
        machine = replace(machine, network=await network.look(files, programs, first.hosts))
    found, hanging_on = await _planned(of_config, of_sysconfig, of_tuning, machine, files, programs)
    return found, hanging_on, machine


async def _planned(
    of_config: Config,
    of_sysconfig: Sysconfig,
    of_tuning: Tuning,
    machine: Machine,
    files: Files,
    programs: Programs,
    *,
    is_kept: bool = True,
) -> tuple[Resolution, frozenset[str]]:
    """Of a machine of which all is known, and the files it hangs on; `is_kept`: the same kernel's modules are looked at again and again."""
    modules = await asyncio.to_thread(
        lambda: observe.kernel_modules(
            files,
            capture_kernel.modules_directory(of_sysconfig, machine),
            has_patterns=capture_kernel.is_another(of_sysconfig, machine),
            is_kept=is_kept,
        )
    )
    wanted = wants(of_config, of_sysconfig, of_tuning, machine, modules)
    inventory = await observe.inventory(files, programs, wanted)
    resolution = await asyncio.to_thread(
        lambda: resolve(
            config=of_config,
            sysconfig=of_sysconfig,
            tuning=of_tuning,
            machine=machine,
            modules=modules,
            inventory=inventory,
        )
    )
    hanging_on = sources.watched(wanted, inventory, resolution.plan, search_path=PATH.split(":"))
    return resolution, hanging_on


def _texts(files: Files) -> _Texts:
    conf, unreadable = _text(files, KDUMP_CONF)
    reading = config.read(document.parse(conf), file=KDUMP_CONF)
    of_config = (*unreadable, *_first(reading.problems))
    own_text, own_unreadable = _text(files, tuning.FILE)
    own = tuning.read(own_text, file=tuning.FILE)
    sysconfig_file = _sysconfig_file(files, own.tuning or Tuning())
    of_sysconfig, sysconfig_unreadable = _text(files, sysconfig_file)
    variables = sysconfig.read(of_sysconfig, file=sysconfig_file)
    return _Texts(
        config=ConfigText(
            path=KDUMP_CONF,
            text=conf,
            etag=etag_of(conf.encode("utf-8", "surrogateescape")) if files.exists(KDUMP_CONF) else NO_FILE,
            config=None if unreadable else reading.config,
            problems=of_config,
        ),
        sysconfig=variables.sysconfig,
        tuning=own.tuning,
        problems=(
            *of_config,
            *own_unreadable,
            *_first(own.problems),
            *sysconfig_unreadable,
            *_first(variables.problems),
        ),
    )


def _sysconfig_file(files: Files, of_tuning: Tuning) -> str:
    if of_tuning.sysconfig_file:
        return of_tuning.sysconfig_file
    return next((path for path in sysconfig.FILES if files.exists(path)), sysconfig.FILES[0])


def _text(files: Files, path: str) -> tuple[str, tuple[Problem, ...]]:
    """The text, "" where there is no such file; and what is wrong where there is one that cannot be read."""
    try:
        found = files.read_bytes(path, limit=LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        return "", ()
    except OSError as fault:
        return "", (Problem(code="unreadable", message=f"it cannot be read: {fault.strerror}", file=path),)
    if len(found) > LARGEST_FILE_BYTES:
        message = f"it is larger than {LARGEST_FILE_BYTES} bytes"
        return "", (Problem(code="unreadable", message=message, file=path),)
    return found.decode("utf-8", "surrogateescape"), ()


def _first(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Not all of very many: they travel in messages. An error comes before any warning that is left out."""
    if len(problems) <= PROBLEMS_KEPT:
        return problems
    kept = {*errors(problems)[:PROBLEMS_KEPT], *problems[:PROBLEMS_KEPT]}
    return tuple(problem for problem in problems if problem in kept)[: 2 * PROBLEMS_KEPT]
