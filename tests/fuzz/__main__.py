"""`make fuzz`: the daemon on a private bus, and a hostile crowd. The seed is printed; with it, the same calls come again.

python -m tests.fuzz [--seed N] [--calls N]
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.fuzz.ended import MIB, idle, machine_with_dumps, still_well
from tests.fuzz.run import Report, Run
from tests.service.private_bus import private_bus
from tests.simulate import simulated

CALLS = 200_000


async def fuzz(folder: Path, *, seed: int, calls: int) -> tuple[Report, int]:
    """What became of the calls, and how many bytes the daemon has grown by."""
    root = machine_with_dumps(folder)
    async with private_bus() as bus, simulated(folder, bus, root=root) as machine:
        before = await idle(machine)
        report = await Run(bus.address, machine.client, seed=seed, calls=calls)()
        print(report, flush=True)
        grown = await still_well(machine, before)
        print(f"armed, and {grown / MIB:+.1f} MiB of {before.resident_bytes / MIB:.1f} MiB when idle")
        return report, grown


def main() -> int:
    asking = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asking.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    asking.add_argument("--calls", type=int, default=CALLS)
    asked = asking.parse_args()
    print(f"seed {asked.seed}, {asked.calls} calls", flush=True)
    with tempfile.TemporaryDirectory(prefix="kdumpd-fuzz-") as folder:
        asyncio.run(fuzz(Path(folder), seed=asked.seed, calls=asked.calls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
