"""`kdumpctl setup-crypttab` on captured machines: what it shows, what it writes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.daemon.test_kdumpctl import Said, kdumpctl
from tests.machines.roots import unpack

KEYS = "sys/kernel/config/crash_dm_crypt_keys"
KEEP = "link-volume-key=@u::%logon:kdump-cryptsetup:vk-0d1e2f3a-4b5c-4d6e-8f70-8192a3b4c5d6"


@pytest.fixture
def laptop(tmp_path: Path) -> Path:
    """Its root is on LUKS, opened with a key file, and its kernel hands volume keys over."""
    unpack("luks-key", tmp_path)
    (tmp_path / KEYS).mkdir(parents=True)
    (tmp_path / "etc/crypttab").chmod(0o640)
    return tmp_path


async def setup_crypttab(root: Path, *words: str) -> Said:
    return await kdumpctl(None, "setup-crypttab", "--root", str(root), *words)


async def test_it_is_shown_and_then_done_and_what_was_is_kept(laptop: Path) -> None:
    file, backup = laptop / "etc/crypttab", laptop / "etc/crypttab.before-kdumpd"
    before = file.read_text()
    after = before.replace("luks,discard", f"luks,discard,{KEEP}")
    shown = await setup_crypttab(laptop, "--dry-run")
    assert (shown.status, shown.complaint) == (0, "")
    assert f"+{after.strip()}" in shown.output
    assert file.read_text() == before
    assert not backup.exists()

    done = await setup_crypttab(laptop)
    assert (done.status, done.complaint) == (0, "")
    assert "Success! /etc/crypttab has been updated." in done.output
    assert "dracut -f --regenerate-all" in done.output
    assert (file.read_text(), backup.read_text()) == (after, before)
    assert file.stat().st_mode & 0o777 == backup.stat().st_mode & 0o777 == 0o640

    again = await setup_crypttab(laptop)
    assert (again.status, again.output) == (0, "/etc/crypttab keeps the volume keys already\n")
    assert backup.read_text() == before, "the first is the one to go back to"


async def test_a_device_without_a_key_file_is_told_of(laptop: Path) -> None:
    file = laptop / "etc/crypttab"
    file.write_text(file.read_text().replace("/etc/keys/nvme.key", "none"))
    told = await setup_crypttab(laptop, "--json")
    assert told.status == 0
    outcome = json.loads(told.output)
    assert outcome["done"] is True
    assert [each["code"] for each in outcome["problems"]] == ["key-missing"]
    assert KEEP in file.read_text()


async def test_what_this_machine_cannot_is_refused_with_the_reason(laptop: Path) -> None:
    shutil.rmtree(laptop / KEYS)
    said = await setup_crypttab(laptop)
    assert (said.status, said.output) == (1, "")
    assert "CONFIG_CRASH_DM_CRYPT" in said.complaint
    (laptop / KEYS).mkdir()
    (laptop / "proc/sys/kernel/arch").write_text("aarch64\n")
    said = await setup_crypttab(laptop)
    assert (said.status, said.output) == (1, "")
    assert "aarch64" in said.complaint
    (laptop / "proc/sys/kernel/arch").write_text("x86_64\n")
    (laptop / "etc/crypttab").write_text("# nothing\n")
    said = await setup_crypttab(laptop)
    assert (said.status, said.output) == (1, "")
    assert "no line opens nvme0n1p3_crypt" in said.complaint
    (laptop / "etc/kdump.conf").write_text("sideways\n")
    assert "/etc/kdump.conf:1: " in (await setup_crypttab(laptop)).complaint
    assert not (laptop / "etc/crypttab.before-kdumpd").exists()


async def test_a_target_that_is_not_encrypted_needs_nothing(tmp_path: Path) -> None:
    unpack("virtio", tmp_path)
    assert await setup_crypttab(tmp_path) == Said(
        0, "No LUKS-encrypted device found to process. Exiting.\n", ""
    )


@pytest.mark.parametrize("kind", ["PLAIN-nvme0n1p3_crypt", "LUKS2-nonsense-nvme0n1p3_crypt"])
async def test_only_luks_has_a_key_to_keep(laptop: Path, kind: str) -> None:
    (laptop / "sys/devices/virtual/block/dm-0/dm/uuid").write_text(f"CRYPT-{kind}\n")
    before = (laptop / "etc/crypttab").read_text()
    said = await setup_crypttab(laptop)
    assert (said.status, said.output) == (1, "")
    assert "nvme0n1p3_crypt is encrypted, but not by LUKS" in said.complaint
    assert (laptop / "etc/crypttab").read_text() == before
