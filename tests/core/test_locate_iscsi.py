"""A disk behind an iSCSI session: the agent logs in by itself, and its words are told to nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdumpd.core.plan import Engine, Plan, Written, describe
from kdumpd.core.tuning import EngineChoice, Tuning
from tests.machines.expect import Looked, look
from tests.machines.roots import unpack

PASSWORD = "correct horse'battery"
SESSION = "sys/devices/platform/host3/session3/iscsi_session/session3"


async def looked(tmp_path: Path, case: str = "iscsi", conf: str = "") -> Looked:
    unpack(case, tmp_path)
    return await look(tmp_path, conf=conf)


def planned(looked: Looked) -> Plan:
    resolution = looked.resolve()
    assert resolution.plan is not None, resolution.problems
    return resolution.plan


def login(plan: Plan) -> Written:
    (file,) = (
        item
        for item in plan.overlay.items
        if isinstance(item, Written) and item.path.startswith("/kdump/iscsi/")
    )
    return file


@pytest.mark.shows("iSCSI")
async def test_the_agent_brings_up_its_network_and_logs_in(tmp_path: Path) -> None:
    plan = planned(await looked(tmp_path))
    assert plan.base.engine is Engine.DIRECT
    assert (
        plan.target["layers"]
        == "iSCSI disk sdb of iqn.2026-01.test.kdumpd:chap at 192.0.2.1, reached over card enp1s0 (virtio_net)"
    )
    assert "iscsi_address=192.0.2.1\n" in login(plan).text
    assert "iscsi_user=crashbox\n" in login(plan).text
    assert "iscsi_user_in=''\n" in login(plan).text, "/sys says (null) where there is none"
    assert "/usr/sbin/iscsistart" in {item.path for item in plan.base.items}
    (env,) = (item for item in plan.overlay.items if item.path == "/kdump/plan.env")
    assert isinstance(env, Written)
    assert f"log_in_to_iscsi {login(plan).path}" in env.text
    assert "plan_target_needs_network=1\n" in env.text


async def test_the_password_is_in_one_file_for_root_alone(tmp_path: Path) -> None:
    machine = await looked(tmp_path)
    plan = planned(machine)
    assert (login(plan).mode, login(plan).is_secret) == (0o600, True)
    assert "horse" in login(plan).text
    others = [item for item in plan.overlay.items if item != login(plan)]
    assert "horse" not in f"{others}{plan.base}{plan.load}{plan.target}{plan.engine_reason}"
    assert "horse" not in json.dumps(describe(plan.overlay))
    assert "horse" not in repr(machine.machine)


async def test_another_password_remakes_the_overlay_alone(tmp_path: Path) -> None:
    before = planned(await looked(tmp_path))
    (tmp_path / SESSION / "password").write_text("another\n")
    after = planned(await look(tmp_path, conf=""))
    assert after.base_fingerprint == before.base_fingerprint
    assert after.overlay_fingerprint != before.overlay_fingerprint


async def test_dracut_is_not_asked_even_where_it_is_wished_for(tmp_path: Path) -> None:
    machine = await looked(tmp_path)
    machine.tuning = Tuning(engine=EngineChoice.DRACUT)
    plan = planned(machine)
    assert plan.base.engine is Engine.DIRECT
    assert [problem.code for problem in plan.warnings] == ["engine-unfit"]


async def test_a_portal_without_a_way_is_a_problem(tmp_path: Path) -> None:
    unpack("iscsi", tmp_path)
    (tmp_path / "run/kdumpd/network/route-192.0.2.1").unlink()
    told = (await look(tmp_path, conf="")).resolve().problems
    assert [problem.code for problem in told] == ["host-unreachable"]


async def test_a_session_of_a_card_is_left_to_engine_dracut(tmp_path: Path) -> None:
    unpack("iscsi", tmp_path)
    (tmp_path / "sys/devices/platform/host3/scsi_host/host3/proc_name").write_text("qla4xxx\n")
    plan = planned(await look(tmp_path, conf=""))
    assert plan.base.engine is Engine.DRACUT


async def test_what_only_dracut_brings_up_is_not_planned_over_the_network(tmp_path: Path) -> None:
    told = (await looked(tmp_path, "multipath-iscsi")).resolve().problems
    assert [problem.code for problem in told] == ["layer-unknown"]
