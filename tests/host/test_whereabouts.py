"""Where a path really lies: links are followed one component at a time, and nothing is touched that may wait for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpd.core.machine import Machine, Whereabouts
from kdumpd.host import observe
from kdumpd.host.real import RealFiles
from kdumpd.reading import read
from tests.host.test_observe import FoundPrograms, write

LOCAL = "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n"


class Untouched(RealFiles):
    """A door that must not be opened on anything below `dead`."""

    dead = "/net"

    def link(self, path: str) -> str:
        assert path != self.dead
        assert not path.startswith(f"{self.dead}/")
        return super().link(path)


def links(root: Path, **texts: str) -> None:
    """`a__b` is the link /a/b."""
    for name, text in texts.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(text)


def whereabouts(root: Path, path: str, mounts: str = LOCAL) -> Whereabouts:
    write(root, "/proc/1/mountinfo", mounts)
    files = Untouched(str(root))
    seen: Machine = observe.followed(files, observe.look(files), (path,))
    return seen.followed(path)


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("/data/crash", "/data/crash"),
        ("../data", "/data"),
        ("../../../data/./x/", "/data/x"),
        ("dumps", "/var/dumps"),
    ],
)
def test_a_link_is_followed_wherever_it_leads(tmp_path: Path, text: str, real: str) -> None:
    links(tmp_path, var__crash=text)
    found = whereabouts(tmp_path, "/var/crash/deep")
    assert (found.real, found.links) == (f"{real}/deep", ("/var/crash",))
    assert found.watched == {"/var/crash"}


def test_links_on_the_way_of_links_are_followed_too(tmp_path: Path) -> None:
    links(tmp_path, var="/srv/v", srv__v__crash="/data/c", data__c="d")
    found = whereabouts(tmp_path, "/var/crash")
    assert (found.real, found.links) == ("/data/d", ("/var", "/srv/v/crash", "/data/c"))


def test_a_path_without_links_lies_where_it_says(tmp_path: Path) -> None:
    assert whereabouts(tmp_path, "/var/crash") == Whereabouts(path="/var/crash", real="/var/crash")


def test_links_in_circles_come_to_an_end(tmp_path: Path) -> None:
    links(tmp_path, a="/b", b="/a")
    found = whereabouts(tmp_path, "/a/x")
    assert (found.is_endless, found.real, set(found.links)) == (True, "/a/x", {"/a", "/b"})


@pytest.mark.parametrize(
    "mount", ["nfs4 nas:/srv", "nfs nas:/srv", "cifs //nas/srv", "autofs systemd-1", "fuse.sshfs nas:"]
)
def test_what_may_be_dead_is_not_touched(tmp_path: Path, mount: str) -> None:
    links(tmp_path, var__crash="/net/crash", net__crash="/elsewhere")
    found = whereabouts(tmp_path, "/var/crash/x", f"{LOCAL}23 22 0:40 / /net rw - {mount} rw\n")
    assert (found.real, found.links, found.is_beyond) == ("/net/crash/x", ("/var/crash",), True)
    assert found.watched == {"/var"}, "to watch the link itself is to look where it leads"


async def test_the_links_are_watched(tmp_path: Path) -> None:
    links(tmp_path, var__crash="/data/crash")
    write(tmp_path, "/proc/1/mountinfo", LOCAL)
    reading = await read(RealFiles(str(tmp_path)), FoundPrograms({}))
    assert "/var/crash" in reading.watched
    assert reading.machine.followed("/var/crash").real == "/data/crash"
