"""What each revision of the API promises: members are added with a new revision, and never changed or removed.

docs/api/revisions.txt lists the members by the revision that brought them. A revision that was released is sealed with
the digest of its lines; the last one may be unreleased, and may then still change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

LIST = Path(__file__).parents[2] / "docs" / "api" / "revisions.txt"

_HEAD = """\
# The members of the D-Bus API by the revision that brought them. `make api` adds what is new to the last one.
# A released revision is sealed: what is listed in it is neither changed nor removed, and a new member needs a new one.
"""
_TITLE = re.compile(r"revision (\d+), (?:not yet released|released with (\S+), sha256 ([0-9a-f]{64}))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """`version` and `seal` are empty until it is released."""

    number: int
    members: tuple[str, ...]
    version: str = ""
    seal: str = ""


def read(text: str) -> tuple[Revision, ...]:
    """Raises ValueError for a line that is neither a title nor a member below one."""
    found: list[Revision] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if title := _TITLE.fullmatch(line):
            found.append(
                Revision(number=int(title[1]), members=(), version=title[2] or "", seal=title[3] or "")
            )
        elif found and line.startswith("  "):
            found[-1] = replace(found[-1], members=(*found[-1].members, line.strip()))
        else:
            raise ValueError(f"not a line of the list: {line}")
    return tuple(found)


def written(revisions: Iterable[Revision]) -> str:
    parts = [_HEAD]
    for each in revisions:
        state = f"released with {each.version}, sha256 {each.seal}" if each.version else "not yet released"
        parts.append(f"revision {each.number}, {state}\n" + "".join(f"  {one}\n" for one in each.members))
    return "\n".join(parts)


def broken(
    revisions: Sequence[Revision], members: Iterable[str], *, revision: int, version: str
) -> Iterator[str]:
    """Each way in which the promise is broken, as a sentence. `version` is that of a release, or empty before one."""
    present, listed = set(members), [one for each in revisions for one in each.members]
    if [each.number for each in revisions] != list(range(1, len(revisions) + 1)):
        yield "revisions are numbered from 1 on"
    if revision != len(revisions):
        yield f"ApiRevision is {revision}, and the last one listed is {len(revisions)}"
    for each in revisions[:-1]:
        if not each.version:
            yield f"revision {each.number} was never released: what it brought belongs to the next one"
    for each in revisions:
        if each.version and _seal(each.members) != each.seal:
            yield f"revision {each.number} is released, and what it brought was changed"
    if version and revisions and not revisions[-1].version:
        yield f"{version} is released, and revision {revisions[-1].number} is not sealed: --release {version}"
    for one in sorted(set(listed) - present):
        yield f"changed or removed: {one}"
    for one in sorted(present - set(listed)):
        yield f"not listed in any revision: {one}"
    if len(listed) != len(set(listed)):
        yield "a member is listed twice"


def with_members(
    revisions: Sequence[Revision], members: Iterable[str], *, revision: int
) -> tuple[Revision, ...]:
    """The list with what is new, in the revision that is not yet released. Raises ValueError where there is none."""
    kept = list(revisions)
    if not kept or (kept[-1].version and revision == kept[-1].number + 1):
        kept.append(Revision(number=revision, members=()))
    sealed = {one for each in kept if each.version for one in each.members}
    new = tuple(sorted(set(members) - sealed))
    if kept[-1].version:
        if new:
            raise ValueError(f"a new member needs ApiRevision {revision + 1}: {new[0]}")
        return tuple(kept)
    kept[-1] = replace(kept[-1], members=new)
    return tuple(kept)


def released(revisions: Sequence[Revision], *, version: str) -> tuple[Revision, ...]:
    """With the last revision sealed, where it is not yet."""
    last = revisions[-1]
    if last.version:
        return tuple(revisions)
    return (*revisions[:-1], replace(last, version=version, seal=_seal(last.members)))


def _seal(members: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(members).encode()).hexdigest()
