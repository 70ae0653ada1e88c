"""An ssh target: what comes along into the image, and each way in which it cannot."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from kdumpd.core import config, locate_ssh, ssh
from kdumpd.core.document import parse
from kdumpd.core.located import Line
from kdumpd.core.plan import Written, describe
from kdumpd.core.ssh import SshKey, SshServer, SshWish
from kdumpd.core.targets import Ssh
from kdumpd.core.values import DEFAULT_SSH_KEY
from tests.core.test_storage import machine

ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFak"
PLAIN = {
    "hostname": "vault.example",
    "port": "22",
    "ciphers": "a,b",
    "hostkeyalgorithms": "ssh-ed25519,rsa-sha2-512",
}


def openssh_key(cipher: bytes) -> str:
    blob = b"openssh-key-v1\0" + len(cipher).to_bytes(4, "big") + cipher + b"\0" * 64
    text = base64.encodebytes(blob).decode()
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{text}-----END OPENSSH PRIVATE KEY-----\n"


def server(**options: str) -> SshServer:
    return SshServer(
        options={**PLAIN, **options},
        plain=PLAIN,
        known_hosts=(f"vault.example ssh-ed25519 {ED25519} a comment",),
        keys=(SshKey(path=DEFAULT_SSH_KEY, is_there=True, mode=0o600),),
    )


def codes(of: SshServer | None, text: str = "") -> set[str]:
    read = config.read(parse(f"ssh dump@vault\n{text}"), file="/etc/kdump.conf")
    assert read.config is not None, read.problems
    seen = replace(machine(), ssh=of)
    search = locate_ssh.target(read.config, seen, Ssh(user="dump", host="vault"), Line(number=1, key="ssh"))
    # The way there is not of these tests.
    return {problem.code for problem in search.problems} - {"network-unseen"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (openssh_key(b"none"), ""),
        (openssh_key(b"aes256-ctr"), "passphrase"),
        ("-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n", ""),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMC4C\n", "passphrase"),
        ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "passphrase"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n", "damaged"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n\N{SNOWMAN}\n", "damaged"),
        ("ssh-ed25519 AAAA root@anvil\n", "not a private key"),
        ("", "not a private key"),
    ],
)
def test_a_key_tells_whether_it_can_be_used_without_anybody(text: str, says: str) -> None:
    fault = ssh.key_fault(text)
    assert says in fault
    assert bool(fault) == bool(says)


def test_host_keys_come_along_under_one_name_whatever_they_are_filed_under() -> None:
    lines = (
        f"|1|c2FsdA==|aGFzaA== ssh-ed25519 {ED25519}",
        f"[vault.example]:2222 ssh-ed25519 {ED25519} someone@there",
        "@cert-authority *.example ssh-rsa AAAAB3 the authority",
        "nonsense",
    )
    of = replace(server(port="2222"), known_hosts=lines)
    assert of.looked_up == ("[vault.example]:2222", "vault.example")
    assert ssh.known_hosts_text(of) == (
        f"vault.example ssh-ed25519 {ED25519}\n@cert-authority vault.example ssh-rsa AAAAB3\n"
    )


def test_ssh_config_believes_one_host_and_asks_nobody() -> None:
    of = server(ciphers="b", port="2222")
    text = ssh.config_text(of, key="/root/100%/key", addresses=("192.0.2.1", "fe80::1%eth0"))
    lines = text.splitlines()
    assert lines[:5] == [
        "Host kdump-1",
        "HostName 192.0.2.1",
        "Host kdump-2",
        "HostName fe80::1%%eth0",
        "Host *",
    ]
    assert {
        "BatchMode yes",
        "StrictHostKeyChecking yes",
        "HostKeyAlias vault.example",
        "Port 2222",
        "ciphers b",
        'IdentityFile "/root/100%%/key"',
        "IdentitiesOnly yes",
    } <= set(lines)
    assert "hostkeyalgorithms" not in text  # as ssh has it by itself, it goes by what is known


def test_the_kind_of_host_key_that_is_known_is_asked_for_first() -> None:
    of = server(hostkeyalgorithms="ecdsa-sha2-nistp256,rsa-sha2-512,ssh-ed25519")
    assert "hostkeyalgorithms ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512\n" in ssh.config_text(
        of, key="/k", addresses=()
    )
    of = replace(of, known_hosts=("vault.example ssh-rsa AAAAB3",))
    assert "hostkeyalgorithms rsa-sha2-512,ecdsa-sha2-nistp256,ssh-ed25519\n" in ssh.config_text(
        of, key="/k", addresses=()
    )


def test_an_alias_of_a_host_key_has_no_port() -> None:
    assert server(port="2222", hostkeyalias="thing").looked_up == ("thing",)


def test_known_hosts_files_are_named_by_ssh() -> None:
    of = server(userknownhostsfile="/root/a /root/b", globalknownhostsfile="/etc/c none")
    assert of.known_hosts_files == ("/root/a", "/root/b", "/etc/c")


@pytest.mark.shows("ssh")
def test_all_is_well() -> None:
    assert codes(server()) == set()


def test_ssh_that_cannot_be_asked_is_told() -> None:
    assert codes(None) == {"ssh-unanswered"}
    assert codes(SshServer(fault="ssh: is not installed")) == {"ssh-unanswered"}


@pytest.mark.parametrize("option", ["proxyjump", "proxycommand"])
def test_a_way_through_another_host_is_refused(option: str) -> None:
    assert codes(server(**{option: "bastion"})) == {"ssh-through-proxy"}
    assert codes(server(**{option: "none"})) == set()


def test_why_a_host_is_unknown_names_the_files_that_could_not_be_read() -> None:
    told = "/root/.ssh/known_hosts cannot be read: Input/output error"
    of = replace(server(), known_hosts=(), unread=(told,))
    read = config.read(parse("ssh dump@vault\n"), file="/etc/kdump.conf")
    assert read.config is not None
    target = Ssh(user="dump", host="vault")
    found = locate_ssh.target(read.config, replace(machine(), ssh=of), target, Line(number=1, key="ssh"))
    (problem,) = (each for each in found.problems if each.code == "ssh-host-unknown")
    assert problem.message.endswith(f"; {told}")


def test_an_unknown_host_is_not_trusted() -> None:
    assert codes(replace(server(), known_hosts=())) == {"ssh-host-unknown"}
    revoked = f"@revoked * ssh-ed25519 {ED25519}"
    assert codes(replace(server(), known_hosts=(revoked,))) == {"ssh-host-unknown"}


def key(**changes: object) -> SshKey:
    return replace(SshKey(path=DEFAULT_SSH_KEY, is_there=True, mode=0o600), **changes)  # type: ignore[arg-type]


@pytest.mark.shows("sshkey")
def test_each_state_of_the_key_is_told() -> None:
    def with_keys(*keys: SshKey) -> SshServer:
        return replace(server(), keys=keys)

    missing = key(path="/root/mine", is_there=False)
    assert codes(with_keys(missing, key()), "sshkey /root/mine\n") == {"ssh-key-not-found"}
    assert codes(with_keys(key(is_there=False))) == {"ssh-key-missing"}
    assert codes(with_keys(key(fault="has a passphrase"))) == {"ssh-key-unusable"}
    assert codes(with_keys(key(mode=0o644))) == {"ssh-key-too-open"}
    odd = '/root/my "key"'
    assert codes(with_keys(key(path=odd)), f"sshkey {odd}\n") == {"ssh-key-unusable"}


def test_scp_is_told_no_path_that_a_shell_would_read_otherwise() -> None:
    assert codes(server(), "core_collector scp\npath /var/$HOME\n") == {"unfit-path"}
    assert codes(server(), "core_collector scp\n") == set()
    assert codes(server(), "core_collector makedumpfile -F -l\npath /my dumps\n") == set()


@pytest.mark.shows("sshkey")
def test_both_the_named_and_the_default_key_are_looked_at() -> None:
    read = config.read(parse("ssh dump@vault\nsshkey /root/mine\n"), file="/etc/kdump.conf").config
    assert read is not None
    assert locate_ssh.wish(read, Ssh(user="dump", host="vault")) == SshWish(
        destination="dump@vault", keys=("/root/mine", DEFAULT_SSH_KEY)
    )


def test_a_description_has_the_digest_of_a_secret_and_not_its_text() -> None:
    one = Written(path="/kdump/ssh_config", text="HostName 192.0.2.77", mode=0o600, is_secret=True)
    told = json.dumps(describe(one))
    assert "192.0.2.77" not in told
    assert told != json.dumps(describe(replace(one, text="HostName 192.0.2.78")))


def test_what_ssh_config_includes_is_read_from_its_text() -> None:
    text = """\
Include conf.d/* ~/.ssh/work
  include="/etc/ssh/ssh_config.d/*.conf"
# Include not/this
Host x
    Include /etc/crypto-policies/openssh.config
IncludeNothing x
"""
    assert ssh.included(text, beside="/root/.ssh") == (
        "/root/.ssh/conf.d/*",
        "/root/.ssh/work",
        "/etc/ssh/ssh_config.d/*.conf",
        "/etc/crypto-policies/openssh.config",
    )
