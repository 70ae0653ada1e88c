"""Which export a dump goes to, and in which ways the agent tries to mount it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core import config, locate
from kdumpd.core.document import parse
from kdumpd.core.links import Link
from kdumpd.core.located import Located, Search
from kdumpd.core.machine import FstabEntry, Machine, Mount
from kdumpd.core.network import Hop, Host, Network, OwnAddress
from kdumpd.core.targets import TargetKind
from tests.core.plain import PLAIN

V4, V6 = "192.0.2.1", "2001:db8::1"
NETWORK = Network(
    links=(Link(name="eth0", mac="52:54:00:00:00:01"),),
    addresses=(
        OwnAddress(link="eth0", address="192.0.2.10", prefix=24),
        OwnAddress(link="eth0", address="2001:db8::10", prefix=64),
    ),
    hosts=(
        Host(name="nas", hops=(Hop(address=V4, link="eth0", source="192.0.2.10"),)),
        Host(
            name="both",
            hops=(
                Hop(address=V6, link="eth0", source="2001:db8::10"),
                Hop(address=V4, link="eth0", source="192.0.2.10"),
            ),
        ),
        Host(name=V4, hops=(Hop(address=V4, link="eth0", source="192.0.2.10"),)),
        Host(name=V6, hops=(Hop(address=V6, link="eth0", source="2001:db8::10"),)),
        Host(name="gone", fault="Name or service not known"),
    ),
)
MACHINE = replace(PLAIN, network=NETWORK)
LIVE = "rw,relatime,vers=3,rsize=131072,hard,proto=tcp,timeo=600,retrans=2,sec=sys,mountport=20048,port=2050"


def mounted(
    options: str = LIVE, *, fstype: str = "nfs", source: str = "nas:/srv", at: str = "/mnt"
) -> Machine:
    mount = Mount(target=at, source=source, fstype=fstype, options=tuple(options.split(",")), number="0:40")
    return replace(MACHINE, mounts=(mount,))


def search(text: str, machine: Machine = MACHINE) -> Search:
    reading = config.read(parse(text), file="/etc/kdump.conf")
    assert reading.config is not None, reading.problems
    return locate.target(reading.config, machine)


def found(text: str, machine: Machine = MACHINE) -> Located:
    outcome = search(text, machine)
    assert outcome.located is not None, outcome.problems
    return outcome.located


def hosts(text: str, machine: Machine) -> frozenset[str]:
    reading = config.read(parse(text), file="/etc/kdump.conf")
    assert reading.config is not None, reading.problems
    return locate.hosts(reading.config, machine)


def options(located: Located, attempt: int = 0) -> list[str]:
    return located.mount_tries[attempt].options.split(",")


@pytest.mark.shows("nfs", "path")
@pytest.mark.shows("nfs", "NFS 3", "NFS 4", "an NFS server by IPv4")
def test_an_export_is_tried_from_the_newest_version_to_the_oldest() -> None:
    located = found("nfs nas:/srv/dumps\npath /crash\n")
    assert (located.kind, located.name, located.directory) == (TargetKind.NFS, "nas:/srv/dumps", "/crash")
    assert located.directory_prefix == "192.0.2.10"
    assert [each.words for each in located.mount_tries] == [
        f"vers={version} at 192.0.2.1" for version in ("4.2", "4.1", "4", "3")
    ]
    assert {each.source for each in located.mount_tries} == {"192.0.2.1:/srv/dumps"}
    assert options(located) == [
        *("vers=4.2", "addr=192.0.2.1", "proto=tcp", "soft", "timeo=600", "retrans=2", "sec=sys")
    ]
    assert options(located, 3)[-2:] == ["nolock", "mountproto=tcp"]
    assert located.modules == ("nfs", "nfsv4", "nfsv3")


@pytest.mark.shows("nfs4")
@pytest.mark.shows("nfs4", "NFS 4")
def test_nfs4_never_tries_version_3() -> None:
    located = found("nfs4 nas:/srv/dumps\n")
    assert [each.words[:8].rstrip() for each in located.mount_tries] == ["vers=4.2", "vers=4.1", "vers=4 a"]
    assert located.modules == ("nfs", "nfsv4")
    assert located.told["fstype"] == "nfs4"


@pytest.mark.shows("an NFS server by IPv6")
def test_an_ipv6_server_stands_in_brackets_and_is_talked_to_over_tcp6() -> None:
    located = found("nfs [2001:db8::1]:/srv\n")
    assert located.mount_tries[0].source == "[2001:db8::1]:/srv"
    assert {"addr=2001:db8::1", "proto=tcp6"} <= set(options(located))
    assert {"proto=tcp6", "mountproto=tcp6"} <= set(options(located, 3))
    assert located.directory_prefix == "2001:db8::10"


def test_each_address_of_a_server_is_tried() -> None:
    located = found("nfs4 both:/srv\n")
    assert [each.words for each in located.mount_tries[:3]] == [
        "vers=4.2 at 2001:db8::1",
        "vers=4.2 at 192.0.2.1",
        "vers=4.1 at 2001:db8::1",
    ]


def test_what_is_mounted_now_is_mounted_the_same_way() -> None:
    located = found("nfs nas:/srv/\n", mounted())
    asking, knowing = located.mount_tries
    assert asking.words == "vers=3 at 192.0.2.1"
    assert knowing.words == "vers=3 at 192.0.2.1 with mountd at port 20048"
    assert {"vers=3", "nolock", "port=2050", "sec=sys", "soft"} <= set(options(located))
    assert set(options(located, 1)) - set(options(located)) == {"mountport=20048"}
    assert "hard" not in options(located)
    assert located.modules == ("nfs", "nfsv3")


def test_nfs4_does_not_follow_a_mount_of_version_3() -> None:
    assert options(found("nfs4 nas:/srv\n", mounted()))[0] == "vers=4.2"
    assert options(found("nfs4 nas:/srv\n", mounted("rw,vers=4.0", fstype="nfs4")))[0] == "vers=4"


def test_a_mount_of_another_export_says_nothing() -> None:
    assert len(found("nfs nas:/other\n", mounted()).mount_tries) == 4


def test_a_name_without_address_is_reached_by_the_address_it_is_mounted_by() -> None:
    machine = mounted("rw,vers=4.2,addr=192.0.2.1", source="gone:/srv", fstype="nfs4")
    outcome = search("nfs gone:/srv\n", machine)
    assert outcome.located is not None
    assert outcome.located.mount_tries[0].source == "192.0.2.1:/srv"
    (warning,) = outcome.problems
    assert (warning.code, warning.is_error, warning.line) == ("name-unresolved", False, 1)
    assert hosts("nfs gone:/srv\n", machine) == {"gone", V4}


def test_a_name_without_any_address_is_a_problem_of_its_line() -> None:
    outcome = search("# first\nnfs gone:/srv\n")
    assert outcome.located is None
    assert [(problem.line, problem.key) for problem in outcome.problems] == [(2, "nfs")]


@pytest.mark.parametrize("options", ["rw,vers=4.2,sec=krb5p", "rw,vers=4.2,sec=krb5"])
def test_kerberos_is_refused_with_its_reason(options: str) -> None:
    outcome = search("nfs nas:/srv\n", mounted(options))
    assert [problem.code for problem in outcome.problems] == ["target-kerberos"]
    assert outcome.located is None


def test_a_read_only_mount_of_a_named_export_is_a_warning() -> None:
    outcome = search("nfs nas:/srv\n", mounted("ro,vers=4.2"))
    assert [(problem.code, problem.is_error) for problem in outcome.problems] == [("target-read-only", False)]
    assert outcome.located is not None


@pytest.mark.shows("path")
@pytest.mark.shows("no target: the device that holds path")
def test_a_path_on_a_mounted_export_makes_that_export_the_target() -> None:
    machine = mounted("rw,vers=4.1,addr=192.0.2.1", fstype="nfs4", at="/var/crash")
    located = found("path /var/crash/here\n", machine)
    assert (located.name, located.directory) == ("nas:/srv", "/here")
    assert [each.words for each in located.mount_tries] == ["vers=4.1 at 192.0.2.1"]
    assert hosts("path /var/crash/here\n", machine) == {"nas", V4}
    assert hosts("path /elsewhere\n", machine) == set()


def test_a_path_on_an_export_that_is_mounted_read_only_is_refused() -> None:
    outcome = search("path /mnt\n", mounted("ro,vers=4.2"))
    assert outcome.located is None
    assert [(problem.code, problem.line) for problem in outcome.problems] == [("target-read-only", 1)]


@pytest.mark.shows("net")
def test_net_means_an_export_where_there_is_no_user_and_names_the_line_to_write() -> None:
    reading = config.read(parse("net nas:/srv\n"), file="/etc/kdump.conf")
    (warning,) = reading.problems
    assert (warning.is_error, warning.hint) == (False, "write nfs in place of net")
    assert found("net nas:/srv\n").name == "nas:/srv"


@pytest.mark.shows("dracut_args --mount")
def test_the_options_of_dracuts_mount_are_taken_and_its_mount_point_is_not() -> None:
    located = found(
        'dracut_args --mount "nas:/srv /anywhere nfs hard,nfsvers=3,timeo=50,_netdev,bg,x-systemd.automount"\n'
    )
    assert set(options(located)) == {
        *("vers=3", "addr=192.0.2.1", "proto=tcp", "timeo=50", "retrans=2", "sec=sys", "nolock"),
        *("mountproto=tcp", "hard"),
    }
    assert located.directory == "/var/crash"


@pytest.mark.parametrize(
    ("mount", "code"),
    [
        ("nas:/srv /x nfs ro", "target-read-only"),
        ("nas:/srv /x nfs sec=krb5i", "target-kerberos"),
        ("nas:/srv /x nfs4 vers=3", "target-version-differs"),
    ],
)
def test_options_that_cannot_be_kept_are_refused(mount: str, code: str) -> None:
    outcome = search(f'dracut_args --mount "{mount}"\n')
    assert outcome.located is None
    assert [problem.code for problem in outcome.problems] == [code]


def test_an_export_that_an_automount_would_mount_is_read_from_fstab() -> None:
    waiting = Mount(target="/net/dumps", source="systemd-1", fstype="autofs", number="0:40")
    options = ("noauto", "x-systemd.automount", "vers=4.1")
    entry = FstabEntry(source="nas:/srv/dumps", target="/net/dumps", fstype="nfs", options=options)
    machine = replace(MACHINE, mounts=(waiting,), fstab=(entry,))
    located = found("path /net/dumps/crash\n", machine)
    assert (located.kind, located.name, located.directory) == (TargetKind.NFS, "nas:/srv/dumps", "/crash")
    assert [each.words for each in located.mount_tries] == ["vers=4.1 at 192.0.2.1"]
    assert hosts("path /net/dumps/crash\n", machine) == {"nas"}
