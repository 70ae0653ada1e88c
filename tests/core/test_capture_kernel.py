"""Which kernel captures, and how kexec is told to load it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from kdumpd.core import capture_kernel
from kdumpd.core.inventory import FileFacts, Inventory, Kind
from kdumpd.core.sysconfig import Sysconfig
from tests.core.plain import PLAIN

MACHINE = replace(PLAIN, machine_id="abc", command_line="ro quiet crashkernel=256M")


def inventory(*paths: str) -> Inventory:
    files = {path: FileFacts(path=path, kind=Kind.FILE, real=path, digest="d") for path in paths}
    return Inventory(files=MappingProxyType(files), programs={})


@pytest.mark.parametrize(
    "path",
    ["/boot/vmlinuz-6.1", "/lib/modules/6.1/vmlinuz", "/boot/vmlinux-6.1", "/boot/abc/6.1/linux"],
)
def test_the_image_is_found_wherever_distributions_put_it(path: str) -> None:
    assert capture_kernel.kernel_image(Sysconfig(), MACHINE, inventory(path)) == path


def test_the_usual_values_of_sysconfig_do_not_hide_the_other_places() -> None:
    usual = Sysconfig(bootdir="/boot", image="vmlinuz", image_ext="")
    assert capture_kernel.kernel_images(usual, MACHINE) == capture_kernel.kernel_images(Sysconfig(), MACHINE)


@pytest.mark.shows("KDUMP_KERNELVER", "KDUMP_BOOTDIR", "KDUMP_IMG", "KDUMP_IMG_EXT")
def test_what_sysconfig_says_otherwise_is_the_only_place() -> None:
    said = Sysconfig(kernel_version="5.10", bootdir="/efi/", image="kernel", image_ext=".img")
    assert capture_kernel.kernel_images(said, MACHINE) == ("/efi/kernel-5.10.img",)
    problem = next(capture_kernel.problems(said, MACHINE, inventory()))
    assert problem.code == "kernel-image-missing"
    assert "/efi/kernel-5.10.img" in problem.message


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (None, ("-a",)),
        ("", ("-a",)),
        ("-s", ("-s",)),
        ("--kexec-syscall", ("-c",)),
        ("--args-linux", ("-a", "--args-linux")),
        ("-p -s '--x=a b'", ("-s", "--x=a b")),
    ],
)
@pytest.mark.shows("KEXEC_ARGS")
def test_exactly_one_system_call_is_chosen(arguments: str | None, flags: tuple[str, ...]) -> None:
    assert capture_kernel.kexec_flags(Sysconfig(kexec_args=arguments), MACHINE) == flags


@pytest.mark.shows("KDUMP_COMMANDLINE_APPEND", "KDUMP_COMMANDLINE_REMOVE")
def test_an_empty_append_is_not_the_same_as_none() -> None:
    nothing = Sysconfig(command_line_append="", command_line_remove="ro")
    assert capture_kernel.command_line(nothing, MACHINE, capture_id="") == "quiet"
    assert "irqpoll" in capture_kernel.command_line(Sysconfig(), MACHINE, capture_id="")


@pytest.mark.shows("KDUMP_COMMANDLINE")
def test_a_command_line_of_ones_own_takes_the_place_of_the_running_one() -> None:
    own = Sysconfig(command_line="console=ttyS0 root=/dev/x", command_line_append="panic=3")
    assert capture_kernel.command_line(own, MACHINE, capture_id="") == "console=ttyS0 panic=3"
    usual = Sysconfig(command_line="", command_line_append="panic=3", command_line_remove="")
    assert capture_kernel.command_line(usual, MACHINE, capture_id="") == "ro quiet panic=3"


@pytest.mark.shows("KDUMP_COMMANDLINE")
def test_nothing_is_trimmed_of_a_command_line_of_ones_own() -> None:
    own = Sysconfig(command_line="quiet hugepages=4 crashkernel=9M", command_line_append="")
    assert capture_kernel.command_line(own, MACHINE, capture_id="") == "quiet hugepages=4"
    also = Sysconfig(
        command_line="quiet hugepages=4", command_line_append="slub_debug", command_line_remove="quiet"
    )
    assert capture_kernel.command_line(also, MACHINE, capture_id="") == "hugepages=4 slub_debug"


def test_a_command_line_that_the_kernel_would_cut_is_a_problem() -> None:
    long = Sysconfig(command_line="x" * 1700)
    problems = list(capture_kernel.problems(long, MACHINE, inventory("/boot/vmlinuz-6.1")))
    assert [problem.code for problem in problems] == ["command-line-too-long"]
