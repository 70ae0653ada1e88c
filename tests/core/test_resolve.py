"""Configuration and machine to a plan: what an edit makes again, and what stands in a plan's way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from kdumpd.core import config, environment, explain
from kdumpd.core.config import Config
from kdumpd.core.document import parse
from kdumpd.core.dumps import ON_ROOTFS
from kdumpd.core.inventory import FileFacts, Firmware, Inventory, Kind
from kdumpd.core.machine import KernelFiles, Lockdown, Mount
from kdumpd.core.modules import ModuleIndex
from kdumpd.core.plan import FromHost, Link, Packing, Plan, Resolution, Written, describe
from kdumpd.core.resolve import wants
from kdumpd.core.sysconfig import Sysconfig
from kdumpd.core.tuning import EngineChoice, Tuning
from tests.machines.expect import Looked, look, written
from tests.machines.roots import unpack

TARGET = "ext4 UUID=1c1e2ad6-2f35-4a2f-8b5b-70d1b9e7b1f4\n"
PRE = "/etc/kdump/pre"


@pytest.fixture
async def looked(tmp_path: Path) -> Looked:
    unpack("virtio", tmp_path)
    hook = tmp_path / PRE.strip("/")
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    return await look(tmp_path, conf=f"{TARGET}kdump_pre {PRE}\n")


def configured(text: str) -> Config:
    reading = config.read(parse(text), file="/etc/kdump.conf")
    assert reading.config is not None, reading.problems
    return reading.config


def planned(looked: Looked) -> Plan:
    resolution = looked.resolve()
    assert resolution.plan is not None, resolution.problems
    return resolution.plan


def again(looked: Looked, text: str) -> Resolution:
    """The outcome of another kdump.conf; the modules that it asks for are looked at as well."""
    looked.config = configured(text)
    wanted = wants(looked.config, looked.sysconfig, looked.tuning, looked.machine, looked.modules).files
    new = {
        path: FileFacts(path=path, kind=Kind.FILE, real=path, mode=0o644, digest="d")
        for path in wanted
        if path.endswith(".ko") and path not in looked.inventory.files
    }
    looked.inventory = replace(looked.inventory, files=MappingProxyType({**looked.inventory.files, **new}))
    return looked.resolve()


def moved(old: Plan, new: Plan) -> set[str]:
    """The slowest of what has to be made again."""
    parts = {
        "base": old.base_fingerprint != new.base_fingerprint,
        "overlay": old.overlay_fingerprint != new.overlay_fingerprint,
        "load": old.load != new.load,
    }
    return {name for name, has_moved in parts.items() if has_moved}


async def test_a_comment_a_blank_line_and_an_order_change_nothing(looked: Looked) -> None:
    before = planned(looked)
    after = again(looked, f"# a comment\n\n  kdump_pre\t{PRE}   # another\n{TARGET}").plan
    assert after == before


@pytest.mark.parametrize(
    "line",
    [
        "path /elsewhere",
        "kdump_post /etc/kdump/pre",
        "failure_action halt",
        "final_action poweroff",
        "disk_timeout 7",
        "debug_mem_level 2",
        "options virtio_blk x=1",
        "core_collector makedumpfile -c -d 17",
    ],
)
@pytest.mark.shows(
    "path",
    "kdump_post",
    "failure_action",
    "final_action",
    "disk_timeout",
    "debug_mem_level",
    "options",
    "core_collector",
)
async def test_a_setting_of_the_agent_makes_the_overlay_alone_again(looked: Looked, line: str) -> None:
    before = planned(looked)
    after = again(looked, f"{TARGET}kdump_pre {PRE}\n{line}\n").plan
    assert after is not None
    # The command line names the image, so it moves as well, and with it what has to be loaded.
    assert moved(before, after) == {"overlay", "load"}


@pytest.mark.shows("blacklist")
async def test_a_blacklist_keeps_a_module_from_being_loaded_but_in_the_base(looked: Looked) -> None:
    before = again(looked, f"{TARGET}extra_modules xfs\n").plan
    after = again(looked, f"{TARGET}extra_modules xfs\nblacklist xfs\n").plan
    assert before is not None
    assert after is not None
    assert moved(before, after) == {"overlay", "load"}
    assert "/xfs.ko" in written(before.overlay, "/kdump/plan.env")
    assert "/xfs.ko" not in written(after.overlay, "/kdump/plan.env")


@pytest.mark.shows("extra_modules")
async def test_extra_modules_build_the_base_again(looked: Looked) -> None:
    before = planned(looked)
    after = again(looked, f"{TARGET}kdump_pre {PRE}\nextra_modules xfs\n").plan
    assert after is not None
    assert "base" in moved(before, after)


async def test_another_command_line_is_only_loaded_again(looked: Looked) -> None:
    before = planned(looked)
    looked.sysconfig = Sysconfig(command_line_append="irqpoll panic=5")
    assert moved(before, planned(looked)) == {"load"}


async def test_more_processors_are_only_a_load(looked: Looked) -> None:
    before = planned(looked)
    looked.machine = replace(looked.machine, layout="another")
    after = planned(looked)
    assert moved(before, after) == {"load"}
    assert before.load_fingerprint_but_layout == after.load_fingerprint_but_layout


def with_digest(looked: Looked, path: str) -> None:
    facts = replace(looked.inventory.files[path], digest="another")
    files = {**looked.inventory.files, path: facts}
    looked.inventory = replace(looked.inventory, files=MappingProxyType(files))


@pytest.mark.parametrize(
    ("path", "parts", "reason"),
    [
        (PRE, {"overlay", "load"}, "hooks-changed"),
        ("/usr/bin/makedumpfile", {"base", "overlay", "load"}, "programs-changed"),
        ("/boot/vmlinuz-6.1.0-56-amd64", {"load"}, "kernel-changed"),
        (
            "/lib/modules/6.1.0-56-amd64/kernel/fs/ext4/ext4.ko",
            {"base", "overlay", "load"},
            "modules-changed",
        ),
    ],
)
async def test_other_contents_of_a_file_move_what_holds_it(
    looked: Looked, path: str, parts: set[str], reason: str
) -> None:
    before = planned(looked)
    with_digest(looked, path)
    after = planned(looked)
    assert moved(before, after) == parts
    assert explain.reasons(describe(before), describe(after)) == (reason,)


async def test_the_agent_is_told_the_name_of_its_image(looked: Looked) -> None:
    plan = planned(looked)
    told = environment.parse(written(plan.overlay, "/kdump/plan.env"))
    assert told["plan_capture_id"] == plan.capture_id
    assert plan.load.command_line.endswith(f" kdumpd.id={plan.capture_id}")


async def test_the_image_has_the_agent_a_shell_and_the_collector(looked: Looked) -> None:
    plan = planned(looked)
    overlay = {item.path for item in plan.overlay.items}
    base = {item.path: item for item in plan.base.items}
    assert {"/init", "/kdump/plan.env", "/kdump/console.sh", PRE} <= overlay
    assert base["/usr/bin/sh"] == Link(path="/usr/bin/sh", target="/usr/bin/busybox")
    assert base["/bin"] == Link(path="/bin", target="usr/bin")
    assert isinstance(base["/usr/bin/makedumpfile"], FromHost)


@pytest.mark.shows("core_collector cp")
async def test_cp_as_collector_is_the_hosts_own_for_busybox_knows_no_sparse(looked: Looked) -> None:
    looked.config = configured(f"{TARGET}core_collector cp --sparse=always\n")
    copied = FileFacts(path="/usr/bin/cp", kind=Kind.FILE, real="/usr/bin/cp", mode=0o755, digest="d")
    looked.inventory = Inventory(
        files=MappingProxyType({**looked.inventory.files, "/usr/bin/cp": copied}),
        programs=MappingProxyType({**looked.inventory.programs, "cp": "/usr/bin/cp"}),
    )
    base = {item.path: item for item in planned(looked).base.items}
    assert isinstance(base["/usr/bin/cp"], FromHost)


async def test_secure_boot_and_lockdown_ask_for_the_call_that_checks_signatures(looked: Looked) -> None:
    looked.sysconfig = Sysconfig(kexec_args="-c -p --args-linux")
    assert planned(looked).load.kexec_flags == ("-c", "--args-linux")
    crash = replace(looked.machine.crash, lockdown=Lockdown.INTEGRITY)
    looked.machine = replace(looked.machine, crash=crash)
    assert planned(looked).load.kexec_flags == ("-s", "--args-linux")


def without(looked: Looked, *paths: str) -> None:
    files = {path: facts for path, facts in looked.inventory.files.items() if path not in paths}
    programs = {name: path for name, path in looked.inventory.programs.items() if path not in paths}
    looked.inventory = replace(
        looked.inventory, files=MappingProxyType(files), programs=MappingProxyType(programs)
    )


@pytest.mark.parametrize(
    ("paths", "code", "line"),
    [
        ((PRE,), "hook-missing", 2),
        (("/usr/bin/makedumpfile",), "program-missing", 0),
        (("/usr/sbin/kexec",), "program-missing", 0),
        (("/boot/vmlinuz-6.1.0-56-amd64",), "kernel-image-missing", 0),
        (("/lib/modules/6.1.0-56-amd64/kernel/fs/ext4/ext4.ko",), "module-missing", 0),
    ],
)
async def test_what_is_missing_is_told(looked: Looked, paths: tuple[str, ...], code: str, line: int) -> None:
    without(looked, *paths)
    resolution = looked.resolve()
    assert resolution.plan is None
    assert [(problem.code, problem.line) for problem in resolution.problems if problem.is_error] == [
        (code, line)
    ]


async def built_with(tmp_path: Path, looked: Looked, options: str, *, conf: str = TARGET) -> Looked:
    """The same machine, whose kernel tells what it was built with."""
    release = looked.machine.kernel_release
    (tmp_path / f"boot/config-{release}").write_text(f"CONFIG_BLK_DEV_INITRD=y\n{options}")
    return await look(tmp_path, conf=conf)


async def test_a_kernel_without_zstd_gets_a_base_that_it_unpacks(looked: Looked, tmp_path: Path) -> None:
    before = again(looked, TARGET).plan
    assert before is not None
    looked = await built_with(tmp_path, looked, "CONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n")
    looked.tuning = Tuning(compression_level=19)
    plan = planned(looked)
    assert (plan.base.packing, plan.base.compression_level) == (Packing.GZIP, 9)
    assert plan.packing_reason.endswith(" is without CONFIG_RD_ZSTD")
    assert moved(before, plan) == {"base", "overlay", "load"}  # the overlay names the image that it is of
    (difference,) = explain.differences(describe(before), describe(plan))
    assert (difference.what, difference.reason) == (
        "how the base is packed zstd \N{RIGHTWARDS ARROW} gzip",
        "kernel-changed",
    )


async def test_a_kernel_that_unpacks_nothing_gets_archives_as_they_are(
    looked: Looked, tmp_path: Path
) -> None:
    plan = planned(await built_with(tmp_path, looked, "CONFIG_RD_XZ=y\n"))
    assert plan.base.packing is plan.overlay.packing is Packing.NONE
    assert plan.base.compression_level == 0


async def test_the_configuration_beside_the_modules_counts_where_boot_has_none(
    looked: Looked, tmp_path: Path
) -> None:
    release = looked.machine.kernel_release
    place = tmp_path / f"lib/modules/{release}/config"
    place.write_text("CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\n")
    (tmp_path / f"boot/config-{release}").write_text("")
    plan = planned(await look(tmp_path, conf=TARGET))
    assert plan.base.packing is Packing.GZIP
    assert plan.packing_reason == f"/lib/modules/{release}/config is without CONFIG_RD_ZSTD"


async def test_zstd_is_needed_only_where_it_has_something_to_pack_or_to_unpack(
    looked: Looked, tmp_path: Path
) -> None:
    looked = await built_with(tmp_path, looked, "CONFIG_RD_GZIP=y\n")
    without(looked, "/usr/sbin/zstd", "/usr/bin/zstd")
    assert not looked.resolve().problems
    paths = {name: path.replace(".ko", ".ko.zst") for name, path in looked.modules.files.items()}
    looked.modules = replace(looked.modules, files=MappingProxyType(paths))
    told = {problem.code: problem.message for problem in looked.resolve().problems}
    assert "unpacks the kernel's modules" in told["program-missing"]


async def test_a_kernel_that_takes_no_image_stands_in_the_way(looked: Looked, tmp_path: Path) -> None:
    (tmp_path / f"boot/config-{looked.machine.kernel_release}").write_text("CONFIG_SMP=y\n")
    resolution = (await look(tmp_path, conf=TARGET)).resolve()
    assert resolution.plan is None
    assert [problem.code for problem in resolution.problems] == ["kernel-takes-no-image"]


async def test_all_is_told_at_once_though_there_is_no_target(looked: Looked) -> None:
    without(looked, PRE, "/usr/bin/makedumpfile", "/usr/sbin/zstd", "/usr/bin/zstd")
    resolution = again(looked, f"xfs LABEL=nowhere\nkdump_pre {PRE}\n")
    assert sorted(problem.code for problem in resolution.problems) == [
        "hook-missing",
        "program-missing",
        "program-missing",
        "target-not-found",
    ]


async def test_a_busybox_that_cannot_be_read_is_a_problem(looked: Looked) -> None:
    with_facts(looked, replace(looked.inventory.facts("/usr/bin/busybox"), unreadable="Input/output error"))
    assert [problem.code for problem in looked.resolve().problems] == ["file-unreadable"]


async def test_a_missing_program_names_its_package(looked: Looked) -> None:
    without(looked, "/usr/bin/busybox")
    hints = " ".join(problem.hint for problem in looked.resolve().problems)
    assert "coreutils" in hints
    assert "util-linux" in hints


def with_facts(looked: Looked, facts: FileFacts) -> None:
    files = {**looked.inventory.files, facts.path: facts}
    looked.inventory = replace(looked.inventory, files=MappingProxyType(files))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda facts: replace(facts, mode=0o644), "hook-not-executable"),
        (lambda facts: replace(facts, unreadable="Permission denied"), "file-unreadable"),
        (lambda facts: replace(facts, interpreter="/bin/fish"), "interpreter-missing"),
        (lambda facts: replace(facts, missing_libraries=("libgone.so",)), "library-missing"),
        (lambda facts: replace(facts, kind=Kind.DIRECTORY), "file-unreadable"),
    ],
)
@pytest.mark.shows("kdump_pre")
async def test_a_hook_that_could_not_run_is_an_error_of_its_line(
    looked: Looked, change: Callable[[FileFacts], FileFacts], code: str
) -> None:
    with_facts(looked, change(looked.inventory.facts(PRE)))
    told = [(problem.code, problem.line, problem.key) for problem in looked.resolve().problems]
    assert told == [(code, 2, "kdump_pre")]


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("/usr/bin/env -S bash -e", [("interpreter-unfit", 2)]),
        ("/usr/bin/env -i sh", [("interpreter-unfit", 2)]),
        ("/usr/bin/env sh", []),
        ("/bin/sh -e", []),
    ],
)
async def test_a_hook_that_wants_more_of_env_than_busybox_has_is_an_error(
    looked: Looked, line: str, codes: list[tuple[str, int]]
) -> None:
    with_facts(looked, replace(looked.inventory.facts(PRE), interpreter_line=line))
    problems = looked.resolve().problems
    assert [(each.code, each.line) for each in problems if each.is_error] == codes


async def test_a_python_hook_is_a_warning(looked: Looked) -> None:
    python = FileFacts(
        path="/usr/bin/python3", kind=Kind.FILE, real="/usr/bin/python3.11", mode=0o755, digest="d"
    )
    with_facts(looked, python)
    with_facts(looked, replace(looked.inventory.facts(PRE), interpreter="/usr/bin/python3"))
    resolution = looked.resolve()
    assert resolution.plan is not None
    assert [problem.code for problem in resolution.plan.warnings] == ["interpreter-needs-more"]


@pytest.mark.shows("blacklist")
async def test_a_blacklist_that_hides_the_target_is_an_error(looked: Looked) -> None:
    resolution = again(looked, f"{TARGET}blacklist jbd2\n")
    assert [(problem.code, problem.line) for problem in resolution.problems] == [
        ("blacklist-hides-target", 2)
    ]
    assert "ext4" in resolution.problems[0].message


@pytest.mark.shows("extra_modules")
async def test_an_unknown_extra_module_is_a_warning_and_left_out(looked: Looked) -> None:
    resolution = again(looked, f"{TARGET}extra_modules gfs2\n")
    assert resolution.plan is not None
    assert [(problem.code, problem.line) for problem in resolution.problems] == [("unknown-module", 2)]


async def test_a_kernel_without_modules_is_told_and_so_is_all_else(looked: Looked) -> None:
    looked.modules = ModuleIndex()
    without(looked, PRE)
    codes = [problem.code for problem in looked.resolve().problems]
    assert sorted(codes) == ["hook-missing", "no-modules"]


async def test_engine_dracut_needs_dracut(looked: Looked) -> None:
    looked.tuning = Tuning(engine=EngineChoice.DRACUT)
    assert [problem.code for problem in looked.resolve().problems] == ["dracut-missing"]


async def test_a_reservation_that_is_missing_is_no_problem_of_the_plan(looked: Looked) -> None:
    before = planned(looked)
    looked.machine = replace(looked.machine, crash=replace(looked.machine.crash, reserved_bytes=0))
    assert planned(looked) == before


@pytest.mark.shows("KDUMP_KERNELVER")
async def test_another_capture_kernel_takes_its_own_modules_and_asks_by_modalias(looked: Looked) -> None:
    other = "5.10.0"
    built_in = tuple(
        replace(device, drivers=tuple(replace(driver, module="") for driver in device.drivers))
        for device in looked.machine.devices
    )
    looked.machine = replace(
        looked.machine,
        devices=built_in,
        kernels=(KernelFiles(release=other, image=f"/boot/vmlinuz-{other}"),),
    )
    looked.sysconfig = Sysconfig(kernel_version=other)
    looked.modules = replace(
        looked.modules,
        directory=f"/lib/modules/{other}",
        alias_text="alias virtio:d00000002v* virtio-blk\n",
    )
    looked_at = wants(looked.config, looked.sysconfig, looked.tuning, looked.machine, looked.modules)
    assert looked_at.modules_directory == f"/lib/modules/{other}"
    assert f"/boot/vmlinuz-{other}" in looked_at.files
    assert f"/lib/modules/{other}/kernel/drivers/block/virtio_blk.ko" in looked_at.files


def test_the_plan_knows_the_sizes_of_what_goes_in(looked: Looked) -> None:
    plan = planned(looked)
    kernel = replace(
        looked.inventory.facts(plan.load.kernel_image), size_bytes=12 << 20, loaded_bytes=56 << 20
    )
    packed = replace(looked.inventory.facts(plan.base.modules[0].source), size_bytes=1 << 20)
    files = {**looked.inventory.files, kernel.path: kernel, packed.path: packed}
    looked.inventory = replace(looked.inventory, files=files)
    larger = planned(looked)
    assert larger.kernel_bytes == 42 << 20
    assert larger.unpacked_bytes - plan.unpacked_bytes >= (1 << 20) - 4096
    assert larger.image_fingerprint == plan.image_fingerprint, "they are about the image, and not in it"
    assert plan.memory_kind == "direct filesystem ext4 makedumpfile"
    (told,) = (item for item in plan.overlay.items if item.path == "/kdump/plan.env")
    assert isinstance(told, Written)
    assert environment.parse(told.text)["plan_memory_kind"] == plan.memory_kind


@pytest.mark.shows("failure_action dump_to_rootfs")
def test_the_root_file_system_is_a_place_for_dumps_where_failure_action_says_so(looked: Looked) -> None:
    assert ON_ROOTFS not in planned(looked).target
    plan = again(looked, f"{TARGET}failure_action dump_to_rootfs\n").plan
    assert plan is not None
    assert plan.target[ON_ROOTFS] == "/var/crash"


def test_dump_to_rootfs_that_cannot_be_done_is_told_and_the_target_still_served(looked: Looked) -> None:
    first = tuple(mount for mount in looked.machine.mounts if mount.target != "/")
    root = Mount(target="/", source="overlay", fstype="overlay", number="0:30")
    looked.machine = replace(looked.machine, mounts=(root, *first), fstab=())
    resolution = again(looked, f"{TARGET}failure_action dump_to_rootfs\n")
    assert resolution.plan is not None, resolution.problems
    (problem,) = (each for each in resolution.problems if each.code == "rootfs-out-of-reach")
    assert (problem.line, problem.key, problem.is_error) == (2, "failure_action", False)
    assert ON_ROOTFS not in resolution.plan.target


def test_a_target_known_by_its_partition_alone_brings_the_program_that_finds_it(looked: Looked) -> None:
    """The blkid of busybox does not know PARTUUID=."""
    plan = planned(looked)
    target = next(each for each in looked.machine.devices if f"UUID={each.uuid}" == plan.target["device"])
    copied = replace(target, part_uuid="one")
    twin = replace(target, name="vdz1", number="253:99", part_uuid="two", links=())
    others = tuple(each for each in looked.machine.devices if each.name != target.name)
    looked.machine = replace(looked.machine, devices=(*others, copied, twin))
    text = f"ext4 /dev/{target.name}\n"
    wanted = wants(configured(text), looked.sysconfig, looked.tuning, looked.machine, looked.modules)
    assert "blkid" in wanted.programs
    resolution = again(looked, text)
    assert resolution.plan is not None, resolution.problems
    assert resolution.plan.target["device"] == "PARTUUID=one"
    brought = {item.path: type(item) for item in resolution.plan.base.items if item.path.endswith("/blkid")}
    assert set(brought.values()) == {FromHost}
    assert Link in {type(item) for item in plan.base.items if item.path.endswith("/blkid")}


CARD = "/lib/modules/6.1.0-56-amd64/kernel/drivers/block/virtio_blk.ko"
FIRMWARE = "/lib/firmware/acme/one.bin"


async def test_firmware_of_a_driver_comes_along_in_the_base(looked: Looked) -> None:
    before = planned(looked)
    one = FileFacts(path=FIRMWARE, kind=Kind.FILE, real=FIRMWARE, mode=0o644, digest="d")
    looked.inventory = replace(
        looked.inventory,
        files=MappingProxyType({**looked.inventory.files, FIRMWARE: one}),
        firmware=MappingProxyType(
            {CARD: Firmware(names=("acme/one.bin", "acme/two.bin"), files=(FIRMWARE,))}
        ),
    )
    after = planned(looked)
    assert FIRMWARE in {item.source for item in after.base.items if isinstance(item, FromHost)}
    assert "base" in moved(before, after)
    assert after.warnings == before.warnings


async def test_firmware_that_is_nowhere_is_a_warning(looked: Looked) -> None:
    looked.inventory = replace(
        looked.inventory, firmware=MappingProxyType({CARD: Firmware(names=("acme/one.bin",))})
    )
    (problem,) = (each for each in planned(looked).warnings if each.code == "firmware-missing")
    assert "virtio_blk" in problem.message
    assert "acme/one.bin" in problem.message


@pytest.mark.parametrize(("seconds", "told"), [(0.0, "0"), (0.5, "1"), (1800.0, "1800")])
async def test_a_bound_for_hooks_is_never_rounded_to_none(looked: Looked, seconds: float, told: str) -> None:
    looked.tuning = Tuning(hook_timeout_seconds=seconds)
    told_agent = environment.parse(written(planned(looked).overlay, "/kdump/plan.env"))
    assert told_agent["plan_hook_timeout"] == told
