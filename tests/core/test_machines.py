"""Whole machines: each root is unpacked, looked at through the real doors, and resolved as expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdumpd.host.real import RealFiles
from tests.machines.capture import captured
from tests.machines.expect import CASES, look, told
from tests.machines.roots import HERE, lay, parse, render, unpack

SHOWS = {
    "bind-mount": ("no target: a bind mount",),
    "btrfs-subvolumes": ("a btrfs subvolume", "btrfs"),
    "hooks-and-label": ("LABEL=", "extra_bins"),
    "md-raid1": ("MD raid 1",),
    "nvme": ("a partition or disk",),
    "path-link": ("path", "no target: the device that holds path"),
    "sata-lvm": ("LVM",),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.shows(*SHOWS.get(case, ()))) for case in CASES]
)
async def test_a_machine_gets_the_plan_it_should_have(case: str, tmp_path: Path) -> None:
    unpack(case, tmp_path)
    outcome = told((await look(tmp_path)).resolve())
    assert outcome == json.loads((HERE / case / "expect" / "plan.json").read_text())


async def test_two_looks_at_one_machine_give_the_same_plan(tmp_path: Path) -> None:
    unpack("hooks-and-label", tmp_path)
    one, two = (await look(tmp_path)).resolve(), (await look(tmp_path)).resolve()
    assert one.plan is not None
    assert one == two
    assert one.plan.load_fingerprint == two.plan.load_fingerprint if two.plan else ""


@pytest.mark.parametrize("case", CASES)
def test_a_captured_root_survives_being_written_again(case: str) -> None:
    items = list(parse((HERE / case / "root.txt").read_text()))
    assert sorted(parse(render(items)), key=str) == sorted(items, key=str)


@pytest.mark.parametrize(
    "case",
    [
        *("virtio", "nvme", "sata-lvm", "md-raid1", "btrfs-subvolumes", "bind-mount", "luks", "secure-boot"),
        "path-link",
    ],
)
async def test_a_capture_holds_all_that_the_plan_comes_from(case: str, tmp_path: Path) -> None:
    unpack(case, tmp_path / "one")
    lay(parse(render(list(captured(RealFiles(str(tmp_path / "one")))))), tmp_path / "two")
    outcome = told((await look(tmp_path / "two")).resolve())
    assert outcome == json.loads((HERE / case / "expect" / "plan.json").read_text())
