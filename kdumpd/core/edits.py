"""Changes of kdump.conf that people and programs ask for: checked first, then made without touching anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from kdumpd.core.config import printable, read
from kdumpd.core.document import Document
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.settings import SETTINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """The document after the changes, or None where one was refused, and what is to be said of them."""

    document: Document | None
    problems: tuple[Problem, ...]


def edited(document: Document, changes: Mapping[str, Sequence[str]], *, file: str) -> Edit:
    """Each directive of `changes` stands with exactly those values afterwards; no value unsets it.

    A target replaces the target that was there, in its place. Values of a directive that stands once are joined by a
    blank. Refused is what is no directive, what cannot be written, and what would bring an error that was not there.
    """
    problems: list[Problem] = []
    after = document
    for key, values in changes.items():
        try:
            after = _with(after, key, values)
        except Trouble as trouble:
            problems += trouble.problems
    if not problems:
        before = {
            (problem.code, problem.key) for problem in read(document, file=file).problems if problem.is_error
        }
        problems += (
            problem
            for problem in read(after, file=file).problems
            if problem.key in changes or (problem.is_error and (problem.code, problem.key) not in before)
        )
    refused = any(problem.is_error for problem in problems)
    told = tuple(
        replace(problem, file=file, key=printable(problem.key), message=printable(problem.message))
        for problem in problems
    )
    return Edit(document=None if refused else after, problems=told)


def unknown_directive(key: str) -> Problem | None:
    """That `key` is no directive, with what it was perhaps meant to be."""
    if key in SETTINGS:
        return None
    close = get_close_matches(key[:80], SETTINGS, n=1)
    hint = f"did you mean {close[0]}?" if close else ""
    return Problem(code="unknown-directive", message=f"`{key}` is not a directive", hint=hint, key=key)


def _with(document: Document, key: str, values: Sequence[str]) -> Document:
    if not values:
        return document.unset(key)
    unknown = unknown_directive(key)
    if unknown:
        raise Trouble(unknown)
    setting = SETTINGS[key]
    written = tuple(values) if setting.repeats else (" ".join(values),)
    if setting.is_target:
        for other in document.keys:
            if other != key and other in SETTINGS and SETTINGS[other].is_target:
                document = (
                    document.unset(other) if key in document.keys else document.rename(other, key, written[0])
                )
    return document.set(key, *written)
