"""Which engine builds, what dracut is told, and what stands in its way."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import pytest

from kdumpd.core import config
from kdumpd.core.document import parse
from kdumpd.core.inventory import Inventory
from kdumpd.core.plan import Engine, FromHost, Packing, Plan
from kdumpd.core.problems import Problem
from kdumpd.core.proofs import dracut_problems
from kdumpd.core.tuning import EngineChoice, Tuning
from tests.machines.expect import Looked, look, written
from tests.machines.roots import unpack

KEY = "/etc/keys/nvme.key"


async def looked(case: str, tmp_path: Path, conf: str = "") -> Looked:
    unpack(case, tmp_path)
    return await look(tmp_path, conf=conf)


def planned(looked: Looked) -> Plan:
    resolution = looked.resolve()
    assert resolution.plan is not None, resolution.problems
    return resolution.plan


def problems(looked: Looked) -> list[Problem]:
    return list(looked.resolve().problems)


def without_dracut(looked: Looked) -> Looked:
    programs = {name: path for name, path in looked.inventory.programs.items() if name != "dracut"}
    looked.inventory = Inventory(files=looked.inventory.files, programs=MappingProxyType(programs))
    return looked


def words_after(plan: Plan, word: str) -> list[str]:
    arguments = plan.base.dracut_args
    return [after for before, after in pairwise(arguments) if before == word]


@pytest.mark.shows("engine dracut", "LVM thin")
async def test_an_unknown_layer_is_dracuts_and_the_plan_says_why(tmp_path: Path) -> None:
    plan = planned(await looked("lvm-thin-dracut", tmp_path))
    assert plan.base.engine is Engine.DRACUT
    assert "a thin logical volume" in plan.engine_reason
    assert words_after(plan, "--add-device") == ["/dev/mapper/vg0-root"]
    assert words_after(plan, "--add") == ["kdumpd"]
    # What lvm, crypt, multipath and mdraid of dracut depend on must not be left out.
    assert not {"rootfs-block", "dm", "base", "udev-rules"} & set(words_after(plan, "--omit")[0].split())


async def test_dracuts_init_stays_and_ours_comes_after_it(tmp_path: Path) -> None:
    plan = planned(await looked("lvm-thin-dracut", tmp_path, "disk_timeout 42\nblacklist floppy\n"))
    paths = {item.path for item in plan.overlay.items}
    assert "/init" not in paths
    assert "/kdump/init" in paths
    told = written(plan.overlay, "/etc/cmdline.d/99-kdumpd.conf").split()
    assert {"rd.shell=0", "rd.retry=42", "rd.driver.blacklist=floppy"} <= set(told)
    uuid = "6f1f5a2f-50a9-4d2c-a3b5-6c2a1cfe0a55"
    assert written(plan.overlay, "/kdump/target") == f"/dev/disk/by-uuid/{uuid}\n"


@pytest.mark.parametrize(
    "edit", ["path /elsewhere", "disk_timeout 9", "blacklist floppy", "final_action halt"]
)
async def test_an_edit_of_the_agents_settings_runs_no_dracut(tmp_path: Path, edit: str) -> None:
    machine = await looked("lvm-thin-dracut", tmp_path)
    before = planned(machine)
    reading = config.read(parse(edit + "\n"), file="/etc/kdump.conf")
    assert reading.config is not None
    machine.config = reading.config
    after = planned(machine)
    assert after.base_fingerprint == before.base_fingerprint
    assert after.overlay_fingerprint != before.overlay_fingerprint


async def test_another_dracut_module_of_ours_is_another_base(tmp_path: Path) -> None:
    machine = await looked("lvm-thin-dracut", tmp_path)
    before = planned(machine)
    path = "/usr/lib/dracut/modules.d/98kdumpd/module-setup.sh"
    facts = replace(machine.inventory.files[path], digest="another")
    files = MappingProxyType({**machine.inventory.files, path: facts})
    machine.inventory = replace(machine.inventory, files=files)
    assert planned(machine).base_fingerprint != before.base_fingerprint


@pytest.mark.parametrize(
    "path",
    [
        "/lib/modules/6.1.0-56-amd64/kernel/fs/ext4/ext4.ko",
        "/usr/sbin/lvm",
        "/usr/lib/udev/rules.d/11-dm.rules",
    ],
)
async def test_what_dracut_copies_is_part_of_the_bases_identity(tmp_path: Path, path: str) -> None:
    unpack("lvm-thin-dracut", tmp_path)
    file = tmp_path / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    file.chmod(0o755)
    before = planned(await look(tmp_path, conf=""))
    file.write_bytes(file.read_bytes() + b"\nof another version")
    after = planned(await look(tmp_path, conf=""))
    assert after.base_fingerprint != before.base_fingerprint


async def test_no_applet_stands_before_a_program_that_is_asked_for(tmp_path: Path) -> None:
    unpack("lvm-thin-dracut", tmp_path)
    (tmp_path / "usr/bin/cp").write_text("cp of coreutils\n")
    (tmp_path / "usr/bin/cp").chmod(0o755)
    plan = planned(await look(tmp_path, conf="core_collector cp --sparse=always\n"))
    paths = {item.path for item in plan.base.items}
    assert "/usr/bin/cp" in paths
    assert "/kdump/bin/mv" in paths
    assert "/kdump/bin/cp" not in paths


async def test_where_dracut_is_not_installed_its_package_is_named(tmp_path: Path) -> None:
    told = problems(without_dracut(await looked("lvm-thin-dracut", tmp_path)))
    assert [problem.code for problem in told] == ["dracut-missing"]
    assert "dracut-core" in told[0].hint


async def test_engine_direct_takes_no_unknown_layer(tmp_path: Path) -> None:
    machine = await looked("lvm-thin-dracut", tmp_path)
    machine.tuning = Tuning(engine=EngineChoice.DIRECT)
    told = problems(machine)
    assert [problem.code for problem in told] == ["layer-unknown"]
    assert '"auto"' in told[0].hint


async def test_engine_dracut_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    unpack("virtio", tmp_path)
    (tmp_path / "usr/bin").mkdir(parents=True, exist_ok=True)
    (tmp_path / "usr/bin/dracut").write_text("#!/bin/sh\n")
    (tmp_path / "usr/bin/dracut").chmod(0o755)
    machine = await look(tmp_path, conf='dracut_args --add-drivers "xfs" --mount "/dev/vda1 /m ext4"\n')
    plan = planned(machine)
    assert (plan.base.engine, plan.engine_reason) == (Engine.DRACUT, "dracut, for dracut_args asks for it")
    assert "xfs" in words_after(plan, "--add-drivers")
    # The target is mounted by the agent alone.
    assert "--mount" not in plan.base.dracut_args


async def test_a_packing_that_dracut_is_asked_for_is_told_where_the_kernel_cannot_unpack_it(
    tmp_path: Path,
) -> None:
    unpack("virtio", tmp_path)
    (tmp_path / "usr/bin/dracut").write_text("#!/bin/sh\n")
    (tmp_path / "usr/bin/dracut").chmod(0o755)
    machine = await look(tmp_path, conf="# for dracut\ndracut_args --compress=xz\n")
    assert planned(machine).warnings == ()
    config = tmp_path / f"boot/config-{machine.machine.kernel_release}"
    config.write_text("CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\n")
    plan = planned(await look(tmp_path, conf="# for dracut\ndracut_args --compress=xz\n"))
    (warning,) = plan.warnings
    assert (warning.code, warning.line, warning.key) == ("dracut-args-packing", 2, "dracut_args")
    assert (plan.base.engine, plan.base.packing) == (Engine.DRACUT, Packing.GZIP)


async def test_words_for_dracut_are_not_lost_in_silence_where_it_is_missing(tmp_path: Path) -> None:
    plan = planned(await looked("virtio", tmp_path, "dracut_args --add-drivers xfs\n"))
    assert plan.base.engine is Engine.DIRECT
    assert [problem.code for problem in plan.warnings] == ["dracut-args-unused"]


@pytest.mark.shows("LUKS")
async def test_a_key_file_of_crypttab_comes_along_readable_by_root_alone(tmp_path: Path) -> None:
    plan = planned(await looked("luks-key", tmp_path))
    keys = [item for item in plan.overlay.items if item.path == KEY]
    assert [isinstance(key, FromHost) and key.mode for key in keys] == [0o600]
    assert KEY not in str(plan.target) + plan.engine_reason


@pytest.mark.parametrize("key", ["none", "/key:UUID=ab-cd", "/keys/a:LABEL=stick", "/key:/dev/sdb1"])
async def test_a_key_that_is_no_file_of_this_root_is_a_problem(tmp_path: Path, key: str) -> None:
    """Nobody can type a passphrase, and no stick with the key is mounted in the capture kernel."""
    unpack("luks-key", tmp_path)
    crypttab = tmp_path / "etc/crypttab"
    crypttab.write_text(crypttab.read_text().replace(KEY, key))
    told = problems(await look(tmp_path, conf=""))
    assert [problem.code for problem in told] == ["key-missing"]
    assert "pbkdf2" in told[0].hint


@pytest.mark.shows("multipath")
async def test_a_multipath_device_is_brought_up_by_its_name(tmp_path: Path) -> None:
    plan = planned(await looked("multipath", tmp_path))
    assert "a multipath device" in plan.engine_reason
    assert words_after(plan, "--add-device") == ["/dev/mapper/mpatha"]
    assert "/etc/multipath.conf" in {source.path for source in plan.base.dracut_sources}


async def test_dracut_is_not_asked_for_a_network_that_the_agent_cannot_bring_up(tmp_path: Path) -> None:
    unpack("net-wireless", tmp_path)
    conf = (tmp_path / "etc/kdump.conf").read_text()
    told = problems(await look(tmp_path, conf=conf))
    assert [problem.code for problem in told] == ["layer-unknown"]


@pytest.mark.parametrize("hooks", ["usr/lib/dracut/hooks", "var/lib/dracut/hooks"])
def test_an_image_has_to_hold_what_hands_over_to_the_agent(hooks: str) -> None:
    """059 has its hooks in the one folder, 106 in the other."""
    whole = frozenset(
        {
            *("init", "usr/bin/udevadm", "usr/lib/modules/6.1/modules.dep"),
            f"{hooks}/cmdline/95-kdumpd-no-root.sh",
            f"{hooks}/pre-mount/00-kdumpd-agent.sh",
            f"{hooks}/emergency/00-kdumpd-agent.sh",
        }
    )
    assert dracut_problems(whole, kernel_release="6.1") == ()
    for path in whole:
        assert len(dracut_problems(whole - {path}, kernel_release="6.1")) == 1
