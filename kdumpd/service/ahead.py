"""The kernels that do not run: what would be built for each, and what of the store is kept for them and for the running one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from kdumpd.core import ahead
from kdumpd.core.armed import Armed
from kdumpd.core.keeping import CaptureImage, Keep, Stored, for_each_kernel, to_keep
from kdumpd.core.plan import Plan, Resolution
from kdumpd.core.tuning import Tuning
from kdumpd.host.doors import Files, Programs
from kdumpd.host.image import IMAGES, Store
from kdumpd.reading import Reading, read_ahead


class Ahead:
    """Follows each look; `look` and `lacks` may be called in any thread and any loop."""

    def __init__(self, *, files: Files, programs: Programs, store: Store) -> None:
        self.releases: tuple[str, ...] = ()
        """Those that are to find an image at their first boot, the newest first."""
        self.inputs = ""
        """Another text than before: what their images are made of may have changed, or what is to be kept."""
        self._files = files
        self._programs = programs
        self._store = store
        self._reading: Reading | None = None
        self._planned: dict[str, tuple[str, str]] = {}  # release -> base and image of its first boot
        self._keep = Keep(budget_bytes=Tuning().store_budget_mib << 20)
        self._images: Mapping[str, CaptureImage] = {}

    @property
    def keep(self) -> Keep:
        """What is planned and armed now, and what is planned for the others."""
        others = (one for pair in tuple(self._planned.values()) for one in pair)
        return replace(self._keep, needed=(*others, *self._keep.needed))

    def image_of(self, release: str) -> CaptureImage | None:
        """What the store had for this kernel when it was last looked into."""
        return self._images.get(release)

    def take_stock(self, entries: tuple[Stored, ...] | None = None) -> None:
        """Look into the store, or at what was found there just now."""
        planned = {release: image for release, (_base, image) in tuple(self._planned.items())}
        plan = self._reading.resolution.plan if self._reading is not None else None
        if plan is not None:
            planned[plan.base.kernel_release] = plan.image_fingerprint
        found = self._store.entries() if entries is None else entries
        self._images = for_each_kernel(found, planned, path_of=self._store.initramfs)

    def follow(self, reading: Reading, armed: Armed | None, entries: tuple[Stored, ...]) -> None:
        """`entries`: what is in the store."""
        machine, tuning = reading.machine, reading.tuning
        self._reading = reading
        self.releases = ahead.releases(machine, count=tuning.prebuild_kernels)
        self.inputs = self._inputs(reading)
        for release in self._planned.keys() - frozenset(self.releases):
            del self._planned[release]
        self._keep = to_keep(
            reading.resolution.plan,
            armed,
            machine,
            ahead=self.releases,
            budget_bytes=tuning.store_budget_mib << 20,
        )
        self.take_stock(entries)

    async def look(self, release: str) -> Resolution:
        """What the last look would have found, were this kernel running. What is planned so is kept from now on."""
        if self._reading is None:
            return Resolution(plan=None)
        found = await read_ahead(self._files, self._programs, self._reading, release)
        if found.plan is not None:
            self._planned[release] = (found.plan.base_fingerprint, found.plan.image_fingerprint)
        return found

    async def lacks(self, plan: Plan) -> tuple[bool, bool]:
        """Whether a base, and whether an image is to be built; with force_no_rebuild any image of that kernel will do."""
        entries = await asyncio.to_thread(self._store.entries)
        there = {each.fingerprint for each in entries}
        config = self._reading.config.config if self._reading is not None else None
        if config is not None and config.force_no_rebuild:
            of_kernel = {each.kernel_release for each in entries if each.part == IMAGES}
            if plan.base.kernel_release in of_kernel:
                return False, False
        if plan.image_fingerprint in there:
            return False, False
        return plan.base_fingerprint not in there, True

    def _inputs(self, reading: Reading) -> str:
        """Of a kernel's files its image, and the lists of its modules, which depmod always writes anew."""
        plan = reading.resolution.plan
        lists = (f"/lib/modules/{release}/{name}" for release in self.releases for name in ahead.MODULE_LISTS)
        images = (kernel.image for kernel in reading.machine.kernels if kernel.image)
        files = [(path, self._files.stat(path)) for path in (*images, *lists)]
        return repr((plan and plan.image_fingerprint, reading.tuning.store_budget_mib, self.releases, files))
