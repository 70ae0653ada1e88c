"""Which folders are watched, and what an event is about."""

from __future__ import annotations

import pytest

from kdumpd.core.watching import concerned, folders

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
    ("event", "comes_or_goes", "about"),
    [
        ("/etc/kdump.conf", False, {"/etc/kdump.conf"}),
        ("/etc/kdump.conf~", True, set()),
        ("/etc/kdump/pre.d/10-hook", False, {"/etc/kdump/pre.d"}),
        ("/etc/kdump", True, {"/etc/kdump/pre.d"}),
        ("/etc/kdump", False, set()),
        ("/etc", True, {"/etc/kdump.conf", "/etc/kdump/pre.d"}),
        ("/etc/passwd", True, set()),
    ],
)
def test_an_event_is_about_the_path_what_is_in_it_and_what_it_stands_in(
    event: str,
    comes_or_goes: bool,  # noqa: FBT001  # a table's column
    about: set[str],
) -> None:
    assert concerned(event, {"/etc/kdump.conf", "/etc/kdump/pre.d"}, comes_or_goes=comes_or_goes) == about
