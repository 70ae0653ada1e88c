"""Whether the work goes on: who begins something says how long it may take, and is late when it takes longer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator

from systemd import daemon as systemd

from kdumpd.core.decide import BuildBase, BuildImage, Step

logger = logging.getLogger(__name__)

LOOK_SECONDS = 300.0  # on the slowest machine, with servers that do not answer
LOAD_SECONDS = 600.0  # kexec's own bound, an image to be read before, and a kernel that is busy
PUBLISH_SECONDS = 600.0  # after a build: what is written has to be on the disk


def longest(step: Step, *, build_timeout_seconds: float) -> float:
    """In seconds, how long `step` may take before it is taken for stuck; its own bounds end it sooner.

    On a full disk a build is begun anew once.
    """
    is_build = isinstance(step, BuildBase | BuildImage)
    return 2 * build_timeout_seconds + PUBLISH_SECONDS if is_build else LOAD_SECONDS


class Pulse:
    """Goes by a clock that nobody sets, and that stands still while the machine sleeps."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        """Seconds, of use for differences alone."""
        self._due: dict[object, tuple[str, float]] = {}

    @contextlib.contextmanager
    def within(self, seconds: float, doing: str) -> Iterator[None]:
        """What happens inside is over in `seconds`, or something is stuck that will not come loose by itself."""
        mark = object()
        self._due[mark] = doing, self.now() + seconds
        try:
            yield
        finally:
            del self._due[mark]

    @property
    def late(self) -> str:
        """What ought to be over by now, "" where all is in its time."""
        now = self.now()
        return next((doing for doing, due in self._due.values() if due < now), "")


async def stay_alive(pulse: Pulse) -> None:
    """A sign of life twice in the time that systemd allows, as long as the loop turns and nothing in it is late."""
    allowed = os.environ.get("WATCHDOG_USEC", "")
    if not allowed.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return
    while True:
        if pulse.late:
            logger.error(
                "stuck: %s takes longer than anything of the kind; systemd may begin anew", pulse.late
            )
        else:
            systemd.notify("WATCHDOG=1")
        await asyncio.sleep(int(allowed) / 2e6)
