"""The test of a target: a real file in a real folder, with mounting alone left out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core.inventory import Kind
from kdumpd.core.mounts import TEST_POINT
from kdumpd.core.problems import Trouble
from kdumpd.core.target_test import SshTrial
from kdumpd.host.doors import Facts, Output, ProgramFailed
from kdumpd.host.real import RealFiles, RealPrograms
from kdumpd.host.target_test import TargetTests
from tests.host.scripted import Asked, StandIns

DISK = {"type": "filesystem", "device": "UUID=1", "node": "", "fstype": "ext4", "directory": "/var/crash"}


class Mounting(StandIns):
    """The programs of this machine; what they would mount is the folder that is there already."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[tuple[str, ...]] = []
        self.refused = ""
        self.hangs = ""

    async def answer(self, asked: Asked) -> Output | None:
        self.ran.append(asked.argv)
        name = asked.argv[0]
        output = Output(argv=asked.argv, status=32, stdout=b"", stderr=self.refused.encode())
        if name == self.hangs:
            raise ProgramFailed(output, f"not done after {asked.timeout:.0f} s")
        if name == "mount" and self.refused:
            raise ProgramFailed(output, "exit status 32")
        if name in {"mount", "umount"}:
            return Output(argv=asked.argv, status=0, stdout=b"", stderr=b"")
        return None


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def said(_line: str) -> None:
    pass


async def test_a_file_is_written_read_back_and_nothing_stays(tmp_path: Path) -> None:
    programs, lines = Mounting(), list[str]()
    reached = await TargetTests(RealFiles(str(tmp_path)), programs).reach(DISK, say=lines.append)
    assert reached.free_bytes > 0
    assert files_in(tmp_path) == []
    assert programs.ran[1][:5] == ("mount", "-t", "ext4", "-o", "rw,nosuid,nodev,noexec")
    assert programs.ran[-1][0] == "umount"
    assert lines == ["mounting UUID=1", "writing, syncing and renaming a file of 65536 bytes"]


@pytest.mark.parametrize("hangs", ["mount", "dd", "sync", "cat"])
async def test_what_hangs_ends_and_is_told(tmp_path: Path, hangs: str) -> None:
    programs = Mounting()
    programs.hangs = hangs
    with pytest.raises(Trouble) as trouble:
        await TargetTests(RealFiles(str(tmp_path)), programs).reach(DISK, say=said)
    assert trouble.value.problems[0].code == "target-unreachable"
    assert "not done after 60 s" in str(trouble.value)
    assert files_in(tmp_path) == []
    assert programs.ran[-1][0] == "umount"


async def test_what_mount_says_is_told(tmp_path: Path) -> None:
    programs = Mounting()
    programs.refused = "mount.nfs: Connection timed out\n       dmesg(1) may have more information.\n"
    nfs = {"type": "nfs", "server": "server", "export": "/srv", "directory": "/x"}
    with pytest.raises(Trouble, match=r"server:/srv/x failed the test: mount\.nfs: Connection timed out"):
        await TargetTests(RealFiles(str(tmp_path)), programs).reach(nfs, say=said)
    assert ",soft," in programs.ran[1][4]


async def test_a_link_that_leads_out_of_the_target_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    point = tmp_path / TEST_POINT.strip("/")
    (point / "var").mkdir(parents=True)
    (point / "var/crash").symlink_to(outside)
    with pytest.raises(Trouble, match="leads out of its file system"):
        await TargetTests(RealFiles(str(tmp_path)), Mounting()).reach(DISK, say=said)
    assert files_in(outside) == []


class Disks(RealFiles):
    """A plain file whose name begins with vd is a disk, which only root could make."""

    def stat(self, path: str) -> Facts:
        facts = super().stat(path)
        return replace(facts, kind=Kind.BLOCK) if path.startswith("/dev/vd") else facts


async def test_a_raw_device_is_read_and_never_written(tmp_path: Path) -> None:
    node, size = tmp_path / "dev/vdb", tmp_path / "sys/class/block/vdb/size"
    for path, text in ((node, "anything"), (size, "2048\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    programs = Mounting()
    raw = {"type": "raw", "device": "/dev/vdb"}
    reached = await TargetTests(Disks(str(tmp_path)), programs).reach(raw, say=said)
    assert reached.free_bytes == 1 << 20
    assert [argv[0] for argv in programs.ran] == ["dd"]
    assert node.read_text() == "anything"


@pytest.mark.parametrize("device", ["/dev/watchdog", "/dev/link", "/dev/none", "/dev/../etc/f", "PARTUUID=a"])
async def test_what_is_no_block_device_is_not_even_opened(tmp_path: Path, device: str) -> None:
    for path in ("dev/watchdog", "etc/f"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "dev/link").symlink_to("watchdog")
    programs = Mounting()
    with pytest.raises(Trouble, match="is not a block device") as trouble:
        await TargetTests(Disks(str(tmp_path)), programs).reach({"type": "raw", "device": device}, say=said)
    assert trouble.value.problems[0].code == "target-unreachable"
    assert programs.ran == []


async def test_ssh_writes_by_the_config_of_the_image_and_leaves_nothing(tmp_path: Path) -> None:
    """The shell of the server is one of this machine; of ssh only the connection is left out."""
    programs, there = Connected(), tmp_path / "it's there"
    target = {"type": "ssh", "user": "kdump", "server": "far", "directory": str(there)}
    trial = SshTrial(
        destinations=("kdump@kdump-1", "kdump@kdump-2"), config="BatchMode yes\n", known_hosts="far key\n"
    )
    tests = TargetTests(RealFiles(str(tmp_path)), programs)
    reached = await tests.reach(target, say=said, trial=trial)
    assert reached.free_bytes > 0
    assert files_in(tmp_path) == []
    assert [destination for destination, _ in programs.asked[:3]] == ["kdump@kdump-1", *["kdump@kdump-2"] * 2]
    assert programs.modes == {0o100600}
    with pytest.raises(Trouble, match="the image has no way to it"):
        await tests.reach(target, say=said)


@pytest.mark.parametrize("fails", ["cat >", "mv "])
async def test_of_a_test_that_fails_on_the_server_nothing_stays(tmp_path: Path, fails: str) -> None:
    programs, there = Connected(fails=fails), tmp_path / "there"
    target = {"type": "ssh", "user": "kdump", "server": "far", "directory": str(there)}
    trial = SshTrial(destinations=("kdump@kdump-2",), config="BatchMode yes\n", known_hosts="far key\n")
    with pytest.raises(Trouble, match="No space left on device"):
        await TargetTests(RealFiles(str(tmp_path)), programs).reach(target, say=said, trial=trial)
    assert there.is_dir()
    assert files_in(tmp_path) == []


class Connected(StandIns):
    """ssh to a server whose first address is dead: its commands are run by sh, and one may fail after all."""

    def __init__(self, *, fails: str = "") -> None:
        super().__init__()
        self.fails = fails
        self.asked: list[tuple[str, str]] = []
        self.modes: set[int] = set()

    async def answer(self, asked: Asked) -> Output | None:
        program, _, config, _, known_hosts, destination, command = asked.argv
        assert program == "ssh"
        self.asked.append((destination, command))
        self.modes |= {os.stat(path).st_mode for path in (config, known_hosts.partition("=")[2])}
        if destination.endswith("-1"):
            raise ProgramFailed(Output(argv=("ssh",), status=255, stdout=b"", stderr=b""), "no connection")
        if self.fails and command.startswith(self.fails):
            command = f"{command}; echo 'No space left on device' >&2; exit 1"
        return await RealPrograms().run(
            ("sh", "-c", command), timeout=asked.timeout, stdin=asked.stdin, good=asked.good
        )
