"""Where the entries of a layer lie: parents first, no path through a link, no two things in one place."""

from __future__ import annotations

import pytest

from kdumpd.core.layer import base_layer, overlay_layer
from kdumpd.core.plan import BasePlan, Engine, Folder, FromHost, ImageItem, Link, OverlayPlan, Written
from kdumpd.core.problems import Trouble

MERGED = (Link(path="/lib", target="usr/lib"), Link(path="/usr/sbin", target="/usr/bin"))


def _base(*items: ImageItem) -> BasePlan:
    return BasePlan(engine=Engine.DIRECT, recipe=1, kernel_release="6.1", compression_level=3, items=items)


def _library(path: str, digest: str = "d") -> FromHost:
    return FromHost(path=path, source=path, digest=digest, mode=0o755)


def _paths(*items: ImageItem) -> list[str]:
    return [placed.path for placed in base_layer(_base(*items))]


def test_parents_are_made_and_come_first() -> None:
    assert _paths(_library("/a/b/c"), Folder(path="/a-b", mode=0o700)) == ["a", "a/b", "a/b/c", "a-b"]


def test_a_path_through_a_link_is_written_where_it_leads() -> None:
    assert _paths(*MERGED, _library("/lib/x/libc.so"), _library("/usr/sbin/kexec")) == [
        "lib", "usr", "usr/bin", "usr/bin/kexec", "usr/lib", "usr/lib/x", "usr/lib/x/libc.so", "usr/sbin",
    ]  # fmt: skip


def test_the_same_file_by_two_ways_is_one() -> None:
    assert (
        _paths(*MERGED, _library("/lib/libc.so"), _library("/usr/lib/libc.so")).count("usr/lib/libc.so") == 1
    )


def test_two_different_files_in_one_place_are_refused() -> None:
    with pytest.raises(Trouble, match="two different things"):
        _paths(*MERGED, _library("/lib/libc.so"), _library("/usr/lib/libc.so", "other"))


def test_a_file_below_a_file_is_refused() -> None:
    with pytest.raises(Trouble, match="is a file in the image") as caught:
        _paths(_library("/a"), _library("/a/b"))
    assert caught.value.problems[0].code == "image-clash"


def test_links_in_circles_are_refused() -> None:
    with pytest.raises(Trouble, match="circles"):
        _paths(Link(path="/a", target="b"), Link(path="/b", target="a"), _library("/a/c"))


def test_an_overlay_lands_behind_the_links_of_its_base_and_never_replaces_them() -> None:
    overlay = OverlayPlan(recipe=1, items=(Written(path="/lib/hook", text=""), Folder(path="/lib")))
    laid = overlay_layer(overlay, base=_base(*MERGED))
    assert [placed.path for placed in laid] == ["usr", "usr/lib", "usr/lib/hook"]


def test_an_overlay_may_replace_a_link_by_a_program() -> None:
    base = _base(Link(path="/bin/reboot", target="busybox"))
    laid = overlay_layer(OverlayPlan(recipe=1, items=(_library("/bin/reboot"),)), base=base)
    assert [placed.path for placed in laid] == ["bin", "bin/reboot"]
