"""What comes along beside the collector: the files that it reads, makedumpfile for the kernel log; and how it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core.collector import files_read
from kdumpd.core.plan import FromHost, Link, Plan, describe
from tests.machines.expect import Looked, look
from tests.machines.roots import unpack

TARGET = "ext4 UUID=1c1e2ad6-2f35-4a2f-8b5b-70d1b9e7b1f4\n"
MAKEDUMPFILE = "/usr/bin/makedumpfile"


async def looked(tmp_path: Path, conf: str, *files: str) -> Looked:
    if not (tmp_path / "etc").exists():
        unpack("virtio", tmp_path)
    for path in files:
        file = tmp_path / path.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
        file.chmod(0o755)
    return await look(tmp_path, conf=TARGET + conf)


def planned(looked: Looked) -> Plan:
    resolution = looked.resolve()
    assert resolution.plan is not None, resolution.problems
    return resolution.plan


def test_the_files_that_makedumpfile_reads() -> None:
    command = "makedumpfile -xa -i b --config c --eppic=d --work-dir /tmp --vtop 7 -d 31 -x a"
    assert files_read(command.split()) == ("a", "b", "c", "d")
    assert files_read(("cp", "-x", "/a")) == ()


@pytest.mark.shows("core_collector makedumpfile")
async def test_files_that_the_collector_reads_come_along_at_the_same_path(tmp_path: Path) -> None:
    paths = ("/etc/kdump/filter.conf", "/usr/lib/debug/vmlinux", "/etc/kdump/macro.c")
    conf = "core_collector makedumpfile -l -x {1} --config={0} --eppic {2} -d 31\n".format(*paths)
    plan = planned(await looked(tmp_path, conf, *paths))
    assert set(paths) <= {item.path for item in plan.overlay.items if isinstance(item, FromHost)}
    assert plan.warnings == ()


@pytest.mark.parametrize(
    ("path", "words"), [("/etc/kdump/gone", "does not exist"), ("vmlinux", "not an absolute path")]
)
async def test_a_file_of_the_collector_that_is_not_there_is_an_error_of_its_line(
    tmp_path: Path, path: str, words: str
) -> None:
    resolution = (await looked(tmp_path, f"core_collector makedumpfile -l -x {path}\n")).resolve()
    assert resolution.plan is None
    (problem,) = resolution.problems
    assert (problem.code, problem.line, problem.key) == ("collector-file-missing", 2, "core_collector")
    assert words in problem.message


@pytest.mark.shows("core_collector cp")
async def test_makedumpfile_comes_along_for_the_kernel_log_whatever_the_collector(tmp_path: Path) -> None:
    usual = planned(await looked(tmp_path, ""))
    copying = planned(await looked(tmp_path, "core_collector cp\n"))
    assert MAKEDUMPFILE in {item.path for item in copying.base.items if isinstance(item, FromHost)}
    assert usual.base.modules == copying.base.modules


async def test_without_makedumpfile_cp_does(tmp_path: Path) -> None:
    found = await looked(tmp_path, "core_collector cp\n")
    programs = {name: path for name, path in found.inventory.programs.items() if name != "makedumpfile"}
    found.inventory = replace(found.inventory, programs=programs)
    assert MAKEDUMPFILE not in {item.path for item in planned(found).base.items}


async def test_a_makedumpfile_outside_path_gets_a_name_on_it(tmp_path: Path) -> None:
    own = "/opt/kdump/makedumpfile"
    plan = planned(await looked(tmp_path, f"core_collector {own} -l\n", own))
    assert own in {item.path for item in plan.base.items if isinstance(item, FromHost)}
    assert {item for item in plan.base.items if item.path == MAKEDUMPFILE} == {
        Link(path=MAKEDUMPFILE, target=own)
    }
    on_path = planned(await looked(tmp_path, f"core_collector {MAKEDUMPFILE} -l\n"))
    assert MAKEDUMPFILE in {item.path for item in on_path.base.items if isinstance(item, FromHost)}


async def test_a_label_that_is_no_text_is_told_escaped(tmp_path: Path) -> None:
    found = await looked(tmp_path, "")
    odd = replace(found.machine.devices[0], name="vdz", number="254:90", label="a\x1b[2Jb\udc80")
    found.machine = replace(found.machine, devices=(odd,))
    found.config = (await look(tmp_path, conf="ext4 LABEL=none\n")).config
    told = found.resolve().problems
    (problem,) = (each for each in told if each.code == "target-not-found")
    assert r"LABEL=a\x1b[2Jb\udc80" in problem.hint
    assert str(problem).isprintable()
    json.dumps(describe(problem), ensure_ascii=False).encode()
