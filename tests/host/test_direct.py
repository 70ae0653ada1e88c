"""Engine direct and the proof, with the real zstd, chroot, loader and busybox of this machine."""

from __future__ import annotations

import asyncio
import gzip
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core import environment
from kdumpd.core.environment import CaptureEnvironment
from kdumpd.core.layer import base_layer
from kdumpd.core.plan import FromHost, ImageItem, Link, Packing, Written
from kdumpd.core.problems import Trouble
from kdumpd.host.direct import build_base, build_overlay
from kdumpd.host.doors import Output
from kdumpd.host.proof import Proof, Proved, prove_base, prove_image
from tests.host.conftest import RELEASE, Bench, module, packed_module, real_program
from tests.host.scripted import MISSING, Answer, Asked, ScriptedPrograms, StandIns

pytestmark = pytest.mark.tools

ROOM = 256 << 20


def _workshop(bench: Bench) -> str:
    bench.files.make_folder("/var/lib/kdumpd/tmp-test")
    return "/var/lib/kdumpd/tmp-test"


async def _base(bench: Bench) -> str:
    target = f"{_workshop(bench)}/base.img"
    await build_base(
        bench.plan.base, files=bench.files, programs=bench.programs, target=target, on_stage=lambda _: None
    )
    return target


async def _overlay(bench: Bench) -> str:
    target = f"{_workshop(bench)}/overlay.img"
    await build_overlay(
        bench.plan.overlay,
        base=bench.plan.base,
        files=bench.files,
        target=target,
    )
    return target


async def _prove_base(bench: Bench) -> Proof:
    return await prove_base(
        await _base(bench),
        bench.plan.base,
        files=bench.files,
        programs=bench.programs,
        folder=f"{_workshop(bench)}/proof",
    )


async def _prove(
    bench: Bench, *, reserved: int = ROOM, beneath: bytes | None = None, proved: Proved | None = None
) -> Proof:
    bench.files.remove("/var/lib/kdumpd/tmp-test")
    return await prove_image(
        (await _base(bench), await _overlay(bench)),
        bench.plan,
        beneath=beneath,
        proved=proved or Proved(),
        reserved_bytes=reserved,
        files=bench.files,
        programs=bench.programs,
        folder=f"{_workshop(bench)}/proof",
    )


def _with_base(bench: Bench, *items: ImageItem) -> Bench:
    base = replace(bench.plan.base, items=(*bench.plan.base.items, *items))
    return replace(bench, plan=replace(bench.plan, base=base))


def _with_overlay(bench: Bench, *items: ImageItem) -> Bench:
    overlay = replace(bench.plan.overlay, items=(*bench.plan.overlay.items, *items))
    return replace(bench, plan=replace(bench.plan, overlay=overlay))


async def _codes(proving: object) -> set[str]:
    assert asyncio.iscoroutine(proving)
    with pytest.raises(Trouble) as caught:
        await proving
    return {problem.code for problem in caught.value.problems}


async def test_the_image_holds_what_was_planned_and_cpio_reads_it(bench: Bench, tmp_path: Path) -> None:
    image = bench.files.outside(await _base(bench))
    tree = tmp_path / "tree"
    tree.mkdir()
    script = 'zstd -dc "$1" | cpio -idm --quiet -D "$2"'
    subprocess.run(["sh", "-c", script, "sh", image, str(tree)], check=True)  # noqa: ASYNC221
    assert (tree / f"lib/modules/{RELEASE}/virtio_blk.ko").read_bytes() == module(
        "virtio_blk", depends="virtio"
    )
    assert (tree / f"lib/modules/{RELEASE}/ext4.ko").read_bytes() == module("ext4", depends="jbd2")
    assert (tree / "usr/bin/busybox").read_bytes() == Path("/usr/bin/busybox").read_bytes()  # noqa: ASYNC240
    assert (tree / "bin/sh").readlink() == Path("/usr/bin/busybox")
    made = {str(path.relative_to(tree)) for path in tree.rglob("*")}
    assert made == {placed.path for placed in base_layer(bench.plan.base)}


async def test_the_same_plan_is_the_same_image_and_nobody_else_reads_it(bench: Bench) -> None:
    first = Path(bench.files.outside(await _base(bench)))
    assert stat.S_IMODE(first.stat().st_mode) == 0o600  # noqa: ASYNC240
    before = first.read_bytes()  # noqa: ASYNC240
    bench.files.remove("/var/lib/kdumpd/tmp-test")
    assert Path(bench.files.outside(await _base(bench))).read_bytes() == before  # noqa: ASYNC240


async def test_a_file_that_changed_since_it_was_planned_stops_the_building(bench: Bench) -> None:
    (bench.root / "usr/bin/busybox").write_bytes(b"newer")
    with pytest.raises(Trouble, match="/usr/bin/busybox is another file") as caught:
        await _base(bench)
    assert [problem.code for problem in caught.value.problems] == ["changed-while-building"]


async def test_a_file_that_is_gone_stops_the_building(bench: Bench) -> None:
    (bench.root / "usr/bin/busybox").unlink()
    with pytest.raises(Trouble, match="is gone"):
        await _base(bench)


async def test_a_module_that_cannot_be_unpacked_is_named(bench: Bench) -> None:
    source = bench.root / f"lib/modules/{RELEASE}/kernel/odd.ko.xz"
    source.write_bytes(b"not xz")
    odd = replace(packed_module(bench.root, "odd", ""), source=f"/lib/modules/{RELEASE}/kernel/odd.ko.xz")
    odd = replace(odd, digest=bench.files.digest(odd.source))
    bench = replace(bench, plan=replace(bench.plan, base=replace(bench.plan.base, modules=(odd,))))
    assert await _codes(_base(bench)) == {"module-damaged"}


async def test_a_good_image_is_proved(bench: Bench) -> None:
    assert (await _prove_base(bench)).warnings == ()
    proof = await _prove(bench)
    assert proof.warnings == ()
    assert proof.unpacked_bytes > Path("/usr/bin/busybox").stat().st_size  # noqa: ASYNC240


async def test_the_collector_is_proved_too(bench: Bench) -> None:
    if not Path("/usr/bin/makedumpfile").exists():  # noqa: ASYNC240
        pytest.skip("no makedumpfile here")
    bench = _with_base(bench, *real_program(bench.root, "/usr/bin/makedumpfile"))
    assert (await _prove_base(bench)).warnings == ()


async def test_a_program_without_its_library_is_no_good(bench: Bench) -> None:
    items = tuple(
        item for item in bench.plan.base.items if not (isinstance(item, FromHost) and "libc.so" in item.path)
    )
    bench = replace(bench, plan=replace(bench.plan, base=replace(bench.plan.base, items=items)))
    with pytest.raises(Trouble, match=r"busybox cannot run in the image: .*libc") as caught:
        await _prove_base(bench)
    assert {problem.code for problem in caught.value.problems} == {"program-incomplete"}


async def test_a_program_without_its_loader_is_no_good(bench: Bench) -> None:
    items = tuple(
        item for item in bench.plan.base.items if not (isinstance(item, FromHost) and "ld-linux" in item.path)
    )
    bench = replace(bench, plan=replace(bench.plan, base=replace(bench.plan.base, items=items)))
    with pytest.raises(Trouble, match=r"ld-linux\S* is missing"):
        await _prove_base(bench)


async def test_a_busybox_without_what_the_agent_calls_is_no_good(bench: Bench) -> None:
    small = Written(path="/small/busybox", text="#!/bin/sh\necho cat\n", mode=0o755)
    links = (Link(path=f"/small/{name}", target="busybox") for name in ("cat", "stat", "vi"))
    with pytest.raises(Trouble, match=r"small/busybox stat cannot run in the image: this applet is missing$"):
        await _prove_base(_with_base(bench, small, *links))


@pytest.mark.parametrize(
    ("words", "code"),
    [({"depends": "absent"}, "module-incomplete"), ({"release": "5.0"}, "module-of-other-kernel")],
)
async def test_modules_must_be_complete_and_of_the_kernel(
    bench: Bench, words: dict[str, str], code: str
) -> None:
    more = packed_module(bench.root, "more", ".xz", **words)
    base = replace(bench.plan.base, modules=(*bench.plan.base.modules, more))
    bench = replace(bench, plan=replace(bench.plan, base=base))
    assert await _codes(_prove_base(bench)) == {code}


async def test_a_hook_that_sh_cannot_read_is_no_good(bench: Bench) -> None:
    bench = _with_overlay(bench, Written(path="/hook", text="#!/bin/sh\nif true; then\n", mode=0o755))
    assert await _codes(_prove(bench)) == {"script-broken"}


async def test_a_plan_that_sh_reads_otherwise_is_no_good(bench: Bench) -> None:
    bench = _with_overlay(bench, Written(path="/other/plan.env", text="plan_a='x'\nplan_b=$plan_a\n"))
    with pytest.raises(Trouble, match=r"would read plan_b as 'x', planned was '\$plan_a'"):
        await _prove(bench)


async def test_an_image_that_does_not_fit_is_no_good_and_says_the_numbers(bench: Bench) -> None:
    with pytest.raises(Trouble, match="32 MiB are reserved") as caught:
        await _prove(bench, reserved=32 << 20)
    assert [problem.code for problem in caught.value.problems] == ["image-too-big"]


async def test_an_overlay_reaches_through_the_links_of_the_base(bench: Bench) -> None:
    bench = _with_base(bench, Link(path="/sbin", target="usr/bin"))
    bench = _with_overlay(bench, Written(path="/sbin/hook", text="#!/bin/sh\n", mode=0o755))
    await _prove(bench)


async def test_an_overlay_that_would_hide_a_folder_is_no_good(bench: Bench) -> None:
    bench = _with_overlay(bench, Written(path="/usr", text=""))
    assert "image-clash" in await _codes(_prove(bench))


class _Counting(StandIns):
    """Counts what is run."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.ran: list[str] = []

    async def answer(self, asked: Asked) -> Output | None:
        self.ran.append(asked.argv[0].rpartition("/")[2])
        return None


def _counted(bench: Bench) -> tuple[Bench, _Counting]:
    programs = _Counting(str(bench.root))
    return replace(bench, programs=programs), programs


def _with_path(bench: Bench, device: str) -> Bench:
    """What an edit of kdump.conf comes to."""
    told = CaptureEnvironment(
        capture_id="c",
        version="1",
        kernel_release=RELEASE,
        host_name="h",
        target_fstype="ext4",
        target_device=device,
    )
    items = {item.path: item for item in bench.plan.overlay.items}
    items["/kdumpd/plan.env"] = Written(path="/kdumpd/plan.env", text=environment.render(told))
    return replace(
        bench, plan=replace(bench.plan, overlay=replace(bench.plan.overlay, items=tuple(items.values())))
    )


async def test_an_edit_is_proved_without_the_base_by_one_run_of_the_same_shell(bench: Bench) -> None:
    record, proved = (await _prove_base(bench)).record, Proved()
    whole = await _prove(bench)
    bench, programs = _counted(bench)
    first = await _prove(bench, beneath=record, proved=proved)
    assert first.unpacked_bytes == whole.unpacked_bytes
    assert programs.ran.count("busybox") == 2  # the scripts, and plan.env
    assert "chroot" not in programs.ran
    programs.ran.clear()
    await _prove(_with_path(bench, "UUID=2"), beneath=record, proved=proved)
    assert programs.ran == [
        "zstd",
        "zstd",
        "busybox",
    ]  # the two zstd build the base, which is of this test alone


async def test_all_loaders_are_asked_by_one_shell(bench: Bench) -> None:
    bench, programs = _counted(_with_base(bench, *real_program(bench.root, "/usr/bin/cat")))
    await _prove_base(bench)
    assert programs.ran.count("chroot") <= 2  # the loaders of all programs; the applets of busybox


async def test_a_shell_that_is_another_one_by_now_is_not_believed(bench: Bench) -> None:
    record = (await _prove_base(bench)).record
    base, overlay = await _base(bench), await _overlay(bench)
    bench, programs = _counted(bench)
    (bench.root / "usr/bin/busybox").write_bytes(b"upgraded meanwhile")
    await prove_image(
        (base, overlay),
        bench.plan,
        beneath=record,
        proved=Proved(),
        reserved_bytes=ROOM,
        files=bench.files,
        programs=programs,
        folder=f"{_workshop(bench)}/proof",
    )
    assert set(programs.ran) == {"zstd", "chroot"}


@pytest.mark.parametrize("of_another_form", [b"", b"{}", b'{"form":0,"entries":[]}', b"\xff"])
async def test_without_a_record_the_base_is_unpacked(bench: Bench, of_another_form: bytes) -> None:
    bench, programs = _counted(bench)
    await _prove(bench, beneath=of_another_form)
    assert "chroot" in programs.ran


async def test_a_program_of_the_overlay_is_tried_once_and_again_where_its_library_changes(
    bench: Bench,
) -> None:
    record, proved = (await _prove_base(bench)).record, Proved()
    bench, programs = _counted(_with_overlay(bench, *real_program(bench.root, "/usr/bin/cat")))
    await _prove(bench, beneath=record, proved=proved)
    assert "chroot" in programs.ran
    programs.ran.clear()
    await _prove(_with_path(bench, "UUID=2"), beneath=record, proved=proved)
    assert "chroot" not in programs.ran
    without = tuple(item for item in bench.plan.overlay.items if "libc.so" not in item.path)
    bench = replace(bench, plan=replace(bench.plan, overlay=replace(bench.plan.overlay, items=without)))
    await _prove(bench, beneath=record, proved=proved)
    assert "chroot" in programs.ran


@pytest.mark.parametrize("is_edit", [True, False])
async def test_what_is_wrong_with_an_overlay_is_found_without_the_base_too(
    bench: Bench, *, is_edit: bool
) -> None:
    record, proved = (await _prove_base(bench)).record, Proved()
    if is_edit:
        await _prove(bench, beneath=record, proved=proved)
    hook = Written(path="/hook", text="#!/bin/sh\nif true; then\n", mode=0o755)
    with pytest.raises(Trouble, match="sh cannot read /hook of the image: /hook: ") as caught:
        await _prove(_with_overlay(bench, hook), beneath=record, proved=proved)
    assert [problem.code for problem in caught.value.problems] == ["script-broken"]
    odd = Written(path="/other/plan.env", text="plan_a='x'\nplan_b=$plan_a\n")
    assert await _codes(_prove(_with_overlay(bench, odd), beneath=record, proved=proved)) == {
        "plan-env-differs"
    }
    hides = Written(path="/usr", text="")
    assert "image-clash" in await _codes(_prove(_with_overlay(bench, hides), beneath=record, proved=proved))
    assert await _codes(_prove(bench, beneath=record, proved=proved, reserved=32 << 20)) == {"image-too-big"}


async def test_an_image_of_something_else_is_noticed(bench: Bench) -> None:
    image = await _base(bench)
    other = _with_base(bench, Written(path="/more", text="not in the image"))
    proving = prove_base(
        image, other.plan.base, files=bench.files, programs=bench.programs, folder=f"{_workshop(bench)}/proof"
    )
    assert await _codes(proving) == {"image-differs"}


async def test_a_torn_image_is_damaged(bench: Bench) -> None:
    image = await _base(bench)
    whole = bench.files.read_bytes(image)
    bench.files.write(image, whole[: len(whole) // 2])
    proving = prove_base(
        image, bench.plan.base, files=bench.files, programs=bench.programs, folder=f"{_workshop(bench)}/proof"
    )
    assert await _codes(proving) == {"image-damaged"}


@pytest.mark.parametrize("level", [9, 22])
async def test_unpacking_takes_a_mebibyte_of_the_capture_kernel_at_most(bench: Bench, level: int) -> None:
    large = Written(path="/large", text="".join(f"{number} " for number in range(600_000)))
    plan = bench.plan.base
    plan = replace(plan, compression_level=level, items=(*plan.items, large))
    target = f"{_workshop(bench)}/base.img"
    await build_base(plan, files=bench.files, programs=bench.programs, target=target, on_stage=lambda _: None)
    told = await bench.programs.run(("zstd", "-lv", bench.files.outside(target)), timeout=60)
    assert b"Window Size: 1.000 MiB" in told.stdout + told.stderr


def _packed(bench: Bench, base: Packing, overlay: Packing) -> Bench:
    plan = bench.plan
    plan = replace(
        plan, base=replace(plan.base, packing=base), overlay=replace(plan.overlay, packing=overlay)
    )
    return replace(bench, plan=plan)


BEGINNINGS = {Packing.ZSTD: b"\x28\xb5\x2f\xfd", Packing.GZIP: b"\x1f\x8b", Packing.NONE: b"070701"}


@pytest.mark.parametrize("base", Packing)
@pytest.mark.parametrize("overlay", [Packing.GZIP, Packing.NONE])
async def test_each_part_is_packed_as_planned_and_proved_so(
    bench: Bench, base: Packing, overlay: Packing
) -> None:
    plain = await _prove(bench)
    bench = _packed(bench, base, overlay)
    bench.files.remove("/var/lib/kdumpd/tmp-test")
    record = (await _prove_base(bench)).record
    assert (await _prove(bench, beneath=record)).unpacked_bytes == plain.unpacked_bytes
    folder = "/var/lib/kdumpd/tmp-test"
    assert bench.files.read_bytes(f"{folder}/base.img").startswith(BEGINNINGS[base])
    assert bench.files.read_bytes(f"{folder}/overlay.img").startswith(BEGINNINGS[overlay])
    assert not bench.files.exists(f"{folder}/base.img.cpio")


async def test_a_base_that_gzip_packed_is_the_same_each_time_and_gunzip_reads_it(bench: Bench) -> None:
    bench = _packed(bench, Packing.GZIP, Packing.GZIP)
    first = bench.files.read_bytes(await _base(bench))
    bench.files.remove("/var/lib/kdumpd/tmp-test")
    assert bench.files.read_bytes(await _base(bench)) == first
    assert gzip.decompress(first).startswith(b"070701")


@pytest.mark.parametrize("packing", [Packing.GZIP, Packing.NONE])
@pytest.mark.parametrize("kept", [0.5, -4])
async def test_a_base_that_is_cut_off_is_no_image_however_it_is_packed(
    bench: Bench, packing: Packing, kept: float
) -> None:
    bench = _packed(bench, packing, Packing.GZIP)
    image = await _base(bench)
    whole = bench.files.read_bytes(image)
    end = int(kept) if kept < 0 else int(len(whole) * kept)
    bench.files.remove(image)
    with bench.files.create(image) as file:
        file.write(whole[:end])
    proving = prove_base(
        image, bench.plan.base, files=bench.files, programs=bench.programs, folder=f"{_workshop(bench)}/proof"
    )
    assert await _codes(proving) == {"image-damaged"}


async def test_a_build_that_is_cancelled_leaves_nobody_writing(bench: Bench) -> None:
    started = asyncio.Event()
    folder = _workshop(bench)
    building = asyncio.create_task(
        build_base(
            replace(bench.plan.base, compression_level=19),
            files=bench.files,
            programs=bench.programs,
            target=f"{folder}/base.img",
            on_stage=lambda stage: started.set() if stage == "files" else None,
        )
    )
    await started.wait()
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    bench.files.remove(folder)
    assert bench.files.names("/var/lib/kdumpd") == ()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (MISSING, "zstd-missing"),
        (Answer(status=1, stderr="zstd: error 70 : Write error : No space left on device"), "no-space"),
        (Answer(status=1, stderr="zstd: alas"), "packing-failed"),
    ],
)
async def test_the_fault_of_the_packer_has_a_name(bench: Bench, answer: Answer, code: str) -> None:
    folder = _workshop(bench)
    programs = ScriptedPrograms()
    target = bench.files.outside(f"{folder}/base.img")
    plain = replace(bench.plan.base, modules=())
    packing = ("zstd", "-q", "-f", "-3", "--zstd=wlog=20", "-T1", "-o", target, f"{target}.cpio")
    programs.expect(*packing, answer=answer)
    building = build_base(
        plain, files=bench.files, programs=programs, target=f"{folder}/base.img", on_stage=lambda _: None
    )
    assert await _codes(building) == {code}
