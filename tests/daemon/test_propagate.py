"""`kdumpctl propagate` with a real ssh, ssh-keygen and sshd; ssh-copy-id is played, for it would write into a home."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.agent.ssh_server import USER, SshServer

pytestmark = pytest.mark.tools


class Said(NamedTuple):
    status: int
    output: str
    errors: str


class Administrator:
    """At a terminal of a machine whose ssh knows the server."""

    def __init__(self, folder: Path) -> None:
        self.server = SshServer(folder / "server")
        self.folder = folder
        self.kept = folder / "kept here"
        self.key = folder / "keys/kdump"
        (folder / "known").write_text(f"* {self.server.host_key}\n")
        (folder / "config").write_text(
            f"HostName 127.0.0.1\nPort {self.server.port}\nUserKnownHostsFile {folder}/known\n"
        )
        (folder / "bin").mkdir()
        self.program("ssh", f'exec /usr/bin/ssh -F "{folder}/config" "$@"')
        self.program(
            "ssh-copy-id", f'echo "$@" >"{folder}/copied"; cat "$2" >>"{self.server.folder}/authorized"'
        )
        self.configure(f"ssh {USER}@vault\npath {self.kept}\nsshkey {self.key}\n")

    def program(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def configure(self, text: str) -> None:
        (self.folder / "kdump.conf").write_text(text)

    def make_key(self) -> None:
        self.key.parent.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)

    def propagate(self, *words: str) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "kdumpd.cli", "propagate", "--file", f"{self.folder}/kdump.conf", *words],
            env={"PATH": f"{self.folder}/bin:/usr/bin:/bin"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def administrator(tmp_path: Path) -> Administrator:
    return Administrator(tmp_path)


@pytest.mark.shows("sshkey")
def test_a_key_that_is_there_is_given_and_proved(administrator: Administrator) -> None:
    administrator.make_key()
    before = administrator.key.read_text()
    with administrator.server.running():
        said = administrator.propagate()
    assert (said.status, said.errors) == (0, "")
    assert said.output.splitlines() == [
        "Using existing keys...",
        f"{administrator.key} has been added to ~{USER}/.ssh/authorized_keys on vault",
        f"A file could be written to {administrator.kept} on vault",
    ]
    assert administrator.key.read_text() == before
    assert list(administrator.kept.iterdir()) == []
    assert (administrator.folder / "copied").read_text() == f"-i {administrator.key}.pub {USER}@vault\n"


def test_the_public_half_is_made_where_only_that_is_missing(administrator: Administrator) -> None:
    administrator.make_key()
    Path(f"{administrator.key}.pub").unlink()
    with administrator.server.running():
        assert administrator.propagate().status == 0
    assert Path(f"{administrator.key}.pub").read_text().startswith("ssh-ed25519 ")


def test_a_program_is_answered_also_where_the_system_refuses(administrator: Administrator) -> None:
    administrator.make_key()
    Path(f"{administrator.key}.pub").unlink()
    Path(f"{administrator.key}.pub").mkdir()
    said = administrator.propagate("--json")
    assert (said.status, json.loads(said.output)) == (1, {"propagated": False})
    assert said.errors.splitlines()[-1] == f"kdump: {administrator.key}.pub: File exists"


def test_what_was_said_before_the_system_refuses_is_not_lost(administrator: Administrator) -> None:
    administrator.make_key()
    public = Path(f"{administrator.key}.pub")
    public.unlink()
    public.symlink_to("nowhere")
    said = administrator.propagate()
    assert (said.status, said.output) == (1, "Using existing keys...\n")
    assert said.errors.splitlines()[-1] == f"kdump: {public}: File exists"


def test_a_server_on_which_nothing_can_be_written_is_a_failure(administrator: Administrator) -> None:
    administrator.make_key()
    administrator.kept.write_text("a file")
    with administrator.server.running():
        said = administrator.propagate()
    assert said.status == 1
    assert "File exists" in said.errors


@pytest.mark.parametrize("fails", ["cat", "mv"])
def test_of_a_trial_that_fails_nothing_stays_on_the_server(administrator: Administrator, fails: str) -> None:
    """ssh itself fails, after what it ran on the server was done: as a disk that is full at the very end."""
    administrator.make_key()
    administrator.program(
        "ssh",
        f'/usr/bin/ssh -F "{administrator.folder}/config" "$@" || exit\n'
        f'for last; do :; done\ncase $last in {fails}*) echo "No space left" >&2; exit 1;; esac',
    )
    with administrator.server.running():
        said = administrator.propagate()
    assert said.status == 1
    assert "No space left" in said.errors
    assert list(administrator.kept.iterdir()) == []


def test_a_key_that_could_not_be_given_is_a_failure(administrator: Administrator) -> None:
    administrator.make_key()
    administrator.program("ssh-copy-id", "exit 1")
    said = administrator.propagate()
    assert said.status == 1
    assert f"Failed to propagate ssh key, could not transfer {administrator.key} to vault" in said.errors


@pytest.mark.parametrize("text", ["path /var/crash\n", "nfs vault:/export\n"])
def test_without_an_ssh_target_there_is_nobody_to_give_it_to(administrator: Administrator, text: str) -> None:
    administrator.configure(text)
    said = administrator.propagate()
    assert said.status == 1
    assert f"No ssh config specified in {administrator.folder}/kdump.conf.  Can't propagate" in said.errors


def test_a_configuration_with_an_error_is_told(administrator: Administrator) -> None:
    administrator.configure("ssh vault\n")
    said = administrator.propagate()
    assert said.status == 1
    assert "names no user" in said.errors


def test_a_key_is_made_where_there_is_none(tmp_path: Path) -> None:
    from kdumpd import cli_propagate

    key = tmp_path / "new folder/key"
    cli_propagate._make_key(str(key))
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert Path(f"{key}.pub").read_text().startswith(("ssh-ed25519 ", "ssh-rsa "))
