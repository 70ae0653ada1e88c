"""Which folders are watched, and what an event is about."""

from __future__ import annotations

import struct

import pytest

from kdumpd.core.inotify import NO_WATCH, Event, events
from kdumpd.core.watching import folders, interest

THERE = frozenset({"/", "/etc", "/etc/kdump", "/etc/kdump/pre.d", "/boot"})


@pytest.mark.parametrize(
    ("path", "watched"),
    [
        ("/etc/kdump.conf", {"/etc", "/"}),
        ("/etc/kdump/pre.d", {"/etc/kdump/pre.d", "/etc/kdump", "/etc"}),
        ("/etc/kdump/post.d", {"/etc/kdump", "/etc"}),
        ("/etc/sysconfig/kdump", {"/etc", "/"}),
        ("/opt/a/b/c", {"/"}),
        ("/boot", {"/boot", "/"}),
    ],
)
def test_the_folders_above_are_watched_as_well(path: str, watched: set[str]) -> None:
    assert folders([path], is_folder=THERE.__contains__) == watched


@pytest.mark.parametrize(
    ("folder", "name", "comes_or_goes", "about"),
    [
        ("/etc", "kdump.conf", False, {"/etc/kdump.conf"}),
        ("/etc", "kdump.conf~", True, set()),
        ("/etc/kdump/pre.d", "10-hook", False, {"/etc/kdump/pre.d"}),
        ("/etc/kdump/pre.d", "", False, {"/etc/kdump/pre.d"}),
        ("/etc", "kdump", True, {"/etc/kdump/pre.d"}),
        ("/etc", "kdump", False, set()),
        ("/etc", "", False, set()),
        ("/etc", "", True, {"/etc/kdump.conf", "/etc/kdump/pre.d"}),
        ("/", "etc", True, {"/etc/kdump.conf", "/etc/kdump/pre.d"}),
        ("/", "etc", False, set()),
        ("/etc", "passwd", True, set()),
        ("/srv", "kdump.conf", True, set()),
    ],
)
def test_an_event_is_about_the_path_what_is_in_it_and_what_it_stands_in(
    folder: str,
    name: str,
    comes_or_goes: bool,  # noqa: FBT001  # a table's column
    about: set[str],
) -> None:
    of_folder = interest(folder, {"/etc/kdump.conf", "/etc/kdump/pre.d"})
    assert of_folder.in_event(name, comes_or_goes=comes_or_goes) == about


def test_a_read_of_inotify_is_its_events_in_order() -> None:
    first = struct.pack("iIII", 3, 0x100, 0, 16) + b"kdump.conf".ljust(16, b"\0")
    second = struct.pack("iIII", -1, 0x4000, 0, 0)
    assert list(events(first + second)) == [Event(3, 0x100, "kdump.conf"), Event(NO_WATCH, 0x4000, "")]
    assert list(events(first + second[:5])) == [Event(3, 0x100, "kdump.conf")]
