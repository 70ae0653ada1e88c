"""Looking at a machine: every fact from a file, and programs only where no file has it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core.inventory import Kind, Wants
from kdumpd.core.machine import Hungry, Lockdown
from kdumpd.core.modules import ModuleIndex
from kdumpd.host import observe
from kdumpd.host.real import RealFiles, RealPrograms
from tests.host.scripted import MISSING, Answer, ScriptedPrograms
from tests.machines.roots import unpack


class FoundPrograms(ScriptedPrograms):
    """Those that are said to be there, and no others."""

    def __init__(self, found: Mapping[str, str]) -> None:
        super().__init__()
        self.found = found

    def find(self, name: str) -> str:
        return self.found.get(name, "")


def write(root: Path, path: str, text: str, *, mode: int = 0o644) -> None:
    target = root / path.strip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)


def test_a_root_with_nothing_in_it_is_a_machine_of_which_nothing_is_known(tmp_path: Path) -> None:
    seen = observe.look(RealFiles(str(tmp_path)))
    assert (seen.kernel_release, seen.devices, seen.mounts) == ("", (), ())
    assert seen.crash.layout == ""
    assert seen.crash.loads_left == -1


@pytest.mark.parametrize(("layout", "prefix"), [("old", "kexec_crash_"), ("new", "kexec/crash_")])
def test_both_names_of_the_crash_kernels_files_are_read(tmp_path: Path, layout: str, prefix: str) -> None:
    write(tmp_path, f"/sys/kernel/{prefix}loaded", "1\n")
    write(tmp_path, f"/sys/kernel/{prefix}size", "268435456\n")
    crash = observe.look(RealFiles(str(tmp_path))).crash
    assert (crash.layout, crash.loaded, crash.reserved_bytes) == (layout, True, 256 << 20)


def test_of_both_names_the_newer_counts(tmp_path: Path) -> None:
    write(tmp_path, "/sys/kernel/kexec_crash_loaded", "0\n")
    write(tmp_path, "/sys/kernel/kexec/crash_loaded", "1\n")
    assert observe.look(RealFiles(str(tmp_path))).crash.loaded


def test_what_keeps_a_kernel_from_being_loaded_is_read(tmp_path: Path) -> None:
    unpack("secure-boot", tmp_path)
    write(tmp_path, "/proc/sys/kernel/kexec_load_disabled", "1\n")
    write(tmp_path, "/proc/sys/kernel/kexec_load_limit_panic", "3\n")
    write(tmp_path, "/sys/kernel/fadump/enabled", "1\n")
    crash = observe.look(RealFiles(str(tmp_path))).crash
    assert (crash.load_disabled, crash.loads_left, crash.fadump) == (True, 3, True)
    assert (crash.lockdown, crash.secure_boot) == (Lockdown.INTEGRITY, True)


def test_the_reservation_stands_in_iomem_while_its_size_cannot_be_read(tmp_path: Path) -> None:
    unpack("virtio", tmp_path)
    (tmp_path / "sys/kernel/kexec_crash_size").unlink()
    assert observe.look(RealFiles(str(tmp_path))).crash.reserved_bytes == 256 << 20


def test_a_disk_has_the_drivers_of_all_its_parents_and_modules_only_where_they_are_loaded(
    tmp_path: Path,
) -> None:
    unpack("virtio", tmp_path)
    device = observe.look(RealFiles(str(tmp_path))).device("vda1")
    assert device is not None
    assert [(driver.name, driver.subsystem, driver.module) for driver in device.drivers] == [
        ("virtio_blk", "virtio", "virtio_blk"),
        ("virtio-pci", "pci", "virtio_pci"),
        ("pcieport", "pci", ""),
    ]
    assert (device.disk, device.number, device.contents) == ("vda", "254:1", "ext4")


def test_a_module_that_is_built_in_is_none_to_load(tmp_path: Path) -> None:
    unpack("virtio", tmp_path)
    (tmp_path / "sys/module/virtio_blk/initstate").unlink()
    device = observe.look(RealFiles(str(tmp_path))).device("vda")
    assert device is not None
    assert [driver.module for driver in device.drivers] == ["", "virtio_pci", ""]


def test_a_namespace_of_the_kernels_own_nvme_multipath_has_its_controllers_drivers(tmp_path: Path) -> None:
    unpack("nvme", tmp_path)
    subsystem = tmp_path / "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    disk = tmp_path / "sys/devices/pci0000:00/0000:00:01.1/0000:01:00.0/nvme/nvme0/nvme0n1"
    subsystem.mkdir(parents=True)
    shutil.move(disk, subsystem / "nvme0n1")
    (subsystem / "nvme0").symlink_to("../../../pci0000:00/0000:00:01.1/0000:01:00.0/nvme/nvme0")
    link = tmp_path / "sys/class/block/nvme0n1p3"
    link.unlink()
    link.symlink_to("../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p3")
    device = observe.look(RealFiles(str(tmp_path))).device("nvme0n1p3")
    assert device is not None
    assert [driver.name for driver in device.drivers] == ["nvme", "pcieport"]


async def test_blkid_is_asked_of_no_device_that_a_copied_root_does_not_have(tmp_path: Path) -> None:
    unpack("virtio", tmp_path)
    shutil.rmtree(tmp_path / "run/udev")
    programs = FoundPrograms({"blkid": "/usr/sbin/blkid"})
    seen = await observe.machine(RealFiles(str(tmp_path)), programs)
    assert {device.contents for device in seen.devices} == {""}


@pytest.mark.skipif(os.geteuid() != 0, reason="making a device node takes root")
async def test_blkid_is_asked_where_the_database_of_udev_says_nothing(tmp_path: Path) -> None:
    unpack("virtio", tmp_path)
    (tmp_path / "run/udev/data/b254:1").unlink()
    (tmp_path / "dev").mkdir()
    try:
        os.mknod(tmp_path / "dev/vda1", stat.S_IFBLK | 0o600, os.makedev(254, 1))
    except PermissionError:
        pytest.skip("device nodes are forbidden here")
    node = str(tmp_path / "dev/vda1")
    programs = FoundPrograms({"blkid": "/usr/sbin/blkid"})
    answer = Answer(stdout=f"DEVNAME={node}\nUUID=1c1e\nTYPE=xfs\nLABEL=a\\ b\n")
    programs.expect("blkid", "-c", "/dev/null", "-o", "export", node, answer=answer)
    device = (await observe.machine(RealFiles(str(tmp_path)), programs)).device("vda1")
    assert device is not None
    assert (device.contents, device.uuid, device.label) == ("xfs", "1c1e", "a b")
    programs.expect("blkid", "-c", "/dev/null", "-o", "export", node, answer=MISSING)
    unknown = (await observe.machine(RealFiles(str(tmp_path)), programs)).device("vda1")
    assert unknown is not None
    assert unknown.contents == ""


def test_options_of_modprobe_d_come_from_the_file_that_counts(tmp_path: Path) -> None:
    write(tmp_path, "/lib/modules/6/modules.dep", "a.ko:\n")
    write(tmp_path, "/usr/lib/modprobe.d/x.conf", "options a from=usr\n")
    write(tmp_path, "/etc/modprobe.d/x.conf", "options a from=etc\n")
    write(tmp_path, "/etc/modprobe.d/y.conf", "options b c=1\n")
    write(tmp_path, "/etc/modprobe.d/note.txt", "options d e=1\n")
    index = observe.kernel_modules(RealFiles(str(tmp_path)), "/lib/modules/6")
    assert dict(index.options) == {"a": "from=etc", "b": "c=1"}
    assert index.path("a") == "/lib/modules/6/a.ko"


def test_the_index_of_modules_is_read_again_only_where_one_of_its_files_is_another(tmp_path: Path) -> None:
    files = RealFiles(str(tmp_path), at_rest_ns=0)

    def index(*, is_kept: bool = True) -> ModuleIndex:
        return observe.kernel_modules(files, "/lib/modules/6", is_kept=is_kept)

    write(tmp_path, "/lib/modules/6/modules.dep", "a.ko:\n")
    first = index()
    assert index() is first
    assert index(is_kept=False) is first
    write(tmp_path, "/lib/modules/6/modules.dep", "b.ko:\n")  # as long as the other, in the same second
    assert index().path("b") == "/lib/modules/6/b.ko"
    write(tmp_path, "/etc/modprobe.d/x.conf", "options b c=1\n")
    second = index()
    assert dict(second.options) == {"b": "c=1"}
    write(tmp_path, "/lib/modules/6/modules.alias", "alias fs-b b\n")
    once = index(is_kept=False)  # of a kernel that is looked at but once
    assert once.named("fs-b") == ("b",)
    assert index(is_kept=False) is not once


def test_without_the_patterns_every_name_of_a_module_is_still_known(tmp_path: Path) -> None:
    write(tmp_path, "/lib/modules/6/modules.dep", "v.ko:\nx.ko:\n")
    write(
        tmp_path,
        "/lib/modules/6/modules.alias",
        "# Aliases\nalias virtio:d00000002v* v\nalias fs-xfs x\nalias usb:v04[0-9]Bp?d x\n",
    )
    files = RealFiles(str(tmp_path))
    whole = observe.kernel_modules(files, "/lib/modules/6")
    names = observe.kernel_modules(files, "/lib/modules/6", has_patterns=False)
    assert whole.serving("virtio:d00000002v00001AF4") == ("v",)
    assert names == replace(whole, alias_text="# Aliases\nalias fs-xfs x\n")
    assert names.named("fs-xfs") == ("x",)
    nothing = observe.kernel_modules(files, "/lib/modules/none", has_patterns=False)
    assert nothing.files == {}


async def test_an_inventory_is_closed_over_interpreters(tmp_path: Path) -> None:
    write(tmp_path, "/etc/hook", "#!/bin/sh\n", mode=0o755)
    write(tmp_path, "/usr/bin/dash", "dash\n", mode=0o755)
    (tmp_path / "usr/bin/sh").symlink_to("dash")
    (tmp_path / "bin").symlink_to("usr/bin")
    found = await observe.inventory(
        RealFiles(str(tmp_path)), FoundPrograms({}), Wants(files=frozenset({"/etc/hook", "/nowhere"}))
    )
    assert found.facts("/etc/hook").interpreter == "/bin/sh"
    shell = found.facts("/bin/sh")
    assert (shell.real, shell.is_executable) == ("/usr/bin/dash", True)
    assert found.facts("/nowhere").kind is Kind.MISSING


async def test_an_interpreter_that_the_kernel_would_not_find_is_missing_and_no_more(tmp_path: Path) -> None:
    write(tmp_path, "/etc/hook", "#!sh\n", mode=0o755)
    write(tmp_path, "/etc/other", "#!/bin/s\0h\n", mode=0o755)
    found = await observe.inventory(
        RealFiles(str(tmp_path)), FoundPrograms({}), Wants(files=frozenset({"/etc/hook", "/etc/other"}))
    )
    assert found.facts(found.facts("/etc/hook").interpreter).kind is Kind.MISSING
    assert found.facts(found.facts("/etc/other").interpreter).kind is Kind.MISSING


async def test_a_hook_of_env_is_run_by_what_env_would_find(tmp_path: Path) -> None:
    write(tmp_path, "/etc/hook", "#!/usr/bin/env fish -x\n", mode=0o755)
    files, wanted = RealFiles(str(tmp_path)), Wants(files=frozenset({"/etc/hook"}))
    found = await observe.inventory(files, FoundPrograms({"fish": "/opt/fish"}), wanted)
    assert found.facts("/etc/hook").interpreter == "/opt/fish"
    assert found.facts("/etc/hook").interpreter_line == "/usr/bin/env fish -x"
    nowhere = await observe.inventory(files, FoundPrograms({}), wanted)
    assert nowhere.facts("/etc/hook").interpreter == "/usr/bin/fish"


async def test_a_folder_brings_its_entries(tmp_path: Path) -> None:
    write(tmp_path, "/etc/kdump/pre.d/20-b", "#!/bin/sh\n", mode=0o755)
    write(tmp_path, "/etc/kdump/pre.d/10-a", "text\n")
    wanted = Wants(directories=frozenset({"/etc/kdump/pre.d", "/etc/kdump/post.d"}))
    found = await observe.inventory(RealFiles(str(tmp_path)), FoundPrograms({}), wanted)
    assert found.facts("/etc/kdump/pre.d").entries == ("10-a", "20-b")
    assert found.facts("/etc/kdump/pre.d/20-b").is_executable
    assert not found.facts("/etc/kdump/pre.d/10-a").is_executable
    assert found.facts("/etc/kdump/post.d").kind is Kind.MISSING


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    write(tmp_path, "/etc/hook", "#!/bin/sh\n", mode=0o000)
    found = await observe.inventory(
        RealFiles(str(tmp_path)), FoundPrograms({}), Wants(files=frozenset({"/etc/hook"}))
    )
    assert found.facts("/etc/hook").unreadable == "Permission denied"


@pytest.mark.tools
async def test_the_libraries_of_real_programs_are_found_and_read() -> None:
    wanted = Wants(programs=frozenset({"sh", "mount", "no-such-program"}))
    found = await observe.inventory(RealFiles("/"), RealPrograms("/"), wanted)
    assert set(found.programs) == {"sh", "mount"}
    libraries = found.facts(found.programs["mount"]).libraries
    assert any("libc.so" in path or "musl" in path for path in libraries)
    assert all(found.facts(path).digest for path in libraries)


async def test_a_program_whose_libraries_cannot_be_asked_for_says_so(tmp_path: Path) -> None:
    program = tmp_path / "usr/bin/x"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + bytes(64))
    program.chmod(0o755)
    programs = FoundPrograms({"x": "/usr/bin/x", "ldd": "/usr/bin/ldd"})
    programs.expect("ldd", str(program), answer=MISSING)
    found = await observe.inventory(RealFiles(str(tmp_path)), programs, Wants(programs=frozenset({"x"})))
    assert "ldd" in found.facts("/usr/bin/x").unreadable
    programs.expect("ldd", str(program), answer=Answer(stdout="\tliba.so => not found\n", status=1))
    again = await observe.inventory(RealFiles(str(tmp_path)), programs, Wants(programs=frozenset({"x"})))
    assert again.facts("/usr/bin/x").missing_libraries == ("liba.so",)


async def test_ldd_is_asked_once_of_a_program_that_stays_the_same(tmp_path: Path) -> None:
    program, library = tmp_path / "usr/bin/y", tmp_path / "lib/liby.so"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + bytes(64))
    program.chmod(0o755)
    write(tmp_path, "/lib/liby.so", "y")
    files, wanted = RealFiles(str(tmp_path)), Wants(programs=frozenset({"y"}))
    programs = FoundPrograms({"y": "/usr/bin/y", "ldd": "/usr/bin/ldd"})
    answer = Answer(stdout="\tliby.so => /lib/liby.so (0x00007f)\n")
    programs.expect("ldd", str(program), answer=answer)
    first = await observe.inventory(files, programs, wanted)
    assert await observe.inventory(files, programs, wanted) == first
    assert first.facts("/usr/bin/y").libraries == ("/lib/liby.so",)
    library.unlink()
    programs.expect("ldd", str(program), answer=Answer(stdout="\tliby.so => not found\n", status=1))
    assert (await observe.inventory(files, programs, wanted)).facts("/usr/bin/y").missing_libraries == (
        "liby.so",
    )
    program.write_bytes(program.read_bytes() + b"another")
    programs.expect("ldd", str(program), answer=answer)
    await observe.inventory(files, programs, wanted)
    assert programs.script == []


def test_what_takes_memory_of_a_capture_beyond_the_usual_is_seen(tmp_path: Path) -> None:
    assert observe.look(RealFiles(str(tmp_path))).hungry == set()
    write(tmp_path, "/proc/cmdline", "ro mem_encrypt=on\n")
    write(tmp_path, "/sys/bus/pci/drivers/mlx5_core/bind", "")
    write(tmp_path, "/sys/devices/platform/arm-smmu-v3.0.auto/uevent", "")
    assert observe.look(RealFiles(str(tmp_path))).hungry == set(Hungry)
