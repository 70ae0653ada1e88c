"""What the ground of a plan warns of: the root file system as a place for dumps, and options of modules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core import locate_disk
from kdumpd.core.ground import on
from kdumpd.core.located import Line
from tests.machines.expect import Looked, look
from tests.machines.roots import unpack

UUID = "1c1e2ad6-2f35-4a2f-8b5b-70d1b9e7b1f4"
TARGET = f"ext4 UUID={UUID}\n"
LINE = Line(number=1, key="ext4")


async def looked(case: str, tmp_path: Path, conf: str | None = None) -> Looked:
    unpack(case, tmp_path)
    return await look(tmp_path, conf=conf)


async def test_dump_to_rootfs_on_a_layer_that_only_dracut_knows_is_told(tmp_path: Path) -> None:
    """No engine is chosen for the sake of the root: with a plain target beside it, it is not brought up."""
    found = await looked("luks", tmp_path)
    disk = next(each for each in found.machine.devices if each.drivers)
    plain = replace(disk, name="nvme9n1", number="259:90", contents="ext4", uuid="ab-cd", links=())
    found.machine = replace(found.machine, devices=(*found.machine.devices, plain))
    found.config = (
        await looked("virtio", tmp_path / "b", "ext4 UUID=ab-cd\nfailure_action dump_to_rootfs\n")
    ).config
    (told,) = (each for each in found.resolve().problems if each.code == "rootfs-out-of-reach")
    assert (told.line, told.key, told.is_error) == (2, "failure_action", False)
    assert "the root file system" in told.message
    assert "encrypted" in told.message


@pytest.mark.shows("options")
@pytest.mark.parametrize(
    ("name", "told", "hint"),
    [
        ("virtio_blk", [], ""),
        ("virtio-blk", [], ""),
        ("no_such", [("unknown-module", 3, "options", False)], "modinfo"),
        ("efi-pstore", [("module-built-in", 3, "options", False)], "efi_pstore.a=1 efi_pstore.b=2"),
    ],
)
async def test_options_that_reach_no_module_are_a_warning_of_their_line(
    tmp_path: Path, name: str, told: list[tuple[str, int, str, bool]], hint: str
) -> None:
    found = await looked("virtio", tmp_path, f"{TARGET}options ext4 x=1\noptions {name} a=1 b=2\n")
    found.modules = replace(found.modules, builtin=found.modules.builtin | {"efi_pstore"})
    resolution = found.resolve()
    assert resolution.plan is not None, resolution.problems
    assert [(each.code, each.line, each.key, each.is_error) for each in resolution.problems] == told
    assert all(hint in each.hint for each in resolution.problems)


async def test_a_uuid_that_busybox_does_not_know_brings_the_program_that_does(tmp_path: Path) -> None:
    found = await looked("virtio", tmp_path, TARGET)
    wanted = {}
    for fstype in ("ext4", "hfsplus", "udf"):
        of_type = (
            replace(each, contents=fstype) if each.contents == "ext4" else each
            for each in found.machine.devices
        )
        machine = replace(found.machine, devices=tuple(of_type), mounts=())
        search = locate_disk.named(machine, fstype, f"UUID={UUID}", "/", "", LINE, LINE)
        ground = on(found.config, found.sysconfig, found.tuning, machine, found.modules, search.located)
        wanted[fstype] = ground is not None and "blkid" in ground.needs.programs
    assert wanted == {"ext4": False, "hfsplus": True, "udf": True}


async def test_dump_to_rootfs_through_a_link_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/crash").symlink_to("/data/crash")
    resolution = (await looked("virtio", tmp_path, f"{TARGET}failure_action dump_to_rootfs\n")).resolve()
    assert resolution.plan is not None, resolution.problems
    told = [(each.code, each.line, each.key) for each in resolution.problems if each.key == "failure_action"]
    assert told == [("path-is-link", 2, "failure_action")]
