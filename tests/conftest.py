"""What holds for every test: no example is failed for being slow, and a test that shows a directive is taken note of."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.directives import Recorder, Shown, collected, has_everything, shown_by

# Where a law needs more examples than these, its test says so.
settings.register_profile(
    "kdumpd", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kdumpd")

_SHOWN = pytest.StashKey[Shown]()


def pytest_configure(config: pytest.Config) -> None:
    # A shell without job control has what it starts in the background ignore Ctrl-C, and all that this starts as well.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # side by side, the one that hands out the tests hears of them all
        config.pluginmanager.register(Recorder())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    found = shown_by(items)  # before any are left out
    if has_everything(items):
        config.stash[_SHOWN] = found


@pytest.fixture(scope="session")
def shown(request: pytest.FixtureRequest) -> Shown:
    """Which tests show what, over all tests, though only a few are run."""
    stash = request.config.stash
    return stash[_SHOWN] if _SHOWN in stash else collected()
