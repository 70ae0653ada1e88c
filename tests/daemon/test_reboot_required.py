"""Whether a reboot is required is told from the boot menu, also when somebody else writes it."""

from __future__ import annotations

from pathlib import Path

from tests.service.private_bus import PrivateBus
from tests.simulate import simulated

MENU = "menuentry 'Debian' {{\n\tlinux /boot/vmlinuz root=/dev/vda1 ro crashkernel={}\n}}\n"


async def test_a_menu_written_by_hand_is_heard_of(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        state = await machine.until_armed()
        assert not state["RebootRequired"]
        before = machine.armed_with
        menu = machine.root / "boot/grub/grub.cfg"
        menu.parent.mkdir()
        menu.write_text(MENU.format("512M"))
        state = await machine.until(lambda now: bool(now["RebootRequired"]))
        assert state["State"] == "armed", "what is loaded is still what is to be loaded"
        menu.with_name("grub.cfg.new").write_text(MENU.format("256M"))
        menu.with_name("grub.cfg.new").rename(menu)
        await machine.until(lambda now: not now["RebootRequired"])
        assert machine.armed_with == before, "nothing was built or loaded because of it"
