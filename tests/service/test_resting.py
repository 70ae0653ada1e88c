"""What is done once the work is over is not done in the middle of the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kdumpd.service.resting import REST_SECONDS, Resting


class _Loop(asyncio.SelectorEventLoop):
    """Whose time passes at once when there is nothing else to do."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def _run(work: Callable[[Resting, _Loop], None]) -> int:
    done: list[None] = []
    loop = _Loop()

    async def main() -> None:
        work(Resting(lambda: done.append(None)), loop)
        loop.ahead += REST_SECONDS
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return len(done)


def test_what_is_to_be_done_at_rest_is_done_once() -> None:
    def twice(resting: Resting, _: _Loop) -> None:
        resting.begin()
        resting.begin()

    assert _run(twice) == 1


def test_nothing_is_done_while_something_else_has_begun() -> None:
    def begins_anew(resting: Resting, _: _Loop) -> None:
        resting.begin()
        resting.put_off()

    assert _run(begins_anew) == 0


def test_a_rest_counts_from_the_last_end() -> None:
    def later(resting: Resting, loop: _Loop) -> None:
        resting.begin()
        loop.ahead += REST_SECONDS / 2
        resting.put_off()
        resting.begin()
        loop.ahead -= 1.0

    assert _run(later) == 0
