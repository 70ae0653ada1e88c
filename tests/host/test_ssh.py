"""What ssh and ssh-keygen of this machine say of a target, asked for real."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from kdumpd.core import ssh
from kdumpd.core.ssh import SshServer, SshWish
from kdumpd.host.doors import Facts
from kdumpd.host.real import RealFiles, RealPrograms
from kdumpd.host.ssh import look

pytestmark = pytest.mark.tools

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDWYQu6l0gjEGCSsLVSTKpzkvRkNTQSvZJpiCDPDLmOI"


def write(root: Path, path: str, text: str, *, mode: int = 0o600) -> Path:
    target = root / path.strip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)
    return target


def make_key(path: Path, *, passphrase: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)


async def seen(
    root: Path,
    *,
    destination: str = "dump@vault",
    key: str = "/root/.ssh/key",
    files: RealFiles | None = None,
) -> SshServer:
    wish = SshWish(destination=destination, keys=(key,))
    return await look(files or RealFiles(str(root)), RealPrograms(str(root)), wish)


async def test_an_alias_of_ssh_config_is_followed(tmp_path: Path) -> None:
    known = write(tmp_path, "/root/.ssh/known", f"[vault.example]:2222 {HOST_KEY}\nother {HOST_KEY}\n")
    write(
        tmp_path,
        "/root/.ssh/config",
        f"Host vault\n HostName Vault.Example\n Port 2222\n UserKnownHostsFile {known}\n",
    )
    below(tmp_path, known)
    server = await seen(tmp_path)
    assert (server.host, server.port, server.fault) == ("vault.example", "2222", "")
    assert ssh.known_hosts_text(server) == f"vault.example {HOST_KEY}\n"
    assert "/root/.ssh/config" in server.read


def below(root: Path, known: Path) -> None:
    """The names of known_hosts files in ssh_config are those of the machine that runs us, here below its root."""
    place = root / str(known).strip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(known.read_bytes())


def hash_names(known: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)


async def test_a_hashed_entry_is_found(tmp_path: Path) -> None:
    known = write(tmp_path, "/root/.ssh/known", f"vault {HOST_KEY}\n")
    hash_names(known)
    assert "vault" not in known.read_text()
    write(tmp_path, "/root/.ssh/config", f"UserKnownHostsFile {known}\n")
    below(tmp_path, known)
    server = await seen(tmp_path)
    assert ssh.known_hosts_text(server) == f"vault {HOST_KEY}\n"


async def test_a_host_that_nobody_knows_has_no_keys(tmp_path: Path) -> None:
    write(tmp_path, "/root/.ssh/config", "UserKnownHostsFile none\nGlobalKnownHostsFile none\n")
    assert not ssh.has_host_key(await seen(tmp_path))


async def test_an_ssh_config_with_a_fault_is_told(tmp_path: Path) -> None:
    write(tmp_path, "/root/.ssh/config", "Port many\n")
    assert "Bad number" in (await seen(tmp_path)).fault or "bad" in (await seen(tmp_path)).fault.lower()


async def test_keys_are_looked_at_but_never_told(tmp_path: Path) -> None:
    write(tmp_path, "/root/.ssh/config", "")
    make_key(tmp_path / "root/.ssh/key")
    make_key(tmp_path / "root/.ssh/secured", passphrase="a b c")
    (good,) = (await seen(tmp_path)).keys
    assert (good.is_there, good.mode, good.fault) == (True, 0o600, "")
    (secured,) = (await seen(tmp_path, key="/root/.ssh/secured")).keys
    assert "passphrase" in secured.fault
    (public,) = (await seen(tmp_path, key="/root/.ssh/key.pub")).keys
    assert "not a private key" in public.fault
    (missing,) = (await seen(tmp_path, key="/root/.ssh/none")).keys
    assert not missing.is_there
    text = (tmp_path / "root/.ssh/key").read_text().splitlines()[1]
    assert text not in repr(await seen(tmp_path))


async def test_a_key_of_no_use_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "/root/.ssh/config", "")
    make_key(tmp_path / "root/.ssh/key")
    lines = (tmp_path / "root/.ssh/key").read_text().splitlines()
    write(tmp_path, "/root/.ssh/key", "\n".join([*lines[:2], *lines[3:]]) + "\n")
    (key,) = (await seen(tmp_path)).keys
    assert key.fault
    write(tmp_path, "/root/.ssh/key", "\n".join(lines) + "\n", mode=0o644)
    (open_key,) = (await seen(tmp_path)).keys
    assert open_key.is_too_open
    assert not open_key.fault


async def test_a_name_that_no_file_can_have_is_a_key_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, "/root/.ssh/config", "")
    (key,) = (await seen(tmp_path, key=f"/root/.ssh/{'k' * 300}")).keys
    assert (key.is_there, key.fault) == (True, "cannot be read: File name too long")


class BadDisk(RealFiles):
    """Where files named in `bad` lie, the disk cannot be read; and who waits for it must not be the loop."""

    bad: tuple[str, ...] = ()

    def stat(self, path: str) -> Facts:
        assert threading.current_thread() is not threading.main_thread()
        if path.endswith(self.bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().stat(path)


async def test_a_file_of_known_hosts_that_cannot_be_read_is_told_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    known = write(tmp_path, "/root/.ssh/known", f"vault {HOST_KEY}\n")
    unread = write(tmp_path, "/root/.ssh/known2", f"vault {HOST_KEY}\n")
    write(tmp_path, "/root/.ssh/config", f"UserKnownHostsFile {unread} {known}\n")
    below(tmp_path, known)
    files = BadDisk(str(tmp_path))
    files.bad = ("/known2", "/key")
    server = await seen(tmp_path, files=files)
    assert ssh.known_hosts_text(server) == f"vault {HOST_KEY}\n"
    assert server.unread == (f"{unread} cannot be read: Input/output error",)
    assert [key.fault for key in server.keys] == ["cannot be read: Input/output error"]


async def test_an_ssh_config_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    files = BadDisk(str(tmp_path))
    files.bad = ("/config",)
    assert "Input/output error" in (await seen(tmp_path, files=files)).fault
