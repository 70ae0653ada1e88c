"""What a layer below the target, of storage or of the network, needs to have in the capture image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kdumpd.core.plan import Written


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one layer, or a stack of them from the bottom up, asks of the image."""

    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    applets: tuple[str, ...] = ()
    """Programs that busybox has as well; the host's come along only where there is no busybox."""
    files: tuple[Written, ...] = ()
    bring_up: tuple[str, ...] = ()


NO_NEEDS = Needs()


def together(each: Iterable[Needs]) -> Needs:
    """All that several ask for, each thing once, in their order."""
    needs = tuple(each)
    return Needs(
        modules=tuple(dict.fromkeys(name for need in needs for name in need.modules)),
        programs=tuple(dict.fromkeys(name for need in needs for name in need.programs)),
        applets=tuple(dict.fromkeys(name for need in needs for name in need.applets)),
        files=tuple({file.path: file for need in needs for file in need.files}.values()),
        bring_up=tuple(dict.fromkeys(line for need in needs for line in need.bring_up)),
    )
