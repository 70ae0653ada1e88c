"""Every spelling of a target that people use, and those that must not reach a command line."""

from __future__ import annotations

import pytest

from kdumpd.core.problems import Problem
from kdumpd.core.targets import (
    Filesystem,
    Nfs,
    Raw,
    Ssh,
    Target,
    Virtiofs,
    directive_of,
    parse_filesystem,
    parse_mount,
    parse_net,
    parse_nfs,
    parse_raw,
    parse_ssh,
    parse_virtiofs,
    shown,
)

V6 = "2001:db8::1"


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("/dev/sda3", "/dev/sda3"),
        ("/dev/mapper/vg-root", "/dev/mapper/vg-root"),
        ("/dev/disk/by-id/scsi-3600508b1001c", "/dev/disk/by-id/scsi-3600508b1001c"),
        ("LABEL=/boot", "LABEL=/boot"),
        ('LABEL="my disk"', "LABEL=my disk"),
        ("LABEL='my disk'", "LABEL=my disk"),
        ("'LABEL=x'", "LABEL=x"),
        ("LABEL=a=b", "LABEL=a=b"),
        ("UUID=03138356-5e61-4ab3-b58e-27507ac41937", "UUID=03138356-5e61-4ab3-b58e-27507ac41937"),
        ("UUID=1234-ABCD", "UUID=1234-ABCD"),
        ('PARTUUID="abc"', "PARTUUID=abc"),
        ("PARTLABEL=crash", "PARTLABEL=crash"),
        ("'/dev/sda3'", "/dev/sda3"),
        ("/dev/disk/by-label/a=b", "/dev/disk/by-label/a=b"),
    ],
)
def test_devices(text: str, device: str) -> None:
    assert parse_filesystem("ext4", text) == Filesystem(fstype="ext4", device=device)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "sda3",
            "dev/sda3",
            "/dev/sda3 -o noatime",
            "LABEL=",
            'LABEL=""',
            "label=x",
            "ID=x",
            "=x",
            '"',
            "LABEL=a\x07",
        ),
        *(
            "UUID=a b",
            "/dev/../etc/passwd",
            "LABEL=../../etc",
            'LABEL=a"b',
            "",
            "/dev/sda\x1b",
            "host:/export",
        ),
    ],
)
def test_what_is_no_device(text: str) -> None:
    outcome = parse_filesystem("ext4", text)
    assert isinstance(outcome, Problem)
    assert outcome.code == "bad-device"


def test_a_tag_in_the_wrong_case_is_recognised() -> None:
    outcome = parse_filesystem("ext4", "label=x")
    assert isinstance(outcome, Problem)
    assert outcome.hint == "did you mean LABEL=?"


def test_a_raw_device_is_named_by_what_the_dump_does_not_overwrite() -> None:
    assert parse_raw("/dev/sdb1") == Raw(device="/dev/sdb1")
    assert parse_raw("PARTUUID=abc") == Raw(device="PARTUUID=abc")
    assert isinstance(parse_raw("UUID=abc"), Problem)
    assert isinstance(parse_raw("LABEL=abc"), Problem)


@pytest.mark.parametrize(
    ("text", "host", "export"),
    [
        ("my.server.com:/export/tmp", "my.server.com", "/export/tmp"),
        ("192.168.1.1:/", "192.168.1.1", "/"),
        (f"[{V6}]:/export", V6, "/export"),
        (f"{V6}:/export", V6, "/export"),
        ("[fe80::1%eth0]:/export", "fe80::1%eth0", "/export"),
        ("nas:/a:/b", "nas", "/a:/b"),
    ],
)
def test_nfs(text: str, host: str, export: str) -> None:
    assert parse_nfs(text) == Nfs(host=host, export=export)
    assert parse_nfs(text, version="4") == Nfs(host=host, export=export, version="4")


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:export", ":/export", "-o:/export", "ho st:/x", "host:/a b", "[host]:/x", "[::zz]:/x", "host:/x\x00",
     "fe80::1%-o:/x", "[fe80::1%a;b]:/x", "a$(id):/x"],
)  # fmt: skip
def test_what_is_no_export(text: str) -> None:
    assert isinstance(parse_nfs(text), Problem)


@pytest.mark.parametrize(
    ("text", "user", "host"),
    [
        ("root@host", "root", "host"),
        ("kdump@Dumps.Example.COM", "kdump", "Dumps.Example.COM"),
        ("root@192.168.1.1", "root", "192.168.1.1"),
        (f"root@{V6}", "root", V6),
        (f"root@[{V6}]", "root", V6),
        ("root@fe80::1%eth0", "root", "fe80::1%eth0"),
        ("dump@corp.example@host", "dump@corp.example", "host"),
        ("CORP\\dump@host", "CORP\\dump", "host"),
        ("root@dump_server", "root", "dump_server"),
        ("machine$@host", "machine$", "host"),
    ],
)
def test_ssh(text: str, user: str, host: str) -> None:
    assert parse_ssh(text) == Ssh(user=user, host=host)


@pytest.mark.parametrize(
    "text",
    ["host", "@host", "root@", "root@host:/srv", "root@host:22", "-oProxyCommand=x@host", "root@-oProxyCommand=x", "ro ot@host",
     "root@ho st", "root@host;id", "root@$(id)", "root@[host]", "root@ hos", "[email protected]", "root@höst", "ssh://root@host:22"],
)  # fmt: skip
def test_what_is_no_ssh_destination(text: str) -> None:
    assert isinstance(parse_ssh(text), Problem)


def test_a_missing_user_is_asked_for() -> None:
    outcome = parse_ssh("dumps.example.com")
    assert isinstance(outcome, Problem)
    assert outcome.hint == "write ssh USER@dumps.example.com"


def test_net_is_ssh_with_an_at_and_nfs_without() -> None:
    assert parse_net("root@host") == Ssh(user="root", host="host")
    assert parse_net("host:/export") == Nfs(host="host", export="/export")


def test_virtiofs() -> None:
    assert parse_virtiofs("kdump") == Virtiofs(tag="kdump")
    assert parse_virtiofs("a" * 36) == Virtiofs(tag="a" * 36)
    assert isinstance(parse_virtiofs("a" * 37), Problem)
    assert isinstance(parse_virtiofs("é" * 19), Problem), "bytes count, not characters"
    assert isinstance(parse_virtiofs("two words"), Problem)


@pytest.mark.parametrize(
    ("device", "fstype", "target"),
    [
        ("/dev/vda2", "ext4", Filesystem(fstype="ext4", device="/dev/vda2")),
        ("LABEL=x", "xfs", Filesystem(fstype="xfs", device="LABEL=x")),
        ("192.168.1.1:/share", "nfs", Nfs(host="192.168.1.1", export="/share")),
        ("192.168.1.1:/share", "nfs4", Nfs(host="192.168.1.1", export="/share", version="4")),
        ("tag", "virtiofs", Virtiofs(tag="tag")),
    ],
)
def test_a_mount_is_a_target(device: str, fstype: str, target: Target) -> None:
    assert parse_mount(device, fstype) == target


def test_a_mount_of_what_holds_no_dump() -> None:
    for fstype in ("iso9660", "tmpfs", "auto", ""):
        outcome = parse_mount("/dev/sda1", fstype)
        assert isinstance(outcome, Problem)
        assert outcome.code == "bad-filesystem-type"


TARGETS: tuple[tuple[Target, tuple[str, str], dict[str, str]], ...] = (
    (
        Filesystem(fstype="xfs", device="LABEL=x"),
        ("xfs", "LABEL=x"),
        {"type": "filesystem", "fstype": "xfs", "device": "LABEL=x"},
    ),
    (Raw(device="/dev/sdb"), ("raw", "/dev/sdb"), {"type": "raw", "device": "/dev/sdb"}),
    (Nfs(host=V6, export="/e"), ("nfs", f"[{V6}]:/e"), {"type": "nfs", "server": V6, "export": "/e"}),
    (
        Nfs(host="h", export="/e", version="4"),
        ("nfs4", "h:/e"),
        {"type": "nfs", "server": "h", "export": "/e", "version": "4"},
    ),
    (Ssh(user="u", host=V6), ("ssh", f"u@[{V6}]"), {"type": "ssh", "user": "u", "server": V6}),
    (Virtiofs(tag="t"), ("virtiofs", "t"), {"type": "virtiofs", "tag": "t"}),
)


@pytest.mark.parametrize(("target", "directive", "facts"), TARGETS)
def test_how_a_target_is_spelled_and_shown(
    target: Target, directive: tuple[str, str], facts: dict[str, str]
) -> None:
    assert directive_of(target) == directive
    assert shown(target) == facts
    assert shown(target)["type"] == target.kind


def test_no_target_is_the_default_one() -> None:
    assert shown(None) == {"type": "default"}


def test_what_mount_and_ssh_are_told() -> None:
    assert Nfs(host=V6, export="/e").source == f"[{V6}]:/e"
    assert Ssh(user="u", host=V6).destination == f"u@{V6}"
