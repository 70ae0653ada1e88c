"""Which kernels get their image ahead of their boot: the order of versions, and who is left out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core import ahead
from kdumpd.core.machine import KernelFiles, Machine
from kdumpd.core.watching import interest
from tests.core.plain import PLAIN

RELEASE = st.text("0123456789.-+~abrcx_", max_size=12)


def machine(running: str, *kernels: KernelFiles) -> Machine:
    return replace(PLAIN, kernel_release=running, kernels=kernels)


def whole(release: str) -> KernelFiles:
    return KernelFiles(release=release, image=f"/boot/vmlinuz-{release}", modules=f"/lib/modules/{release}")


@pytest.mark.parametrize(
    "ascending",
    [
        ("5.10.0-30-amd64", "6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-56-amd64", "6.12.48+deb13-amd64"),
        ("6.9.12-1.el9.x86_64", "6.10.1-1.el9.x86_64", "6.10.1-2.el9.x86_64"),
        ("5.14.0-503.el9.x86_64", "5.14.0-503.11.1.el9_5.x86_64", "5.14.0-570.el9.x86_64"),
        ("6.12.0-rc1", "6.12.0-rc7", "6.12.0-rc10", "6.12.0", "6.12.0-1"),
        ("6.17~rc1-amd64", "6.17-amd64"),
        ("6.1", "6.1.1", "6.1.01.1"),
        ("6.12.48+deb13-amd64", "6.12.48+deb13-cloud-amd64", "6.12.57+deb13-amd64"),
        ("", "6"),
    ],
)
def test_versions_ascend(ascending: tuple[str, ...]) -> None:
    for older, newer in pairwise(ascending):
        assert ahead.version_key(older) < ahead.version_key(newer), (older, newer)


@given(releases=st.lists(RELEASE, max_size=5))
def test_any_names_have_an_order(releases: list[str]) -> None:
    ordered = sorted(releases, key=ahead.version_key)
    assert all(ahead.version_key(one) <= ahead.version_key(other) for one, other in pairwise(ordered))


def test_the_newest_two_are_built_for_but_the_one_that_runs() -> None:
    kernels = [whole(f"6.1.0-{number}-amd64") for number in (8, 9, 10, 11)]
    assert ahead.releases(machine("6.1.0-11-amd64", *kernels), count=2) == ("6.1.0-10-amd64",)
    assert ahead.releases(machine("6.1.0-8-amd64", *kernels), count=2) == ("6.1.0-11-amd64", "6.1.0-10-amd64")
    assert ahead.releases(machine("6.1.0-11-amd64", *kernels), count=1) == ()
    assert ahead.releases(machine("6.1.0-8-amd64", *kernels), count=0) == ()
    assert len(ahead.releases(machine("6.1.0-8-amd64", *kernels), count=16)) == 3


def test_a_half_installed_kernel_is_waited_for_and_takes_nobodys_place() -> None:
    without_modules = replace(whole("6.3"), modules="")
    without_image = replace(whole("6.4"), image="")
    here = machine("6.1", whole("6.1"), whole("6.2"), without_modules, without_image)
    assert ahead.releases(here, count=2) == ("6.2",)


def test_after_the_reboot_only_the_release_is_another() -> None:
    here = machine("6.1", whole("6.1"), whole("6.2"))
    assert ahead.as_if_running(here, "6.2") == replace(here, kernel_release="6.2")


def test_a_kernel_is_heard_of_by_its_image_and_its_list_of_modules_and_not_by_its_initramfs() -> None:
    watched = ahead.watched(("6.3",), machine_id="")
    assert {"/lib/modules", "/lib/modules/6.3/modules.dep", "/boot/vmlinuz-6.3"} <= watched
    in_boot, in_modules = interest("/boot", watched), interest("/lib/modules", watched)
    assert in_boot.in_event("vmlinuz-6.3", comes_or_goes=True)
    assert not in_boot.in_event("initrd.img-6.3", comes_or_goes=True)
    assert in_modules.in_event("6.4", comes_or_goes=True)
