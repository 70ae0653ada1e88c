"""One image and one frozen machine for the session; each test wakes a machine of its own from it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm.build import image, package_under_test
from tests.vm.frozen import Frozen, freeze, idle_and_armed
from tests.vm.machine import Machine
from tests.vm.server import frozen_server
from tests.vm.store import cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.vm.build import Image

_HERE = Path(__file__).parent
_SECONDS_FOR_A_TEST = 3600  # the first one builds and boots everything
_BEGUN = time.monotonic()
_MINUTES = float(os.environ.get("KDUMPD_VM_MINUTES", "50"))
"""No test begins later than that after the first one, so that a host that is slow today comes to an end; 0: any time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Nobody is to wait alone for the longest at the end; what is only about the harness can wait.
    items.sort(key=lambda item: (item.get_closest_marker("long") is None, item.path.stem == "test_harness"))
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.vm)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_SECONDS_FOR_A_TEST))


def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = (time.monotonic() - _BEGUN) / 60
    if _MINUTES and minutes > _MINUTES and item.path.is_relative_to(_HERE):
        pytest.skip(
            f"this host is slow: after {minutes:.0f} min no machine is crashed any more (KDUMPD_VM_MINUTES=0 does)"
        )


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints at once, past pytest's capture: a build of minutes must not look like a hang.

    One of several processes has no terminal of its own, but the standard error of the one that started it."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            if reporter is None or _process():
                os.write(2, f"[vm {_process()}] {text}\n".encode())
            else:
                reporter.write_line(f"[vm] {text}")
                reporter.flush()

    return line


def _process() -> str:
    """The name of this one of several test processes, the first being gw0; "" where there is but one."""
    return os.environ.get("PYTEST_XDIST_WORKER", "")


@pytest.fixture(scope="session")
def built(say: Callable[[str], None]) -> Image:
    """The machine as a disk: Debian, and the package named by $KDUMPD_DEB if there is one."""
    return image(package=package_under_test(), say=say)


@pytest.fixture(scope="session")
def frozen(built: Image, say: Callable[[str], None]) -> Frozen:
    """The booted, idle machine; with the package, armed as it is after any boot."""
    if _process() not in {"", "gw0"}:
        # What is needed later is made now by those that would only wait for the first one.
        frozen_server(say=say)
    if built.package is None:
        return freeze(built, say=say)
    return freeze(built, say=say, ready=idle_and_armed, means="armed")


@pytest.fixture
def console_log(request: pytest.FixtureRequest) -> Path:
    """Where this test's console is kept, with host timestamps, after the test too."""
    logs = cache() / "logs"
    logs.mkdir(exist_ok=True)
    return logs / (re.sub(r"[^\w.-]+", "_", request.node.name) + ".log")


@pytest.fixture
def machine(frozen: Frozen, console_log: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine of this test's own, just woken; on a failure the console's end is in the report."""
    with frozen.wake(log=console_log) as woken:
        yield woken
        request.node.add_report_section("teardown", "console", f"{console_log}\n{woken.console.tail(40)}")


@pytest.fixture
def server(say: Callable[[str], None]) -> Iterator[Machine]:
    """The machine at the other end of the wires (tests.vm.server), just woken."""
    with frozen_server(say=say).wake() as woken:
        yield woken
