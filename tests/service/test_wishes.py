"""What is wished: over reboots as systemd has it of kdump.service, in this boot as /run has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpd.core.problems import Trouble
from kdumpd.host.real import RealFiles
from kdumpd.service.wishes import Wishes
from tests.host.scripted import MISSING, Answer, ScriptedPrograms

INSTALLED = "usr/lib/systemd/system/kdump.service"
ENABLED = "etc/systemd/system/multi-user.target.wants/kdump.service"
STORE = "/var/lib/kdumpd"


class House:
    """A root directory with or without kdump.service, and a systemctl that does what it is told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = ScriptedPrograms()
        self.wishes = Wishes(RealFiles(str(root)), self.programs, folder=STORE)

    def install(self, unit: str = INSTALLED) -> None:
        (self.root / unit).parent.mkdir(parents=True, exist_ok=True)
        (self.root / unit).write_text("[Service]\n")

    def link(self, path: str = ENABLED, target: str = f"/{INSTALLED}") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)

    def unlink(self) -> None:
        (self.root / ENABLED).unlink()

    def expect(self, verb: str, answer: Answer) -> None:
        self.programs.expect("systemctl", "--no-reload", verb, "kdump.service", answer=answer)

    def reboot(self) -> None:
        for left in (self.root / "run/kdumpd").glob("*"):
            left.unlink()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize(
    "link",
    [
        ENABLED,
        "etc/systemd/system/kdump.target.requires/kdump.service",
        "run/systemd/system/multi-user.target.wants/kdump.service",
    ],
)
def test_what_systemctl_enable_makes_is_the_wish(house: House, link: str) -> None:
    house.install()
    assert not house.wishes.enabled
    house.link(link)
    assert house.wishes.enabled


def test_the_unit_may_be_the_administrators_own(house: House) -> None:
    house.install("etc/systemd/system/kdump.service")
    assert not house.wishes.enabled
    house.link(target="/etc/systemd/system/kdump.service")
    assert house.wishes.enabled


def test_a_link_to_a_unit_that_is_gone_is_no_wish(house: House) -> None:
    house.install("usr/local/lib/systemd/system/kdump.service")
    house.link()
    assert not house.wishes.enabled


@pytest.mark.parametrize("folder", ["etc", "run"])
def test_a_masked_unit_is_not_wanted_however_enabled(house: House, folder: str) -> None:
    house.install()
    house.link()
    (house.root / "dev").mkdir()
    (house.root / "dev/null").touch()
    house.link(f"{folder}/systemd/system/kdump.service", "/dev/null")
    assert not house.wishes.enabled
    house.wishes.want()
    assert house.wishes.enabled  # in this boot, as somebody asked for it


async def test_enabling_is_what_systemd_keeps_and_ends_a_hold(house: House) -> None:
    house.install()
    house.wishes.hold()
    house.expect("enable", Answer(first=house.link))
    await house.wishes.enable()
    assert house.programs.script == []
    assert (house.wishes.enabled, house.wishes.held) == (True, False)
    house.reboot()
    assert (house.wishes.enabled, house.wishes.held) == (True, False)


async def test_disabling_is_what_systemd_keeps_and_holds_at_once(house: House) -> None:
    house.install()
    house.link()
    house.expect("disable", Answer(first=house.unlink))
    await house.wishes.disable()
    assert house.programs.script == []
    assert (house.wishes.enabled, house.wishes.held) == (False, True)
    house.reboot()
    assert (house.wishes.enabled, house.wishes.held) == (False, False)


async def test_systemd_is_not_asked_for_what_is_so_already(house: House) -> None:
    house.install()
    await house.wishes.disable()
    house.link()
    await house.wishes.enable()
    assert house.wishes.enabled


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(status=1, stderr="Unit kdump.service is masked."), "Unit kdump.service is masked."),
        (MISSING, "is not installed"),
    ],
)
async def test_a_wish_that_systemd_does_not_keep_is_told_and_changes_nothing(
    house: House, answer: Answer, why: str
) -> None:
    house.install()
    house.wishes.hold()
    house.expect("enable", answer)
    with pytest.raises(Trouble) as raised:
        await house.wishes.enable()
    (problem,) = raised.value.problems
    assert problem.code == "wish-not-kept"
    assert why in problem.message
    assert (house.wishes.enabled, house.wishes.held) == (False, True)


def test_systemctl_disable_says_nothing_of_this_boot(house: House) -> None:
    house.install()
    house.link()
    house.wishes.want()
    house.unlink()
    assert house.wishes.enabled
    house.reboot()
    assert not house.wishes.enabled


def test_a_wish_of_this_boot_and_a_hold_replace_each_other(house: House) -> None:
    house.install()
    house.wishes.want()
    assert (house.wishes.enabled, house.wishes.held) == (True, False)
    house.wishes.hold()
    assert (house.wishes.enabled, house.wishes.held) == (False, True)
    house.wishes.release()
    assert (house.wishes.enabled, house.wishes.held) == (False, False)
    house.wishes.want()
    assert (house.wishes.enabled, house.wishes.held) == (True, False)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (house.root / "run/kdumpd").iterdir()}
    assert modes == {"wanted": 0o644}


async def test_where_the_unit_is_not_installed_a_file_in_the_store_lasts(house: House) -> None:
    assert house.wishes.enabled
    await house.wishes.disable()
    house.reboot()
    assert not house.wishes.enabled
    assert (house.root / "var/lib/kdumpd/disabled").is_file()
    await house.wishes.enable()
    house.reboot()
    assert house.wishes.enabled
    assert not (house.root / "var/lib/kdumpd/disabled").exists()


async def test_the_file_counts_no_more_once_the_unit_is_installed(house: House) -> None:
    await house.wishes.disable()
    house.reboot()
    house.install()
    house.link()
    assert house.wishes.enabled
