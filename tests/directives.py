"""Which test shows which directive, and what came of it: docs/DIRECTIVES.md is made of the tables and the test runs.

A test says `@pytest.mark.shows("kdump_pre", "failure_action poweroff")`; each run writes what came of such tests to
build/outcomes.json. `python -m tests.directives` writes the page anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import pytest

from kdumpd.core.located import FILESYSTEMS
from kdumpd.core.settings import SETTINGS, Affects
from kdumpd.core.sysconfig import LOG_LEVELS, VARIABLES
from kdumpd.core.targets import BLOCK_FILESYSTEMS, DEVICE_TAGS
from kdumpd.core.values import FailureAction, FinalAction

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "DIRECTIVES.md"
OUTCOMES = TESTS.parent / "build" / "outcomes.json"
MACHINES = "vm/"
"""Tests below this folder are the ones that crash a machine."""

SUBJECTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Directives of kdump.conf": tuple(SETTINGS),
        "Values": (
            *(f"failure_action {action}" for action in FailureAction),
            "default mount_root_run_init",
            *(f"final_action {action}" for action in FinalAction),
            "core_collector makedumpfile",
            *(f"core_collector makedumpfile {option}" for option in ("-c", "-l", "-p", "-z", "-E", "-F")),
            "core_collector makedumpfile -d 11,31",
            "core_collector makedumpfile --num-threads",
            "core_collector cp",
            "core_collector scp",
        ),
        "How a target is named": (
            "a node in /dev",
            *(f"{tag}=" for tag in DEVICE_TAGS),
            "no target: the device that holds path",
            "no target: a bind mount",
            "an NFS server by IPv4",
            "an NFS server by IPv6",
            "an ssh server by IPv4",
            "an ssh server by IPv6",
            "dracut_args --mount",
        ),
        "What a target lies on, or is reached through": (
            "a partition or disk",
            "a btrfs subvolume",
            "LVM",
            "LVM thin",
            "MD raid 1",
            "LUKS",
            "multipath",
            "iSCSI",
            "engine dracut",
            "NFS 3",
            "NFS 4",
            "bond",
            "vlan",
            "bridge",
            "vlan on a bond",
        ),
        "Folders of hooks": ("/etc/kdump/pre.d", "/etc/kdump/post.d", "/etc/kdump/emergency.d"),
        "Variables of /etc/sysconfig/kdump": (*VARIABLES, *LOG_LEVELS),
    }
)

_BEFORE_THE_CRASH = "it has done its work before the crash"
NO_CRASH_NEEDED: Mapping[str, str] = MappingProxyType(
    {
        **{name: _BEFORE_THE_CRASH for name, row in SETTINGS.items() if row.affects is Affects.RUNTIME},
        **{
            name: ("ext4's driver serves it" if name in {"ext2", "ext3"} else "planned as minix is")
            if name in FILESYSTEMS
            else "refused with its line, and the reason"
            for name in BLOCK_FILESYSTEMS
            if name not in {"ext4", "xfs", "btrfs", "minix"}
        },
        **dict.fromkeys((*VARIABLES, *LOG_LEVELS), _BEFORE_THE_CRASH),
        "default": "another name of failure_action",
        "default mount_root_run_init": "another name of failure_action dump_to_rootfs",
        "net": "another name of nfs and ssh",
        "PARTUUID=": "found before the crash, and named by its file system from then on",
        "PARTLABEL=": "found before the crash, and named by its file system from then on",
        "core_collector makedumpfile -p": "to kdumpd the same as -l",
        "core_collector makedumpfile --num-threads": "threads spin: they want four processors, the tests have two",
    }
)
"""Why no machine has to crash to show it."""

WAITING: frozenset[str] = frozenset()
"""What no test shows yet. Whoever adds such a test takes the subject out here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    result: str  # passed, failed, skipped
    day: str


Shown = Mapping[str, Mapping[str, Sequence[str]]]
"""Subject -> test function, as `core/test_x.py::test_y` -> ids of its examples."""


# --- while tests are collected and run --------------------------------------------------------------------------------


def shown_by(items: Iterable[pytest.Item]) -> dict[str, dict[str, list[str]]]:
    """What the marks of collected tests say; each such test carries it along in its report."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        subjects = dict.fromkeys(subject for mark in item.iter_markers("shows") for subject in mark.args)
        if not subjects:
            continue
        item.user_properties.append(("shows", list(subjects)))
        for subject in subjects:
            found[subject][_function(item.nodeid)].append(item.nodeid)
    return {subject: dict(tests) for subject, tests in found.items()}


def _function(nodeid: str) -> str:
    return nodeid.partition("[")[0].removeprefix("tests/")


def has_everything(items: Iterable[pytest.Item]) -> bool:
    return {item.path for item in items} >= set(TESTS.rglob("test_*.py"))


class Recorder:
    """Notes what came of each marked test, and writes it down at the end, beside what earlier runs found."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "shows" not in dict(report.user_properties):
            return
        if report.failed or (report.skipped and report.nodeid not in self._found):
            self._found[report.nodeid] = report.outcome
        elif report.when == "call":
            self._found.setdefault(report.nodeid, report.outcome)

    def pytest_sessionfinish(self) -> None:
        if not self._found:
            return
        day = datetime.now(UTC).date().isoformat()
        OUTCOMES.parent.mkdir(exist_ok=True)
        with OUTCOMES.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
            known |= {
                nodeid: {"result": result, "day": day} for nodeid, result in sorted(self._found.items())
            }
            beside = OUTCOMES.with_suffix(".new")
            beside.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            os.replace(beside, OUTCOMES)


class _Collected:
    def __init__(self) -> None:
        self.shown: dict[str, dict[str, list[str]]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.shown = shown_by(items)


def collected() -> Shown:
    """The marks of all tests, collected by a pytest of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.directives", "--collect"],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    shown: Shown = json.loads(ran.stdout.splitlines()[-1])
    return shown


def outcomes() -> Mapping[str, Outcome]:
    known = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
    return {nodeid: Outcome(**told) for nodeid, told in known.items()}


# --- the page ---------------------------------------------------------------------------------------------------------

_HEAD = """# Every directive, and the test that shows it

Made from the table of directives, from the marks of the tests and from what the last runs of them found:
`python -m tests.directives` writes it anew, and an ordinary test fails where a directive has no test or a test named
here is gone. A crash is a real one: a virtual machine with the package installed panics, and the dump is read back.
The day is the one on which the test last ran; of several examples the worst counts."""


_ENTRY = re.compile(r"`([^`]*::[^`]*)` (not run|\w+ \d{4}-\d\d-\d\d)")


def told_before(text: str) -> Mapping[str, str]:
    """What a page says of each test: of one that did not run here since, it stays true with its day."""
    return {name: result for name, result in _ENTRY.findall(text) if result != "not run"}


def page(shown: Shown, known: Mapping[str, Outcome], before: Mapping[str, str] = MappingProxyType({})) -> str:
    parts = [_HEAD]
    for group, subjects in SUBJECTS.items():
        parts += [f"\n## {group}\n", "| | shown by a crash | shown without one |", "|---|---|---|"]
        parts += [_row(subject, shown.get(subject, {}), known, before) for subject in subjects]
    return "\n".join(parts) + "\n"


def _row(
    subject: str, tests: Mapping[str, Sequence[str]], known: Mapping[str, Outcome], before: Mapping[str, str]
) -> str:
    told = {
        name: f"`{name}` {_result(tests[name], known) or before.get(name, 'not run')}"
        for name in sorted(tests)
    }
    crashed = [text for name, text in told.items() if name.startswith(MACHINES)]
    quiet = [text for name, text in told.items() if not name.startswith(MACHINES)]
    why = NO_CRASH_NEEDED.get(subject)
    otherwise = f"not needed: {why}" if why else "**not yet**"
    return f"| `{subject}` | {'<br>'.join(crashed) or otherwise} | {'<br>'.join(quiet) or _none(crashed)} |"


def _none(crashed: Sequence[str]) -> str:
    return "needs none beside it" if crashed else "**not yet**"


def _result(nodeids: Sequence[str], known: Mapping[str, Outcome]) -> str:
    ran = [known[nodeid] for nodeid in nodeids if nodeid in known]
    if len(ran) < len(nodeids):
        return ""
    worst = max((outcome.result for outcome in ran), key=("passed", "skipped", "failed").index)
    return f"{worst} {min(outcome.day for outcome in ran)}"


def without_results(text: str) -> str:
    """The page as far as it does not depend on a run."""
    return _ENTRY.sub(r"`\1`", text)


def main() -> None:
    if "--collect" in sys.argv:
        plugin = _Collected()
        pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", str(TESTS)], plugins=[plugin])
        print("\n" + json.dumps(plugin.shown))
        return
    PAGE.write_text(page(collected(), outcomes(), told_before(PAGE.read_text())))


if __name__ == "__main__":
    main()
