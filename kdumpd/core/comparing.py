"""What differs between two texts of kdump.conf in what they say, whatever they look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kdumpd.core.document import Document
from kdumpd.core.settings import SETTINGS, Affects
from kdumpd.core.values import FailureAction, also_final, failure_action


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One directive with what it says in each, a default where it says nothing; empty where there is none either."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    affects: Affects | None
    """None where `name` is no directive."""


def changes(before: Document, after: Document) -> tuple[Change, ...]:
    """Those that differ, in the order of the first text and then of the second; what `default` says of others comes last."""
    found = []
    keys = *before.keys, *after.keys
    for name in dict.fromkeys((*keys, *(("failure_action", "final_action") if "default" in keys else ()))):
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
    return (_by_default(document).get(name, SETTINGS[name].default),)


def _by_default(document: Document) -> Mapping[str, str]:
    """What RHEL 6's `default` says in the words of today."""
    action = failure_action(document.get("default") or "").value
    if not isinstance(action, FailureAction):
        return {}
    also = also_final(action)
    return {"failure_action": action.value, **({"final_action": also.value} if also is not None else {})}
