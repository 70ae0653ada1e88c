"""`kdumpctl reserve`, and the same by the names of kdump-utils, as an administrator or a script meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpd.core import reserve
from kdumpd.core.bootloader import DROP_IN
from kdumpd.service.bus import Caller, Exports, Interface, describe
from kdumpd.service.bus.interface import Request
from tests.daemon.test_kdumpctl import Said, kdumpctl
from tests.service.private_bus import PrivateBus
from tests.service.test_reserving import MENU, on_debian
from tests.simulate import simulated

LOGIND_PATH = "/org/freedesktop/login1"
LOGIND = describe(
    """<node><interface name="org.freedesktop.login1.Manager"><method name="Reboot">
    <arg name="interactive" type="b" direction="in"/></method></interface></node>"""
)
REBOOT = "kdump: WARNING: Please reboot the system for the change to take effect.\n"


async def test_it_is_shown_before_it_is_done(tmp_path: Path, bus: PrivateBus) -> None:
    async with on_debian(tmp_path, bus) as (_, grub):
        shown = await kdumpctl(bus, "reserve", "set", "512M", "--dry-run")
        assert (shown.status, shown.complaint, grub.runs) == (0, "", 0)
        assert shown.output.startswith(f"would write {DROP_IN}:\n")
        assert shown.output.endswith("would run /usr/sbin/update-grub\n")
        said = await kdumpctl(bus, "reserve", "set", "512M")
        updated = "Updated crashkernel=512M for kernel=/boot/vmlinuz-6.1.0, grub entry index=0.\n"
        assert said == Said(0, shown.output + updated, REBOOT)
        assert grub.menu == MENU.format("crashkernel=512M")
        status = await kdumpctl(bus, "status")
        assert "a reboot is required for a change to take effect" in status.output
        again = await kdumpctl(bus, "reserve", "set", "512M")
        assert again == Said(
            0,
            "No need to update crashkernel value for kernel=/boot/vmlinuz-6.1.0, grub entry index=0\n",
            "",
        )
        await kdumpctl(bus, "reserve", "set", "256M")
        assert "reboot" not in (await kdumpctl(bus, "status")).output


async def test_reset_sets_what_get_default_says(tmp_path: Path, bus: PrivateBus) -> None:
    async with on_debian(tmp_path, bus) as (_, grub):
        default = (await kdumpctl(bus, "get-default-crashkernel")).output
        assert default == "2G-64G:256M,64G-:512M"
        assert (await kdumpctl(bus, "reserve", "get-default")).output == f"{default}\n"
        said = await kdumpctl(bus, "reset-crashkernel")
        assert (said.status, said.complaint) == (0, REBOOT)
        assert grub.menu == MENU.format(f"crashkernel={default}")
        assert (await kdumpctl(bus, "reset-crashkernel", "--kernel=ALL")).status == 0
        assert grub.runs == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ("--kernel=/boot/none",),
            "kdump: Invalid --kernel=/boot/none, please specify a valid kernel path, ALL or DEFAULT\n",
        ),
        (("--fadump=on",), "kdump: Option --fadump only valid on PPC\n"),
    ],
)
async def test_reset_refuses_in_the_old_words(
    tmp_path: Path, bus: PrivateBus, words: tuple[str, ...], complaint: str
) -> None:
    async with on_debian(tmp_path, bus) as (_, grub):
        assert await kdumpctl(bus, "reset-crashkernel", *words) == Said(1, "", complaint)
        assert grub.runs == 0


async def test_what_fails_ends_with_one_and_the_reason(tmp_path: Path, bus: PrivateBus) -> None:
    async with on_debian(tmp_path, bus) as (_, grub):
        grub.fails = True
        said = await kdumpctl(bus, "reserve", "set", "512M")
        assert said.status == 1
        assert "no space left" in said.complaint
        assert "everything was put back as it was" in said.output
        assert (await kdumpctl(bus, "reserve", "set", "sideways")).status == 1
        assert (await kdumpctl(bus, "reset-crashkernel", "--sideways")).status == 1


class Logind(Interface):
    def __init__(self) -> None:
        super().__init__(LOGIND)
        self.reboots: list[bool] = []

    def reboot(self, _caller: Caller, *interactive: bool) -> None:
        self.reboots += interactive


class Open:
    async def admit(self, request: Request) -> None:
        """Everyone may."""


async def test_a_reboot_is_asked_of_logind_only_where_something_changed(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with on_debian(tmp_path, bus), bus.connected() as connection:
        logind = Logind()
        exports = Exports(connection, root=LOGIND_PATH, gate=Open())
        exports.add(LOGIND_PATH, logind)
        await connection.own("org.freedesktop.login1")
        said = await kdumpctl(bus, "reset-crashkernel", "--reboot")
        assert (said.status, said.complaint, logind.reboots) == (0, "", [False])
        again = await kdumpctl(bus, "reset-crashkernel", "--reboot")
        assert (again.status, logind.reboots) == (0, [False])
        await exports.close()


async def test_a_reboot_that_is_refused_is_told(tmp_path: Path, bus: PrivateBus) -> None:
    async with on_debian(tmp_path, bus) as (_, grub):
        said = await kdumpctl(bus, "reset-crashkernel", "--reboot")
        assert (said.status, grub.runs) == (1, 1)
        assert said.complaint.startswith("kdump: the system was not rebooted: ")
        assert said.complaint.endswith(REBOOT)


async def test_without_a_daemon_the_table_answers(bus: PrivateBus) -> None:
    for at in (None, bus):
        said = await kdumpctl(at, "get-default-crashkernel", "fadump")
        assert (said.status, said.complaint) == (0, "")
        assert isinstance(reserve.parse(said.output), reserve.Ranges)
        assert (await kdumpctl(at, "reserve", "set", "256M")).status == 1


async def test_a_kdumpd_of_another_machine_s_files_leaves_this_one_alone(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        grub = machine.root / "boot/grub/grub.cfg"
        for path, contents in (
            (grub, MENU.format("crashkernel=256M")),
            (machine.root / "etc/default/grub", ""),
            (machine.root / "usr/sbin/update-grub", "#!/bin/sh\nexit 1\n"),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(contents)
            path.chmod(0o755)
        shown = await kdumpctl(bus, "reserve", "set", "512M", "--dry-run")
        assert (shown.status, shown.output[:11]) == (0, "would write")
        said = await kdumpctl(bus, "reserve", "set", "512M")
        assert said.status == 1
        assert "on the machine itself" in said.complaint
        assert not (machine.root / DROP_IN.lstrip("/")).exists()
