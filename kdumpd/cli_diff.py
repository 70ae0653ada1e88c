"""kdumpctl config diff: what another kdump.conf would change here, and what would have to be done for it; needs no daemon."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from kdumpd import offline
from kdumpd.cli_files import read_input
from kdumpd.cli_screen import Screen, Tone, complain, screen
from kdumpd.cli_words import FAILED, OK
from kdumpd.core import explain
from kdumpd.core.comparing import Change
from kdumpd.core.config import printable
from kdumpd.core.problems import Problem

_ARROW = " \N{RIGHTWARDS ARROW} "


def run(asked: argparse.Namespace) -> int:
    """0 where the other text leads to a plan, whatever differs; 1 where it does not, or cannot be read."""
    contents = read_input(asked.new)
    if isinstance(contents, Problem):
        complain(str(contents))
        return FAILED
    found = offline.compare(contents.text, root=asked.root)
    if asked.json:
        print(json.dumps(_told(found), indent=2, sort_keys=True))
    else:
        print("\n".join(_lines(found, screen())))
    for problem in found.after.problems:
        complain(f"{'' if problem.is_error else 'WARNING: '}{problem}")
    return OK if found.after.plan is not None else FAILED


def changed_rows(changes: Sequence[Change]) -> list[tuple[str, str, Tone]]:
    """Each directive with what it said and what it says."""
    return [
        (printable(each.name), f"{_values(each.before)}{_ARROW}{_values(each.after)}", Tone.PLAIN)
        for each in changes
    ]


def _lines(found: offline.Comparison, on: Screen) -> list[str]:
    if not found.changes:
        return ["both say the same"]
    return [*on.rows(changed_rows(found.changes)), "", *_work(found, on)]


def _work(found: offline.Comparison, on: Screen) -> list[str]:
    if found.after.plan is None:
        return [on.painted("it cannot be armed", Tone.BAD)]
    if found.before.plan is None:
        return ["the present text cannot be armed, so everything would be built from the new one"]
    lines = [line for each in found.differences for line in on.paragraph(str(each), Tone.PLAIN)]
    return [*lines, *on.paragraph(explain.what_follows(found.differences), Tone.STRONG)]


def _values(values: Sequence[str]) -> str:
    return ", ".join(printable(each) or '""' for each in values) or "nothing"


def _told(found: offline.Comparison) -> dict[str, object]:
    return {
        "changes": [
            {"name": each.name, "before": list(each.before), "after": list(each.after)}
            for each in found.changes
        ],
        "differences": [str(each) for each in found.differences],
        "follows": explain.what_follows(found.differences),
        "problems": [str(each) for each in found.after.problems],
    }
