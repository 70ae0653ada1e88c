"""Which bases and images of the store are kept: those that are needed, and of the others what was used last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from kdumpd.core.armed import Armed
from kdumpd.core.machine import Machine
from kdumpd.core.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A base or an image in the store."""

    part: str  # "bases" or "images"
    fingerprint: str
    size_bytes: int
    built_us: int = 0
    kernel_release: str = ""  # of the capture kernel; "" where that is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureImage:
    """The image that is there for a kernel, and whether it is the one that its plan asks for."""

    path: str
    size_bytes: int
    built_us: int
    is_planned: bool


def for_each_kernel(
    entries: Iterable[Stored], planned: Mapping[str, str], *, path_of: Callable[[str], str]
) -> Mapping[str, CaptureImage]:
    """Release -> its image: the one that is `planned`, by fingerprint, or else the one that was built last."""
    found: dict[str, CaptureImage] = {}
    for each in entries:
        release = each.kernel_release
        if each.part != "images" or not release:
            continue
        image = CaptureImage(
            path=path_of(each.fingerprint),
            size_bytes=each.size_bytes,
            built_us=each.built_us,
            is_planned=planned.get(release) == each.fingerprint,
        )
        before = found.get(release)
        if before is None or _worth(image) > _worth(before):
            found[release] = image
    return MappingProxyType(found)


def _worth(image: CaptureImage) -> tuple[bool, int]:
    return image.is_planned, image.built_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What has to stay, and how much beside it may."""

    needed: tuple[str, ...] = ()
    """Fingerprints of bases and images, what is used at present last."""
    kernels: frozenset[str] = frozenset()
    """Releases that are to find an image at their boot: of each, what was used last stays."""
    installed: frozenset[str] | None = None
    """Releases that can be booted: what is for another one goes. None where that is not known."""
    budget_bytes: int = 0
    """For all together; what has to stay does so even beyond."""


def to_keep(
    plan: Plan | None, armed: Armed | None, machine: Machine, *, ahead: Iterable[str], budget_bytes: int
) -> Keep:
    """What is planned and what is armed, and of `ahead`, the kernels that can be booted next, the last of each."""
    needed = [armed.base, armed.image] if armed is not None else []
    needed += [plan.base_fingerprint, plan.image_fingerprint] if plan is not None else []
    # Where no kernel at all has its image, /boot is not mounted, and nothing was removed.
    images = [kernel.release for kernel in machine.kernels if kernel.image]
    installed = images or [kernel.release for kernel in machine.kernels]
    capturing = {armed.kernel_release} if armed is not None else set()
    capturing |= {plan.base.kernel_release} if plan is not None else set()
    return Keep(
        needed=tuple(needed),
        kernels=frozenset({machine.kernel_release, *capturing, *ahead}),
        # What captures may lie where nobody else looks for a kernel (KDUMP_BOOTDIR).
        installed=frozenset({*capturing, *installed}),
        budget_bytes=budget_bytes,
    )


def used(uses: Sequence[str], now: Iterable[str], *, present: Iterable[str]) -> tuple[str, ...]:
    """The order of use, the last used last, after `now` were used; without what is not in the store any more.

    An order and no times: a clock that is set back makes nothing old.
    """
    latest = tuple(dict.fromkeys(now))
    there = frozenset(present)
    return tuple(one for one in (*(one for one in uses if one not in latest), *latest) if one in there)


def unneeded(stored: Iterable[Stored], *, uses: Sequence[str], keep: Keep) -> tuple[Stored, ...]:
    """What is to be removed, the one that was not used for longest first."""
    place = {fingerprint: number for number, fingerprint in enumerate(uses)}
    entries = sorted(
        stored, key=lambda one: (place.get(one.fingerprint, -1), one.built_us, one.fingerprint, one.part)
    )
    needed = {*keep.needed, *_latest(entries, keep.kernels)}
    others = [one for one in entries if one.fingerprint not in needed]
    gone = [one for one in others if _is_of_removed_kernel(one, keep.installed)]
    rest = [one for one in others if one not in gone]
    excess = sum(one.size_bytes for one in entries) - sum(one.size_bytes for one in gone) - keep.budget_bytes
    for one in rest:
        if excess <= 0:
            break
        gone.append(one)
        excess -= one.size_bytes
    return tuple(gone)


def _latest(entries: Sequence[Stored], kernels: frozenset[str]) -> frozenset[str]:
    """Of each kernel the base and the image that were used last; `entries` in the order of use."""
    found = {
        (one.part, one.kernel_release): one.fingerprint for one in entries if one.kernel_release in kernels
    }
    return frozenset(found.values())


def _is_of_removed_kernel(one: Stored, installed: frozenset[str] | None) -> bool:
    return installed is not None and bool(one.kernel_release) and one.kernel_release not in installed
