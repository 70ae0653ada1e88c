"""kdumpctl status: one screen that says whether a crash would be captured, of what, where to, and what to do next."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdumpd import cli_kernel
from kdumpd.cli_bus import (
    QUICKLY,
    Properties,
    count,
    plain,
    progress,
    said_of,
    test_crash_told,
    tested,
    text_of,
)
from kdumpd.cli_screen import Screen, Tone, moment, screen, size
from kdumpd.cli_words import NOT_OPERATIONAL, OK
from kdumpd.core.next_step import NOTHING, WAITING, Situation, next_step
from kdumpd.core.problems import Trouble
from kdumpd.core.targets import where_to
from kdumpd.service.bus import NO_OBJECT, BusError, Client, Connection, Value
from kdumpd.service.permissions import BUS_NAME, CONFIG, DUMP, JOB, KERNEL, MANAGER, ROOT

Row = tuple[str, str, Tone]

_TONES = {"armed": Tone.GOOD, "stale": Tone.DOUBT, "foreign": Tone.DOUBT, "disabled": Tone.DOUBT}
_TEST_TONES = {"passed": Tone.PLAIN, "warned": Tone.DOUBT, "failed": Tone.BAD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the objects on the bus said at one moment; empty where one does not say, or is gone by then."""

    manager: Properties
    config: Properties
    kernel: Properties
    dump: Properties
    job: Properties


def run(asked: argparse.Namespace) -> int:
    """0 where a crash kernel is loaded, 3 where not. Starts nothing; without the daemon the kernel is asked."""
    return asyncio.run(_status(asked))


async def _status(asked: argparse.Namespace) -> int:
    try:
        async with asyncio.timeout(QUICKLY), Connection(asked.bus) as connection:
            client = Client(connection, BUS_NAME)
            if not await client.is_running():
                return _without_daemon("kdumpd is not running", as_json=asked.json)
            seen = await look(client)
    except (BusError, Trouble) as fault:
        return _without_daemon(said_of(fault), as_json=asked.json)
    except TimeoutError:
        return _without_daemon("kdumpd does not answer", as_json=asked.json)
    if asked.json:
        print(json.dumps(_told(seen), default=plain, indent=2, sort_keys=True))
    else:
        print("\n".join(screenful(seen, screen())))
    return OK if seen.manager["Protected"] else NOT_OPERATIONAL


async def look(client: Client) -> Sight:
    """All at once, so that it takes no longer than the slowest answer. Raises BusError where the Manager has none."""
    manager, config = await asyncio.gather(client.get_all(ROOT, MANAGER), properties_of(client, ROOT, CONFIG))
    kernel, dump, job = await asyncio.gather(
        properties_of(client, text_of(manager.get("Kernel", "")), KERNEL),
        properties_of(client, text_of(manager.get("LastDump", "")), DUMP),
        properties_of(client, text_of(manager.get("ActiveJob", "")), JOB),
    )
    return Sight(manager=manager, config=config, kernel=kernel, dump=dump, job=job)


async def properties_of(client: Client, path: str, interface: str) -> Properties:
    """Of an object that may be gone at any moment: then none."""
    if path in {"", NO_OBJECT}:
        return {}
    try:
        return await client.get_all(path, interface)
    except BusError:
        return {}


def screenful(seen: Sight, on: Screen, *, is_watched: bool = False) -> list[str]:
    """The lines. The first is the one that scripts know from kdump-utils, the second says why.

    Where it is watched, waiting is no step that one has to be told.
    """
    now = seen.manager
    is_operational = bool(now["Protected"])
    step = next_step(_situation(seen))
    if is_watched and step.startswith(WAITING):
        step = ""
    tone = _TONES.get(text_of(now["State"]), Tone.BAD)
    rows = [
        *_activity(seen),
        *_target(seen),
        *_image(seen),
        _reservation(now),
        *_kept_away(now),
        _dump(seen.dump),
        _tested(now),
        _crashed(now),
        ("next step", step, Tone.STRONG if step != NOTHING else Tone.PLAIN),
    ]
    return [
        on.painted(operational(is_operational), Tone.GOOD if is_operational else Tone.BAD),
        *on.paragraph(text_of(now["StateMessage"]), tone),
        "",
        *on.rows([row for row in rows if row[1]]),
    ]


def operational(is_operational: bool) -> str:  # noqa: FBT001  # the only thing it is about
    return "Kdump is operational" if is_operational else "Kdump is not operational"


def _situation(seen: Sight) -> Situation:
    now = seen.manager
    retry = count(now, "NextRetry")
    return Situation(
        state=text_of(now["State"]),
        activity=text_of(now["Activity"]),
        is_enabled=bool(now["Enabled"]),
        is_reboot_required=bool(now["RebootRequired"]),
        is_config_valid=bool(seen.config.get("Valid", True)),
        is_hindered=_is_hindered(now),
        inhibitors=_inhibitors(now),
        next_retry=moment(retry) if retry else "",
        target_test=text_of(now.get("TargetTestResult", "")),
        is_last_dump_whole=bool(seen.dump.get("Complete", True)),
    )


def _is_hindered(now: Properties) -> bool:
    """StateReason names an error, and neither the state itself nor what makes the image stale."""
    reason = text_of(now["StateReason"])
    return reason not in {now["State"], "force_no_rebuild"} and not reason.endswith("-changed")


def _inhibitors(now: Properties) -> tuple[str, ...]:
    return tuple(f"{text_of(who)} ({text_of(why)})" for _, who, why in _listed(now, "Inhibitors", 3))


def _listed(of: Properties, name: str, fields: int) -> list[tuple[Value, ...]]:
    """The structs of an array, where there is one."""
    listed = of.get(name, ())
    found = listed if isinstance(listed, tuple) else ()
    return [each for each in found if isinstance(each, tuple) and len(each) == fields]


def _activity(seen: Sight) -> Sequence[Row]:
    activity = text_of(seen.manager["Activity"])
    if activity == "idle" and not seen.job:
        return ()
    of_job = f" ({progress(seen.job)})" if seen.job else ""
    return (("activity", f"kdumpd is {activity}{of_job}", Tone.DOUBT),)


def _target(seen: Sight) -> Sequence[Row]:
    place = where_to(seen.config.get("Target", {}))
    wrong = [each for each in _listed(seen.config, "Diagnostics", 5) if each[1] == "error"]
    rows: list[Row] = [("target", place or "not known while there is no plan", Tone.PLAIN)]
    if wrong:
        line, sentence = str(wrong[0][0]), text_of(wrong[0][4])
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        told = f"{text_of(seen.config.get('Path', ''))}:{line}: {sentence}"
        if told not in text_of(seen.manager["StateMessage"]):
            rows.append(("configuration", f"{told}{more}", Tone.BAD))
    return rows


def _image(seen: Sight) -> Sequence[Row]:
    path = text_of(seen.manager["InitramfsPath"])
    if not path:
        return (("image", "none of kdumpd's is loaded", Tone.PLAIN),)
    weight = count(seen.kernel, "InitramfsSize")
    of_kernel = text_of(seen.kernel.get("Release", "")) or text_of(seen.manager["KernelRelease"])
    parts = (
        f"of {of_kernel}",
        size(weight) if weight else "",
        f"built {moment(count(seen.manager, 'InitramfsBuilt'))}",
    )
    engine = text_of(seen.manager["Engine"])
    by_engine = f" by engine {engine}" if engine else ""
    return (("image", f"{', '.join(filter(None, parts))}{by_engine}", Tone.PLAIN), ("", path, Tone.PLAIN))


def _reservation(now: Properties) -> Row:
    reserved = count(now, "ReservedBytes")
    parameter = text_of(now["CrashkernelParameter"]) or "no crashkernel= on the command line"
    due = "; a reboot is required for a change to take effect" if now["RebootRequired"] else ""
    told = f"{size(reserved)} ({parameter}){due}" if reserved else f"none ({parameter}){due}"
    return ("reservation", told, Tone.DOUBT if due or not reserved else Tone.PLAIN)


def _kept_away(now: Properties) -> Sequence[Row]:
    who = _inhibitors(now)
    return (("inhibited", f"by {', '.join(who)}", Tone.DOUBT),) if who else ()


def _dump(dump: Properties) -> Row:
    if not dump:
        return ("last dump", "none was found", Tone.PLAIN)
    is_whole = bool(dump.get("Complete", True))
    parts = (
        moment(count(dump, "Time")),
        "of a test" if dump.get("Test") else "",
        size(count(dump, "Size")),
        "" if is_whole else "incomplete",
    )
    reason = text_of(dump.get("Reason", ""))
    told = (
        f"{', '.join(filter(None, parts))}{': ' if reason else ''}{reason} in {text_of(dump.get('Path', ''))}"
    )
    return ("last dump", told, Tone.PLAIN if is_whole else Tone.DOUBT)


def _tested(now: Properties) -> Row:
    result = text_of(now.get("TargetTestResult", ""))
    if not result:
        return ("target test", "none yet", Tone.PLAIN)
    return ("target test", tested(now), _TEST_TONES.get(result, Tone.PLAIN))


def _crashed(now: Properties) -> Row:
    result = text_of(now.get("TestCrashState", "none"))
    told = "" if result == "none" else test_crash_told(now)
    return ("test crash", told, _TEST_TONES.get(result, Tone.PLAIN))


def _told(seen: Sight) -> Mapping[str, Value]:
    return {
        **seen.manager,
        "Operational": bool(seen.manager["Protected"]),
        "ConfigValid": seen.config.get("Valid", False),
        "Target": seen.config.get("Target", {}),
        "Diagnostics": seen.config.get("Diagnostics", ()),
        "Dump": seen.dump,
        "Job": seen.job,
        "NextStep": next_step(_situation(seen)),
    }


def _without_daemon(why: str, *, as_json: bool) -> int:
    is_loaded = cli_kernel.is_loaded()
    if as_json:
        print(json.dumps({"Operational": is_loaded, "CrashKernelLoaded": is_loaded, "Error": why}, indent=2))
    else:
        on = screen()
        unknown = "; whether what is loaded is what the configuration says is not known" if is_loaded else ""
        print(on.painted(operational(is_loaded), Tone.DOUBT if is_loaded else Tone.BAD))
        print(on.painted(f"{why}{unknown}", Tone.PLAIN))
    return OK if is_loaded else NOT_OPERATIONAL
