"""What an inhibitor holds up and what it does not, in each state a machine can be in."""

from __future__ import annotations

from dataclasses import replace

from kdumpd.core.decide import Blocked, BuildBase, BuildImage, Load, Nothing, Observed, Restore, Wait, decide
from kdumpd.core.inhibitors import Inhibitor, refusal
from kdumpd.core.status import Activity, State
from tests.core.test_decide import BEFORE, GOOD, NOW, READY, TODAY, every_state, record, run
from tests.core.test_status import told

DPKG = Inhibitor(cookie=1, who="dpkg", why="packages are being installed")


def test_in_each_state_it_holds_up_what_is_done_to_a_loaded_machine_and_nothing_else() -> None:
    held_up = 0
    for resolution, seen in every_state():
        free = decide(resolution, seen)
        held = decide(resolution, replace(seen, inhibitors=(DPKG,)))
        if isinstance(free, Nothing | Wait | Blocked) or not seen.crash.loaded or not seen.wants_armed:
            assert held == free
        else:
            assert isinstance(held, Wait)
            assert (held.until_us, held.problems) == (0, (refusal((DPKG,)),))
            held_up += 1
    assert held_up > 1000


def test_it_leaves_no_machine_unprotected_that_would_be_protected() -> None:
    for resolution, seen in every_state():
        actions, at_rest = run(resolution, replace(seen, inhibitors=(DPKG,)))
        assert at_rest.crash.loaded == run(resolution, seen)[1].crash.loaded
        loads = [type(each) for each in actions if isinstance(each, Load | Restore)]
        assert len(loads) <= 1, "what protects the machine once is enough for now"


def test_a_lost_crash_kernel_is_restored_and_the_new_image_waits() -> None:
    lost = Observed(crash=READY, now_us=NOW, last_good=record(BEFORE), inhibitors=(DPKG,))
    actions, at_rest = run(GOOD, lost)
    assert [type(each) for each in actions] == [Restore, Wait]
    afterwards = run(GOOD, replace(at_rest, inhibitors=()))[0]
    assert [type(each) for each in afterwards] == [BuildBase, BuildImage, Load, Nothing]


def test_the_status_says_who_is_waited_for_and_promises_no_time() -> None:
    another = Inhibitor(cookie=2, who="snapper", why="a snapshot")
    stale = Observed(
        crash=replace(READY, loaded=True),
        now_us=NOW,
        armed=record(BEFORE),
        bases=frozenset({TODAY.base_fingerprint}),
        inhibitors=(DPKG, another),
    )
    status = told(GOOD, stale)
    assert (status.state, status.activity, status.reason) == (State.STALE, Activity.WAITING, "inhibited")
    assert (status.protected, status.next_retry_us, status.stale) == (True, 0, ("config-changed",))
    assert "dpkg asked kdumpd to wait: packages are being installed (and 1 more)" in status.message
