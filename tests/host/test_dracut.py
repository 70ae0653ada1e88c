"""Engine dracut: what dracut makes and what is planned become one archive, and nothing else of it is kept."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core import newc
from kdumpd.core.plan import BasePlan, Engine
from kdumpd.core.problems import Trouble
from kdumpd.host.direct import build_base
from kdumpd.host.doors import Output, ProgramFailed, Programs
from kdumpd.host.dracut import gather
from kdumpd.host.proof import prove_base
from tests.host.conftest import RELEASE, Bench
from tests.host.scripted import Asked, StandIns

pytestmark = pytest.mark.tools

NODE = 0o020600
HOOKS = "var/lib/dracut/hooks"
FOLDERS = (
    *(
        "var",
        "var/lib",
        "var/lib/dracut",
        HOOKS,
        f"{HOOKS}/cmdline",
        f"{HOOKS}/pre-mount",
        f"{HOOKS}/emergency",
    ),
    *("dev", "usr", "usr/bin", "usr/lib", "usr/lib/modules", f"usr/lib/modules/{RELEASE}"),
)
MADE = {
    "init": b"#!/bin/sh\n",
    "usr/bin/udevadm": b"#!/bin/sh\n",
    f"usr/lib/modules/{RELEASE}/modules.dep": b"",
    f"{HOOKS}/cmdline/95-kdumpd-no-root.sh": b"root=kdumpd\n",
    f"{HOOKS}/pre-mount/00-kdumpd-agent.sh": b"exec /kdump/init\n",
    f"{HOOKS}/emergency/00-kdumpd-agent.sh": b"exec /kdump/init\n",
}


def archive(made: Mapping[str, bytes]) -> bytes:
    entries: list[tuple[newc.Entry, Sequence[bytes]]] = [
        (newc.Entry(path=path, mode=newc.FOLDER | 0o755), ()) for path in (".", *FOLDERS)
    ]
    entries += [(newc.Entry(path="dev/console", mode=NODE), ())]
    entries += [
        (newc.Entry(path=path, mode=newc.REGULAR | 0o755, size_bytes=len(data)), (data,))
        for path, data in made.items()
    ]
    sink = io.BytesIO()
    newc.write(entries, sink.write)
    return sink.getvalue()


class WithDracut(StandIns):
    """The programs of this machine, and a dracut that makes a given archive."""

    def __init__(self, root: str, made: bytes, stderr: str = "") -> None:
        super().__init__(root)
        self.made = made
        self.stderr = stderr
        self.asked: tuple[str, ...] = ()

    async def answer(self, asked: Asked) -> Output | None:
        if asked.argv[0] != "dracut":
            return None
        self.asked = asked.argv
        output = Output(
            argv=self.asked, status=1 if self.stderr else 0, stdout=b"", stderr=self.stderr.encode()
        )
        if self.stderr:
            if asked.on_line:
                asked.on_line(self.stderr)
            raise ProgramFailed(output, "ended with 1")
        await asyncio.to_thread(Path(asked.argv[-2]).write_bytes, self.made)
        return output


def plan_of(bench: Bench) -> BasePlan:
    return replace(
        bench.plan.base, engine=Engine.DRACUT, modules=(), dracut_args=("--hostonly", "--add", "kdumpd")
    )


async def built(bench: Bench, programs: Programs) -> str:
    bench.files.make_folder("/var/lib/kdumpd/tmp-test")
    target = "/var/lib/kdumpd/tmp-test/base.img"
    plan = plan_of(bench)
    beneath = await gather(plan, files=bench.files, programs=programs, target=target, on_stage=lambda _: None)
    await build_base(
        plan,
        files=bench.files,
        programs=programs,
        target=target,
        on_stage=lambda _: None,
        beneath=beneath,
    )
    return target


async def test_dracuts_image_and_the_plan_become_one_that_holds(bench: Bench) -> None:
    programs = WithDracut(str(bench.root), archive(MADE))
    image = await built(bench, programs)
    argv = ("zstd", "-q", "-d", "-o", bench.files.outside(f"{image}.cpio"), bench.files.outside(image))
    await bench.programs.run(argv, timeout=60)
    unpacked = bench.files.read_bytes(f"{image}.cpio")
    found = [entry.path for entry, _ in newc.read(io.BytesIO(unpacked))]
    assert len(found) == len(set(found))
    assert set(MADE) <= set(found)
    assert {item.path.strip("/") for item in plan_of(bench).items if item.path.startswith("/usr/")} <= set(
        found
    )
    assert not {".", "dev/console"} & set(found)
    proof = await prove_base(
        image,
        plan_of(bench),
        files=bench.files,
        programs=bench.programs,
        folder="/var/lib/kdumpd/tmp-test/proof",
    )
    assert proof.unpacked_bytes > 0


async def test_dracut_writes_into_the_workshop_alone_and_reads_no_configuration_of_the_boot(
    bench: Bench,
) -> None:
    programs = WithDracut(str(bench.root), archive(MADE))
    await built(bench, programs)
    paths = [word for word in programs.asked if word.startswith("/")]
    assert len(paths) == 4
    assert all(path.startswith(f"{bench.store}/tmp-test/") for path in paths)
    assert {"--no-compress", "--no-early-microcode", "--nohardlink"} <= set(programs.asked)
    assert programs.asked[-1] == RELEASE


@pytest.mark.parametrize("lost", list(MADE))
async def test_an_image_without_its_way_to_the_agent_is_refused(bench: Bench, lost: str) -> None:
    image = await built(
        bench,
        WithDracut(str(bench.root), archive({path: data for path, data in MADE.items() if path != lost})),
    )
    with pytest.raises(Trouble) as refused:
        await prove_base(
            image,
            plan_of(bench),
            files=bench.files,
            programs=bench.programs,
            folder="/var/lib/kdumpd/tmp-test/proof",
        )
    assert "dracut-incomplete" in {problem.code for problem in refused.value.problems}


@pytest.mark.parametrize(
    ("said", "code"),
    [("dracut: module crypt cannot be found", "dracut-failed"), ("No space left on device", "no-space")],
)
async def test_what_dracut_last_said_is_told(bench: Bench, said: str, code: str) -> None:
    with pytest.raises(Trouble) as failed:
        await built(bench, WithDracut(str(bench.root), b"", stderr=said))
    (problem,) = failed.value.problems
    assert problem.code == code
    assert code == "no-space" or said in problem.hint


async def test_an_archive_that_ends_early_is_damaged(bench: Bench) -> None:
    with pytest.raises(Trouble) as failed:
        await built(bench, WithDracut(str(bench.root), archive(MADE)[:500]))
    assert [problem.code for problem in failed.value.problems] == ["image-damaged"]
