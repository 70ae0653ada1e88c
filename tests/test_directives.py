"""Each directive has a test that shows it, and docs/DIRECTIVES.md names the tests there are."""

from __future__ import annotations

import pytest

from tests.directives import (
    MACHINES,
    NO_CRASH_NEEDED,
    PAGE,
    SUBJECTS,
    WAITING,
    Outcome,
    Shown,
    page,
    told_before,
    without_results,
)

ALL = tuple(subject for subjects in SUBJECTS.values() for subject in subjects)
_SECONDS_TO_COLLECT = 120


@pytest.mark.timeout(_SECONDS_TO_COLLECT)
def test_every_mark_names_a_subject_of_the_page(shown: Shown) -> None:
    assert set(shown) - set(ALL) == set()
    assert set(NO_CRASH_NEEDED) - set(ALL) == set()


@pytest.mark.timeout(_SECONDS_TO_COLLECT)
def test_every_directive_has_a_test(shown: Shown) -> None:
    assert {subject for subject in ALL if not shown.get(subject)} == WAITING, (
        "see WAITING in tests/directives.py"
    )


@pytest.mark.timeout(_SECONDS_TO_COLLECT)
def test_the_page_is_current_but_for_the_results(shown: Shown) -> None:
    current = without_results(page(shown, {}))
    assert without_results(PAGE.read_text()) == current, "python -m tests.directives writes it anew"


def test_the_worst_example_counts_and_the_oldest_day() -> None:
    shown = {"path": {f"{MACHINES}test_x.py::test_y": ["a", "b"], "core/test_z.py::test_z": ["c"]}}
    known = {
        "a": Outcome(result="passed", day="2020-01-02"),
        "b": Outcome(result="failed", day="2020-01-03"),
    }
    (row,) = (line for line in page(shown, known).splitlines() if line.startswith("| `path` |"))
    assert row == "| `path` | `vm/test_x.py::test_y` failed 2020-01-02 | `core/test_z.py::test_z` not run |"
    assert "| `sshkey` | **not yet** | **not yet** |" in page(shown, known)


def test_what_did_not_run_here_keeps_what_the_page_says_of_it() -> None:
    shown = {"path": {"core/test_z.py::test_z": ["c"]}}
    before = page(shown, {"c": Outcome(result="passed", day="2020-01-02")})
    assert page(shown, {}, told_before(before)) == before
    now = page(shown, {"c": Outcome(result="failed", day="2020-01-03")}, told_before(before))
    assert "`core/test_z.py::test_z` failed 2020-01-03" in now
