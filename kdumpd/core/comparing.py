"""What differs between two texts of kdump.conf in what they say, whatever they look like."""

from __future__ import annotations

from dataclasses import dataclass

from kdumpd.core.document import Document
from kdumpd.core.settings import SETTINGS, Affects


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One directive with what it says in each, a default where it says nothing; empty where there is none either."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    affects: Affects | None
    """None where `name` is no directive."""


def changes(before: Document, after: Document) -> tuple[Change, ...]:
    """Those that differ, in the order of the first text and then of the second."""
    found = []
    for name in dict.fromkeys((*before.keys, *after.keys)):
        said = _said(before, name), _said(after, name)
        if said[0] != said[1]:
            setting = SETTINGS.get(name)
            found.append(
                Change(
                    name=name,
                    before=said[0],
                    after=said[1],
                    affects=setting.affects if setting is not None else None,
                )
            )
    return tuple(found)


def _said(document: Document, name: str) -> tuple[str, ...]:
    values = document.values(name)
    if values or name not in SETTINGS or not SETTINGS[name].default:
        return values
    return (SETTINGS[name].default,)
