"""The boot menu changed by tools that are played: whole, or as it was before."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpd.core.bootloader import DROP_IN, Change, planned
from kdumpd.core.problems import Trouble
from kdumpd.host.bootloader import Bootloader
from kdumpd.host.doors import Output, ProgramFailed
from kdumpd.host.real import RealFiles
from tests.host.scripted import Asked, StandIns

MENU = "menuentry 'Debian' {{\n\tlinux /boot/vmlinuz-6.12 root=1 ro quiet{}\n}}\n"
ENTRY = "title F\nlinux /vmlinuz-{0}\noptions root=1 {1}\n"


class Tools(StandIns):
    """`does` is what each run changes; `fails` names the one that fails after that."""

    def __init__(self, root: Path, does: Callable[[tuple[str, ...]], None], *, fails: str = "") -> None:
        super().__init__(str(root))
        self.asked: list[tuple[str, ...]] = []
        self._does = does
        self._fails = fails

    async def answer(self, asked: Asked) -> Output:
        self.asked.append(asked.argv)
        assert 0 < asked.timeout <= 900
        self._does(asked.argv)
        output = Output(argv=asked.argv, status=1, stdout=b"", stderr=b"")
        if self._fails and asked.argv[0].endswith(self._fails):
            raise ProgramFailed(output, "exit status 1: no room")
        return output


class Case:
    def __init__(self, root: Path, files: dict[str, str]) -> None:
        self.root = root
        self.files = RealFiles(str(root))
        for path, said in files.items():
            self.write(path, said)
        self.said: list[str] = []

    def write(self, path: str, said: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(said)
        if "bin/" in path:
            file.chmod(0o755)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def state(self) -> dict[str, tuple[str, int]]:
        return {
            str(path.relative_to(self.root)): (path.read_text(), path.stat().st_mode)
            for path in self.root.rglob("*")
            if path.is_file()
        }

    def change(self, programs: Tools, *values: str) -> Change:
        change = planned(*Bootloader(self.files, programs).look(), values=values)
        assert isinstance(change, Change), change
        return change

    async def apply(self, programs: Tools, *values: str) -> None:
        change = self.change(programs, *values)
        await Bootloader(self.files, programs).apply(change, say=self.said.append)


@pytest.fixture
def debian(tmp_path: Path) -> Case:
    return Case(
        tmp_path,
        {
            "/usr/sbin/update-grub": "#!/bin/sh\n",
            "/etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
            "/boot/grub/grub.cfg": MENU.format(" crashkernel=192M"),
        },
    )


@pytest.fixture
def fedora(tmp_path: Path) -> Case:
    return Case(
        tmp_path,
        {
            "/usr/sbin/grubby": "#!/bin/sh\n",
            "/usr/sbin/zipl": "#!/bin/sh\n",
            "/etc/zipl.conf": "[defaultboot]\n",
            "/etc/kernel/cmdline": "root=1\n",
            "/boot/loader/entries/m-2.conf": ENTRY.format(2, "crashkernel=1G"),
            "/boot/loader/entries/m-1.conf": ENTRY.format(1, ""),
        },
    )


async def test_on_debian_the_drop_in_is_there_when_update_grub_runs(debian: Case) -> None:
    def does(argv: tuple[str, ...]) -> None:
        assert "crashkernel=1G" in debian.read(DROP_IN)
        debian.write("/boot/grub/grub.cfg", MENU.format(" crashkernel=1G"))

    programs = Tools(debian.root, does)
    await debian.apply(programs, "1G")
    assert programs.asked == [("/usr/sbin/update-grub",)]
    assert (debian.root / DROP_IN.lstrip("/")).stat().st_mode & 0o777 == 0o644
    assert debian.read("/etc/default/grub") == 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
    assert not debian.change(programs, "1G").is_needed


@pytest.mark.parametrize("had", ["", "# an older one\n"])
async def test_where_update_grub_fails_all_is_as_it_was(debian: Case, had: str) -> None:
    if had:
        debian.write(DROP_IN, had)
    (debian.root / "boot/grub/grub.cfg").chmod(0o600)
    before = debian.state()
    programs = Tools(
        debian.root, lambda _argv: debian.write("/boot/grub/grub.cfg", "half"), fails="update-grub"
    )
    with pytest.raises(Trouble) as trouble:
        await debian.apply(programs, "1G")
    assert trouble.value.problems[0].message.endswith("no room")
    assert debian.state() == before
    assert debian.said == ["everything was put back as it was"]


async def test_a_menu_that_somebody_else_decides_is_told_and_put_back(debian: Case) -> None:
    before = debian.state()
    wrong = MENU.format(" crashkernel=1G crashkernel=192M")
    programs = Tools(debian.root, lambda _argv: debian.write("/boot/grub/grub.cfg", wrong))
    with pytest.raises(Trouble) as trouble:
        await debian.apply(programs, "1G")
    assert trouble.value.problems[0].code == "not-effective"
    assert debian.state() == before


async def test_what_is_ended_half_way_is_put_back(debian: Case) -> None:
    before = debian.state()
    begun = asyncio.Event()

    class Slow(Tools):
        async def answer(self, asked: Asked) -> Output:
            self.asked.append(asked.argv)
            debian.write("/boot/grub/grub.cfg", "half")
            begun.set()
            return await asyncio.Future()

    task = asyncio.create_task(debian.apply(Slow(debian.root, print), "1G"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert debian.state() == before


async def test_a_place_that_cannot_be_written_is_told(debian: Case) -> None:
    debian.write("/etc/default/grub.d", "a file where a folder belongs")
    before = debian.state()
    programs = Tools(debian.root, lambda _argv: None)
    with pytest.raises(Trouble):
        await debian.apply(programs, "1G")
    assert programs.asked == []
    assert debian.state() == before


async def test_grubby_and_then_zipl(fedora: Case) -> None:
    def does(argv: tuple[str, ...]) -> None:
        if argv[0].endswith("grubby"):
            for release in (1, 2):
                fedora.write(
                    f"/boot/loader/entries/m-{release}.conf", ENTRY.format(release, "crashkernel=512M")
                )

    programs = Tools(fedora.root, does)
    await fedora.apply(programs, "512M")
    assert [argv[0] for argv in programs.asked] == ["/usr/sbin/grubby", "/usr/sbin/zipl"]


async def test_where_zipl_fails_the_entries_are_as_they_were(fedora: Case) -> None:
    before = fedora.state()

    def does(argv: tuple[str, ...]) -> None:
        fedora.write("/boot/loader/entries/m-1.conf", ENTRY.format(1, "crashkernel=512M"))
        fedora.write("/etc/kernel/cmdline", "crashkernel=512M")

    with pytest.raises(Trouble):
        await fedora.apply(Tools(fedora.root, does, fails="zipl"), "512M")
    assert fedora.state() == before


async def test_an_entry_that_grubby_left_out_is_told_and_zipl_runs_again(fedora: Case) -> None:
    before = fedora.state()

    def does(argv: tuple[str, ...]) -> None:
        if argv[0].endswith("grubby"):
            fedora.write("/boot/loader/entries/m-2.conf", ENTRY.format(2, "crashkernel=512M"))

    programs = Tools(fedora.root, does)
    with pytest.raises(Trouble) as trouble:
        await fedora.apply(programs, "512M")
    assert trouble.value.problems[0].code == "not-effective"
    assert [argv[0].rpartition("/")[2] for argv in programs.asked] == ["grubby", "zipl", "zipl"]
    assert fedora.state() == before


@pytest.mark.tools
@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize(
    ("others", "linux", "default"),
    [
        ('GRUB_CMDLINE_LINUX_DEFAULT="quiet"', "", "quiet crashkernel=1G"),
        (
            (
                'GRUB_CMDLINE_LINUX="crashkernel=auto net.ifnames=0"\n'
                'GRUB_CMDLINE_LINUX_DEFAULT="crashkernel=1M crashkernel=2G-:3M quiet xcrashkernel=4 crashkernel=5M"'
            ),
            " net.ifnames=0",
            " quiet xcrashkernel=4 crashkernel=1G",
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT='dyndbg=\"file a  +p\" \\ $HOME'",
            "",
            'dyndbg="file a  +p" \\ $HOME crashkernel=1G',
        ),
        ("", "", " crashkernel=1G"),
    ],
)
def test_the_drop_in_replaces_what_other_files_say(
    debian: Case, shell: str, others: str, linux: str, default: str
) -> None:
    text = debian.change(Tools(debian.root, print), "1G").writes[0].text
    script = f'set -eu\n{others}\n{text}printf "%s\\n" "$GRUB_CMDLINE_LINUX" "$GRUB_CMDLINE_LINUX_DEFAULT"\n'
    said = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.split("\n") == [linux, default, ""]
