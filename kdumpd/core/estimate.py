"""How much memory a capture needs: guessed from the sizes of what goes in, or measured by captures that succeeded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from kdumpd.core import reserve
from kdumpd.core.commandline import has_roomy_rootfs
from kdumpd.core.plan import Engine, Plan
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.reserve import Ranges
from kdumpd.core.summary import CaptureResult, Summary

MIB = 1 << 20
STEP_BYTES = 32 * MIB
"""What is advised is a multiple of it."""
MOST_CAPTURES = 20
KIND_CHARACTERS = 4096
RELEASE_CHARACTERS = 128
"""No capture of ours says more of itself; what is learned is kept in a file."""
LEAST_WORK_BYTES = 16 * MIB
"""With less beside the kernel and the unpacked image no capture was ever seen to come to its end."""
SPARE_BYTES = 8 * MIB
"""Of the memory that a capture had in use, so much was seen to be given back where there was less of it: caches, slabs,
and what the kernel keeps free for itself."""
UNSEEN_BYTES = 4 * MIB
"""What no look sees: they are a second apart, and the image is unpacked before the first. With 80 MiB a capture was seen
to come by with 75; with 76 the kernel was out of memory while it unpacked (6.12 of Debian 13)."""
DRACUT_UNPACKED_BYTES = 50 * MIB
"""An image of dracut without systemd (106, Debian 13), where none is built yet."""
PAGES_PER_STRUCT = 64
"""struct page has 64 bytes, a page 4096."""


class Basis(StrEnum):
    """Where a figure comes from."""

    GUESSED = "guessed"
    MEASURED = "measured"


class Capture(BaseModel):
    """What one capture that succeeded took of the memory it was given."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    started_at: int
    """Seconds since epoch; of two captures not the same."""
    kind: str
    """Plan.memory_kind: captures of one kind need about the same."""
    kernel_release: str
    reserved_bytes: int
    least_bytes: int
    """The low-water mark: what was available at the least."""

    @property
    def used_bytes(self) -> int:
        return self.reserved_bytes - self.least_bytes

    def used_of(self, reserved: int) -> int:
        """The same with another reservation: tables, caches and page structures grow with the memory.

        One image on Debian 13 (6.12): 86.6 MiB of 256, 79.0 MiB of 92.
        """
        return self.used_bytes - (self.reserved_bytes - reserved) // 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is known of an image in bytes. `unpacked` is at least what it will be where nothing is built yet."""

    kernel: int
    unpacked: int
    working_set: int
    image: int = 0  # the artefact; 0 where none is built
    has_roomy_rootfs: bool = True
    unpacked_beside: int = 0  # guessed on top of what is known

    @property
    def least(self) -> int:
        """Below this no capture can come to its end; while it unpacks, the kernel holds the image twice."""
        least = _with_pages(self.kernel + self.unpacked + max(LEAST_WORK_BYTES, self.image))
        return least if self.has_roomy_rootfs else max(least, self.kernel + 2 * self.unpacked)

    @property
    def needed(self) -> int:
        unpacked = self.unpacked + self.unpacked_beside
        needed = _with_pages(self.kernel + unpacked + max(self.working_set, self.image))
        return needed if self.has_roomy_rootfs else max(needed, self.kernel + 2 * unpacked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """All in bytes. `working_set` is what is needed beside the kernel and the unpacked image."""

    reserved: int
    kernel: int
    image: int
    unpacked: int
    working_set: int
    needed: int
    least: int
    """A reservation below it is refused."""
    recommended: int
    crashkernel: str
    """What to write behind `crashkernel=`."""
    basis: Basis
    captures: int
    """How many the measured figures come from."""
    is_built: bool

    @property
    def fits(self) -> bool:
        return self.reserved >= self.needed

    @property
    def refusal(self) -> Problem | None:
        """Why an image is not even built, nor one that is built loaded; None where it may fit."""
        return too_big(self) if self.reserved and self.reserved < self.least else None

    @property
    def warning(self) -> Problem | None:
        """The reservation may do, but nothing says that it will."""
        if not self.reserved or self.fits or self.refusal is not None:
            return None
        return Problem(
            code="reservation-tight",
            message=f"a capture may need {_mib(self.needed)} MiB, and {self.reserved // MIB} MiB are reserved",
            hint=f"reserve more with crashkernel={self.crashkernel} and reboot",
            severity=Severity.WARNING,
        )


def too_big(estimate: Estimate) -> Problem:
    parts = (
        f"kernel {_mib(estimate.kernel)}, image {_mib(estimate.unpacked)} unpacked, "
        f"work {_mib(estimate.working_set)}, {estimate.basis}"
    )
    return Problem(
        code="image-too-big",
        message=(
            f"the capture needs {_mib(estimate.needed)} MiB ({parts}), "
            f"and {estimate.reserved // MIB} MiB are reserved"
        ),
        hint=f"reserve more with crashkernel={estimate.crashkernel} and reboot",
    )


def capture_of(summary: Summary) -> Capture | None:
    """What a summary tells of memory; None where the capture did not come to its end, did not look, or says too much."""
    if (
        summary.result is not CaptureResult.SAVED
        or summary.fallback
        or not 0 < len(summary.memory_kind) <= KIND_CHARACTERS
        or len(summary.kernel_release) > RELEASE_CHARACTERS
        or not 0 < summary.memory_least_kib < summary.memory_reserved_kib
    ):
        return None
    return Capture(
        started_at=summary.started_at,
        kind=summary.memory_kind,
        kernel_release=summary.kernel_release,
        reserved_bytes=summary.memory_reserved_kib << 10,
        least_bytes=summary.memory_least_kib << 10,
    )


def learned(known: Iterable[Capture], found: Iterable[Capture]) -> tuple[Capture, ...]:
    """The newest of both, each once, the oldest first."""
    each = {(one.started_at, one.kind, one.used_bytes): one for one in (*known, *found)}
    return tuple(sorted(each.values(), key=lambda one: one.started_at))[-MOST_CAPTURES:]


def sizes_of(plan: Plan, *, unpacked: int = 0, image: int = 0) -> Sizes:
    """Those of a plan; `unpacked` and `image` are what its image came to, 0 where it is not built."""
    is_guessed = plan.base.engine is Engine.DRACUT and not unpacked
    return Sizes(
        kernel=plan.kernel_bytes,
        unpacked=unpacked or plan.unpacked_bytes,
        working_set=plan.working_set_bytes,
        image=image,
        has_roomy_rootfs=has_roomy_rootfs(plan.load.command_line),
        unpacked_beside=DRACUT_UNPACKED_BYTES if is_guessed else 0,
    )


def estimate(
    sizes: Sizes,
    *,
    kind: str,
    captures: Iterable[Capture],
    reserved: int,
    memory: int,
    usual: Ranges,
) -> Estimate:
    """What is needed and what to reserve, for a machine with so much `memory`; measured numbers win over guesses.

    `usual` is what distributions reserve on such machines.
    """
    like = tuple(capture for capture in captures if capture.kind == kind)
    needed, least, basis = sizes.needed, sizes.least, Basis.GUESSED
    if like:
        basis = Basis.MEASURED
        used = [capture.used_of(reserved or capture.reserved_bytes) for capture in like]
        needed = max(used) + UNSEEN_BYTES
        least = max(min(used) - SPARE_BYTES, 0)
    recommended, crashkernel = _recommended(needed, memory=memory, usual=usual, is_measured=bool(like))
    unpacked = sizes.unpacked + sizes.unpacked_beside
    return Estimate(
        reserved=reserved,
        kernel=sizes.kernel,
        image=sizes.image,
        unpacked=unpacked,
        working_set=max(needed - sizes.kernel - unpacked, 0),
        needed=needed,
        least=least,
        recommended=recommended,
        crashkernel=crashkernel,
        basis=basis,
        captures=len(like),
        is_built=bool(sizes.image),
    )


def size_problems(
    sizes: Sizes, *, reserved: int, kind: str = "", captures: Iterable[Capture] = ()
) -> tuple[Problem, ...]:
    """Of an image that is built."""
    none = Ranges(ranges=())
    here = estimate(sizes, kind=kind, captures=captures, reserved=reserved, memory=0, usual=none)
    refusal = here.refusal
    return (refusal,) if refusal is not None else ()


def _recommended(needed: int, *, memory: int, usual: Ranges, is_measured: bool) -> tuple[int, str]:
    """A quarter more than is needed; not less than distributions reserve where nothing was measured."""
    enough = -(-(needed + needed // 4) // STEP_BYTES) * STEP_BYTES
    size = reserve.size_for(usual, memory)
    if not is_measured and size >= enough:
        return size, reserve.render(usual)
    return enough, reserve.render(reserve.Fixed(size=enough))


def _with_pages(size: int) -> int:
    return size + size // PAGES_PER_STRUCT


def _mib(size: int) -> int:
    return -(-size // MIB)
