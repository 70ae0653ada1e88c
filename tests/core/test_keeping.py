"""What the store keeps: the needed always, of the rest what was used last, as far as the budget goes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.keeping import Keep, Stored, for_each_kernel, to_keep, unneeded, used
from kdumpd.core.machine import KernelFiles
from tests.core.test_capture_kernel import MACHINE

NAMES = st.sampled_from("abcdefgh")
KERNELS = st.sampled_from(["", "6.1", "6.2", "6.3"])
STORED = st.lists(
    st.builds(
        Stored,
        part=st.sampled_from(["bases", "images"]),
        fingerprint=NAMES,
        size_bytes=st.integers(0, 50),
        built_us=st.integers(0, 3),
        kernel_release=KERNELS,
    ),
    unique_by=lambda one: one.fingerprint,
)
KEEP = st.builds(
    Keep,
    needed=st.lists(NAMES, max_size=3).map(tuple),
    kernels=st.frozensets(KERNELS, max_size=2),
    installed=st.none() | st.frozensets(KERNELS),
    budget_bytes=st.integers(0, 200),
)
USES = st.lists(NAMES, unique=True)


def image(name: str, *, size: int = 10, built: int = 0, kernel: str = "6.1") -> Stored:
    return Stored(part="images", fingerprint=name, size_bytes=size, built_us=built, kernel_release=kernel)


def names(stored: tuple[Stored, ...]) -> str:
    return "".join(one.fingerprint for one in stored)


@given(stored=STORED, uses=USES, keep=KEEP)
def test_what_is_needed_stays_and_the_rest_fits(stored: list[Stored], uses: list[str], keep: Keep) -> None:
    gone = unneeded(stored, uses=uses, keep=keep)
    left = [one for one in stored if one not in gone]
    assert {one.fingerprint for one in stored} & set(keep.needed) <= {one.fingerprint for one in left}
    for kernel in keep.kernels:
        for part in ("bases", "images"):
            of_kernel = [one for one in stored if (one.kernel_release, one.part) == (kernel, part)]
            assert not of_kernel or any(one in left for one in of_kernel)
    others = [
        one for one in left if one.fingerprint not in keep.needed and one.kernel_release not in keep.kernels
    ]
    kept_for_kernels = {(one.kernel_release, one.part) for one in left if one.kernel_release in keep.kernels}
    is_only_needed = not others and len(left) <= len(
        [one for one in left if one.fingerprint in keep.needed]
    ) + len(kept_for_kernels)
    assert sum(one.size_bytes for one in left) <= keep.budget_bytes or is_only_needed
    if keep.installed is not None:
        assert all(not one.kernel_release or one.kernel_release in keep.installed for one in others)


@given(stored=STORED, uses=USES, keep=KEEP)
def test_nothing_goes_that_was_used_later_than_what_stays(
    stored: list[Stored], uses: list[str], keep: Keep
) -> None:
    def place(one: Stored) -> int:
        return uses.index(one.fingerprint) if one.fingerprint in uses else -1

    gone = unneeded(stored, uses=uses, keep=Keep(needed=keep.needed, budget_bytes=keep.budget_bytes))
    left = [one for one in stored if one not in gone and one.fingerprint not in keep.needed]
    assert all(place(out) <= place(kept) for out in gone for kept in left)


@given(stored=STORED, uses=USES, keep=KEEP)
def test_pruning_twice_removes_nothing_more(stored: list[Stored], uses: list[str], keep: Keep) -> None:
    gone = unneeded(stored, uses=uses, keep=keep)
    left = [one for one in stored if one not in gone]
    assert unneeded(left, uses=uses, keep=keep) == ()


def test_the_one_unused_for_longest_goes_first_and_what_was_never_used_before_it() -> None:
    stored = (image("a"), image("b"), image("c", built=2), image("d", built=1))
    assert names(unneeded(stored, uses=("b", "a"), keep=Keep(budget_bytes=40))) == ""
    assert names(unneeded(stored, uses=("b", "a"), keep=Keep(budget_bytes=20))) == "dc"
    assert names(unneeded(stored, uses=("b", "a"), keep=Keep(budget_bytes=10))) == "dcb"
    assert names(unneeded(stored, uses=("b", "a"), keep=Keep(needed=("d",), budget_bytes=0))) == "cba"


def test_of_a_kernel_that_can_be_booted_what_was_used_last_stays() -> None:
    stored = (image("a"), image("b"), image("c", kernel="6.2"), image("d", kernel="6.2"))
    keep = Keep(kernels=frozenset({"6.2"}), budget_bytes=0)
    assert names(unneeded(stored, uses=("d", "c", "a", "b"), keep=keep)) == "dab"


def test_the_order_of_use_has_what_is_in_use_at_its_end_and_nothing_that_is_gone() -> None:
    assert used(("a", "b", "c"), ("a", "x"), present="abcx") == ("b", "c", "a", "x")
    assert used(("a", "b", "c"), ("b", "b"), present="bc") == ("c", "b")
    assert used((), ("a",), present="") == ()


@given(uses=USES, now=USES, present=st.lists(NAMES))
def test_using_the_same_again_changes_nothing(uses: list[str], now: list[str], present: list[str]) -> None:
    once = used(uses, now, present=present)
    assert used(once, now, present=present) == once
    assert len(set(once)) == len(once)


def test_an_unmounted_boot_removes_no_kernel() -> None:
    kernels = tuple(
        KernelFiles(release=release, image="", modules="/lib/modules") for release in ("6.1", "6.2")
    )
    keep = to_keep(None, None, replace(MACHINE, kernels=kernels), ahead=(), budget_bytes=100)
    assert keep.installed == frozenset({"6.1", "6.2"})
    there = (kernels[0], replace(kernels[1], image="/boot/vmlinuz-6.2"))
    keep = to_keep(None, None, replace(MACHINE, kernels=there), ahead=(), budget_bytes=100)
    assert keep.installed == frozenset({"6.2"}), "the other one was removed"


def test_the_image_of_a_kernel_is_the_planned_one_or_else_the_last() -> None:
    stored = (
        image("a", built=3),
        image("b", built=1),
        image("c", built=1, kernel="6.2"),
        image("d", kernel=""),
    )
    found = for_each_kernel(stored, {"6.1": "b", "6.2": "x"}, path_of=lambda name: f"/{name}.img")
    assert {release: (each.path, each.is_planned) for release, each in found.items()} == {
        "6.1": ("/b.img", True),
        "6.2": ("/c.img", False),
    }
    assert for_each_kernel(stored, {}, path_of=str)["6.1"].built_us == 3
