"""What a capture takes of memory beside its kernel, as far as the plan tells before anything is built."""

from __future__ import annotations

from kdumpd.core.ground import Ground
from kdumpd.core.inventory import Inventory
from kdumpd.core.plan import BasePlan, Engine, Folder, FromHost, ImageItem, Link, OverlayPlan, Written

MIB = 1 << 20
KERNEL_WORKING_SET = 18 * MIB
"""What the capture kernel takes beside itself: slabs, the modules once loaded, the buffers of one processor, what it
keeps free. Measured with Linux 6.12 of Debian 13 and a disk with ext4: 24 MiB with the collector, of 92 MiB."""
COLLECTOR_WORKING_SET = 8 * MIB
"""makedumpfile: 5 MiB resident, 4 MiB of bitmap at most, its libraries' pages shared with the image."""
LAYER_WORKING_SET = 8 * MIB
"""lvm or mdadm while they run; not at the same time as the collector, but their slabs stay."""
UDEV_WORKING_SET = 12 * MIB
"""systemd-udevd with its workers while dracut brings the devices up."""
PACKED_MODULE_TIMES = 3
"""A module of Debian 13 is 3.2 to 7.4 times as large as its .ko.xz: at least so much is unpacked."""
PAGE_BYTES = 4096


def working_set(ground: Ground, engine: Engine) -> int:
    """Bytes beside the kernel and the unpacked image."""
    layers = LAYER_WORKING_SET if ground.needs.programs or engine is Engine.DRACUT else 0
    layers += UDEV_WORKING_SET if engine is Engine.DRACUT else 0
    return KERNEL_WORKING_SET + COLLECTOR_WORKING_SET + layers


def memory_kind(ground: Ground, engine: Engine) -> str:
    """What decides how much memory a capture takes beside its kernel: the image, the target, the collector."""
    collects = ground.config.core_collector[0].rpartition("/")[2]
    way = (engine, ground.target.kind, ground.target.fstype, collects, *sorted(ground.needs.programs))
    return " ".join(word for word in way if word)


def unpacked(base: BasePlan, overlay: OverlayPlan, inventory: Inventory) -> int:
    """Bytes that are known to be unpacked: each file fills whole pages. What dracut gathers is not known."""
    sizes = [_size(item, inventory) for item in (*base.items, *overlay.items)]
    for module in base.modules:
        times = 1 if module.source.endswith(".ko") else PACKED_MODULE_TIMES
        sizes.append(inventory.facts(module.source).size_bytes * times)
    return sum(-(-size // PAGE_BYTES) * PAGE_BYTES for size in sizes)


def _size(item: ImageItem, inventory: Inventory) -> int:
    match item:
        case FromHost(source=source):
            return inventory.facts(source).size_bytes
        case Written(text=text):
            return len(text.encode("utf-8", "surrogateescape"))
        case Link() | Folder():
            return 0
