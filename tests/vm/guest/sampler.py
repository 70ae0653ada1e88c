#!/usr/bin/python3
"""Watches in the guest, every 5 ms, whether a crash kernel is loaded; says of each gap whether a load call was under way.

Written for a machine whose kernel frees the loaded image inside the load call and nowhere else: whenever nothing is
loaded, a kexec process must exist. Ends at SIGTERM and writes what it saw to the file named by its argument.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from pathlib import Path

NEW, OLD = Path("/sys/kernel/kexec/crash_loaded"), Path("/sys/kernel/kexec_crash_loaded")
LOADED = NEW if NEW.exists() else OLD
EVERY = 0.005


def is_loaded() -> bool:
    return LOADED.read_text().strip() == "1"


def is_loading() -> bool:
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if comm.read_text().strip() == "kexec":
                return True
    return False


def main() -> None:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    samples = 0
    gaps: list[float] = []
    unprotected: list[float] = []
    since: float | None = None
    while not ended:
        samples += 1
        if is_loaded():
            if since is not None:
                gaps.append(time.monotonic() - since)
                since = None
        else:
            since = since or time.monotonic()
            # Looked at again: the call may have ended between the two readings.
            if not is_loading() and not is_loaded():
                unprotected.append(time.time())
        time.sleep(EVERY)
    seen = {"samples": samples, "gaps": gaps, "unprotected": unprotected}
    Path(sys.argv[1]).write_text(json.dumps(seen))


main()
