"""Where everything of one layer of the image lies: parents before children, and no path through a link.

The kernel unpacks in the order of the archive and follows links that are there already; a folder where a link was
replaces that link, with all that was reachable through it. So every path is written as it is once links are followed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kdumpd.core.plan import BasePlan, Folder, FromHost, ImageItem, Link, ModuleFile, OverlayPlan, Written
from kdumpd.core.problems import Problem, Trouble

Content = ImageItem | ModuleFile
LINKS_AT_MOST = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One entry of a layer: `path` has no leading slash and leads through folders only."""

    path: str
    content: Content


def base_layer(plan: BasePlan) -> tuple[Placed, ...]:
    return _lay_out((*plan.items, *plan.modules), links=links(plan))


def overlay_layer(plan: OverlayPlan, *, base: BasePlan) -> tuple[Placed, ...]:
    """The overlay as it has to be written to land on `base`, whose links its paths may lead through."""
    own = {item.path.strip("/"): item.target for item in plan.items if isinstance(item, Link)}
    return _lay_out(plan.items, links={**links(base), **own})


def links(plan: BasePlan) -> Mapping[str, str]:
    return {item.path.strip("/"): item.target for item in plan.items if isinstance(item, Link)}


def follow(path: str, links: Mapping[str, str], *, last: bool) -> str:
    """`path` without leading slash and with every link followed; the last part only where `last` says so.

    Raises Trouble (`image-link-loop`) for links in circles.
    """
    done: list[str] = []
    ahead = deque(path.split("/"))
    seen = 0
    while ahead:
        part = ahead.popleft()
        if part in {"", "."}:
            continue
        if part == "..":
            del done[-1:]
            continue
        here = "/".join([*done, part])
        target = links.get(here) if last or any(ahead) else None
        if target is None:
            done.append(part)
            continue
        seen += 1
        if seen > LINKS_AT_MOST:
            raise Trouble(
                Problem(code="image-link-loop", message=f"links of the image lead in circles: {path}")
            )
        if target.startswith("/"):
            done.clear()
        ahead.extendleft(reversed(target.split("/")))
    return "/".join(done)


def _lay_out(contents: Iterable[Content], *, links: Mapping[str, str]) -> tuple[Placed, ...]:
    """Sorted, with the folders that are missing. Raises Trouble (`image-clash`) for two contents of one path."""
    placed: dict[str, Content] = {}
    clashes: list[Problem] = []
    for content in contents:
        path = follow(content.path, links, last=isinstance(content, Folder))
        if not path:
            continue  # the root itself is there
        before = placed.setdefault(path, content)
        if not _is_same(before, content):
            clashes.append(
                Problem(
                    code="image-clash", message=f"two different things are meant to be /{path} in the image"
                )
            )
    if clashes:
        raise Trouble(*clashes)
    for path in tuple(placed):
        parent = path.rpartition("/")[0]
        while parent:
            within = placed.setdefault(parent, Folder(path="/" + parent))
            if not isinstance(within, Folder):
                raise Trouble(
                    Problem(
                        code="image-clash", message=f"/{parent} is a file in the image, and /{path} is in it"
                    )
                )
            parent = parent.rpartition("/")[0]
    ordered = sorted(placed.items(), key=lambda pair: pair[0].split("/"))
    return tuple(Placed(path=path, content=content) for path, content in ordered)


def _is_same(one: Content, other: Content) -> bool:
    """Whether the two would be the same in the image, by whatever path they were asked for."""
    match one, other:
        case FromHost(), FromHost():
            return (one.digest, one.mode) == (other.digest, other.mode)
        case (Written(), Written()) | (Link(), Link()) | (ModuleFile(), ModuleFile()):
            return replace(one, path="") == replace(other, path="")
        case Folder(), Folder():
            return True
        case _:
            return False
