"""kdumpctl import: what another tool's configuration means in kdump.conf, printed or written; needs no daemon."""

from __future__ import annotations

import argparse
import glob
import json
import os
from collections.abc import Iterator

from kdumpd.cli_files import read_contents, write_text
from kdumpd.cli_screen import complain
from kdumpd.cli_words import FAILED, OK
from kdumpd.core import sysconfig, tuning
from kdumpd.core.config import printable
from kdumpd.core.import_draft import Import, Lack, Tool, assignment, toml_line
from kdumpd.core.imports import BACKUP, FILES, beside, changes, imported, named_sysconfig
from kdumpd.core.problems import Problem, Trouble

NO_SUCH_TARGET = 2


def run(asked: argparse.Namespace) -> int:
    """0, also where something has no equivalent; 1 where it was not done; 2 where the target has none or is not clear."""
    contents = read_contents(asked.file)
    if isinstance(contents, Problem):
        return _failed(contents)
    try:
        found = imported(
            contents.text,
            file=asked.file,
            architecture=os.uname().machine,
            tool=Tool(asked.tool) if asked.tool else None,
        )
    except Trouble as trouble:
        return _failed(*trouble.problems)
    found = beside(found, file=os.path.realpath(asked.file))
    if asked.json:
        print(json.dumps(_as_json(found), indent=2, sort_keys=True))
    elif not (asked.write or asked.output) or not found.saves_there:
        print(found.conf.render(), end="")
    if not asked.json:
        for line in _told(found, asked.file, is_written=asked.write):
            complain(line)
    if not found.saves_there:
        why = "its target has no equivalent" if found.is_clear else "it is not clear where its dumps go"
        complain(f"{printable(asked.file)}: {why}, and nothing is written")
        return NO_SUCH_TARGET
    if asked.output:
        problem = write_text(asked.output, found.conf.render())
        return _failed(problem) if problem is not None else OK
    return _write(found) if asked.write else OK


def _write(found: Import) -> int:
    present: dict[str, str] = {}
    paths = [*FILES]
    for path in paths:
        contents = read_contents(path, may_be_new=True)
        if isinstance(contents, Problem):
            return _failed(contents)
        if contents.existed:
            present[path] = contents.text
        if path == tuning.FILE and (named := named_sysconfig(contents.text)):
            paths.append(named)
    for change in changes(found, present, backups=glob.glob(f"{BACKUP}*")):
        problem = write_text(change.path, change.text)
        if problem is not None:
            return _failed(problem)
        complain(f"wrote {change.path}")
    return OK


def _told(found: Import, file: str, *, is_written: bool) -> Iterator[str]:
    for lack in found.lacks:
        yield f"{_where(file, lack)}: {lack.name}{': ' if lack.name else ''}{lack.why}"
    for problem in found.warnings:
        yield f"WARNING: {problem}"
    if is_written:
        return
    for name, value in found.variables:
        yield f"belongs in {' or '.join(reversed(sysconfig.FILES))}: {assignment(name, value).rstrip()}"
    for key, wanted in found.keys:
        yield f"belongs in {tuning.FILE}: {toml_line(key, wanted).rstrip()}"


def _where(file: str, lack: Lack) -> str:
    return f"{printable(file)}:{lack.line}" if lack.line else f"{printable(file)} (a default)"


def _as_json(found: Import) -> dict[str, object]:
    return {
        "from": found.tool.value,
        "saves_there": found.saves_there,
        "kdump.conf": found.conf.render(),
        "variables": dict(found.variables),
        "kdumpd.toml": dict(found.keys),
        "lacks": [{"line": lack.line, "name": lack.name, "why": lack.why} for lack in found.lacks],
        "warnings": [{"code": problem.code, "message": str(problem)} for problem in found.warnings],
    }


def _failed(*problems: Problem) -> int:
    for problem in problems:
        complain(str(problem))
    return FAILED
