"""kdumpd-early: loads the last good image as soon as its files are there; whether it is today's, kdumpd asks later.

The daemon needs a message bus and looks at the whole machine; this needs neither. It decides as the daemon does on a
machine without a plan: where nothing is loaded, what was good before is better than nothing while one is made.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
from collections.abc import Sequence

from kdumpd.core import facts
from kdumpd.core.armed import Armed
from kdumpd.core.decide import Action, Observed, Restore, decide
from kdumpd.core.plan import Resolution
from kdumpd.core.problems import Problem, Trouble
from kdumpd.host.doors import Files, Programs, text
from kdumpd.host.image import FOLDER, Store
from kdumpd.host.kexec import Kexec
from kdumpd.host.real import RealFiles, RealPrograms
from kdumpd.service import logs
from kdumpd.service.wishes import Wishes

logger = logging.getLogger(__name__)

TUNING_FILE = "/etc/kdumpd.toml"


def main(argv: Sequence[str] | None = None) -> int:
    """Always 0: what could not be loaded here is the daemon's to load, and to tell."""
    asked = _parser().parse_args(argv)
    logs.begin()
    try:
        asyncio.run(load_last_good(RealFiles(asked.root), _programs(asked)))
    except (Trouble, OSError) as fault:
        logger.warning("nothing is loaded before kdumpd looks: %s", fault)
    return 0


async def load_last_good(files: Files, programs: Programs) -> None:
    """Raises Trouble or OSError where there is something to load that cannot be loaded."""
    store, kexec = Store(files, folder=_store_folder(text(files, TUNING_FILE))), Kexec(files, programs)
    wishes = Wishes(files, programs, folder=store.folder)
    release = text(files, "/proc/sys/kernel/osrelease")
    last_good = store.last_good()
    seen = Observed(
        crash=kexec.crash_kernel(),
        now_us=0,  # no step has failed yet, so that none has its time
        enabled=wishes.enabled,
        held=wishes.held,
        armed=kexec.armed(),
        intent_left=kexec.intent() is not None,
        last_good=last_good if last_good is not None and last_good.kernel_release == release else None,
        layout=facts.layout(
            cpus_present=text(files, "/sys/devices/system/cpu/present"), iomem=text(files, "/proc/iomem")
        ),
    )
    action = decide(Resolution(plan=None), seen)
    match action:
        case Restore(last_good=record):
            _require_sound(record, store=store, files=files)
            await kexec.restore(record)
            logger.info("the last good image is loaded; kdumpd looks whether it is still what is wanted")
        case _:
            logger.info("nothing is loaded before kdumpd looks: %s", _why(action, seen, last_good))


def _store_folder(own_settings: str) -> str:
    if not re.search(r"^\s*[\"']?store\b", own_settings, flags=re.MULTILINE):
        return FOLDER
    from kdumpd.core import tuning  # a quarter of the whole start, and hardly anybody moves the store

    found = tuning.read(own_settings, file=TUNING_FILE).tuning
    return found.store if found is not None else FOLDER


def _require_sound(record: Armed, *, store: Store, files: Files) -> None:
    store.require_sound(record)
    if files.digest(record.kernel_image) != record.kernel_digest:
        # Another build of the same release: whether the modules of the image fit it, only a look can tell.
        raise Trouble(
            Problem(
                code="kernel-changed",
                message=f"{record.kernel_image} is another file than the last good image was loaded with",
                file=record.kernel_image,
            )
        )


def _why(action: Action, seen: Observed, stored: Armed | None) -> str:
    if seen.crash.loaded:
        return "there is a crash kernel already"
    if action.why and seen.last_good is not None:
        return action.why
    if stored is not None:
        return f"the stored image is for kernel {stored.kernel_release}"
    return "no stored image is whole, or its kernel is gone"


def _parser() -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(prog="kdumpd-early", description=__doc__)
    known.add_argument("--root", default="/", metavar="DIR", help="read and write below this directory")
    known.add_argument("--simulate", action="store_true", help="pretend to load: flip the files under --root")
    return known


def _programs(asked: argparse.Namespace) -> Programs:
    if not asked.simulate:
        return RealPrograms(asked.root)
    from kdumpd.host.simulated import SimulatedPrograms

    return SimulatedPrograms(asked.root)


if __name__ == "__main__":
    sys.exit(main())
