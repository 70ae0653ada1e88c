"""What today's plan needs of memory, put together from the store and from what captures told."""

from __future__ import annotations

from kdumpd.core import usual
from kdumpd.core.estimate import Estimate, estimate, sizes_of
from kdumpd.core.machine import Machine
from kdumpd.core.plan import Plan
from kdumpd.host.captures import Captures
from kdumpd.host.image import Store


def estimate_of(plan: Plan, machine: Machine, *, store: Store, captures: Captures) -> Estimate:
    """By the image where it is built, by its base where that is, else by the files that go in."""
    built = store.manifest(plan.image_fingerprint)
    known = built or store.base_manifest(plan.base_fingerprint)
    sizes = sizes_of(
        plan,
        unpacked=known.unpacked_bytes if known is not None else 0,
        image=built.size_bytes if built is not None else 0,
    )
    return estimate(
        sizes,
        kind=plan.memory_kind,
        captures=captures.known,
        reserved=machine.crash.reserved_bytes,
        memory=machine.memory_bytes,
        usual=usual.of_machine(machine),
    )
