"""The closure of modules: everything needed, in an order that loads, nothing that is built in."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.modules import ModuleIndex, parse_index, parse_options
from tests.machines.roots import HERE, parse

RELEASE = "/lib/modules/6.1.0-56-amd64"


def debian() -> ModuleIndex:
    """The index of Debian 12's kernel, as far as storage needs it."""
    texts = {item.path: item.data.decode() for item in parse((HERE / "kernel-6.1.txt").read_text())}
    return parse_index(
        directory=RELEASE,
        dep=texts[f"{RELEASE}/modules.dep"],
        softdep=texts[f"{RELEASE}/modules.softdep"],
        builtin=texts[f"{RELEASE}/modules.builtin"],
        alias=texts[f"{RELEASE}/modules.alias"],
        modprobe="",
    )


def index(dep: str, *, softdep: str = "", builtin: str = "", alias: str = "") -> ModuleIndex:
    return parse_index(directory="/m", dep=dep, softdep=softdep, builtin=builtin, alias=alias)


def test_ext4_takes_its_checksum_through_an_alias_of_a_soft_dependency() -> None:
    load = debian().closure(["ext4"]).load
    assert {"crc32c_intel", "crc32c_generic", "jbd2", "mbcache", "crc16"} <= set(load)
    assert load.index("crc32c_generic") < load.index("jbd2") < load.index("ext4") == len(load) - 1


def test_xfs_takes_libcrc32c_and_before_it_the_checksum() -> None:
    load = debian().closure(["xfs"]).load
    assert load.index("crc32c_generic") < load.index("libcrc32c") < load.index("xfs")


@given(st.sets(st.sampled_from(sorted(debian().files)), max_size=6))
def test_whatever_is_wanted_comes_after_all_it_needs_and_once(wanted: set[str]) -> None:
    known = debian()
    load = known.closure(sorted(wanted)).load
    assert wanted <= set(load)
    assert len(load) == len(set(load))
    for place, name in enumerate(load):
        assert set(known.needs[name]) <= set(load[:place])


def test_a_name_is_the_same_with_hyphens_and_compressed() -> None:
    known = index("kernel/drivers/md/dm-mod.ko.xz:\nkernel/x.ko.zst: kernel/drivers/md/dm-mod.ko.xz\n")
    assert known.closure(["dm-mod", "x"]).load == ("dm_mod", "x")
    assert known.path("dm-mod") == "/m/kernel/drivers/md/dm-mod.ko.xz"


def test_what_is_built_in_is_fine_and_what_is_nowhere_is_told() -> None:
    known = index("a.ko:\n", builtin="kernel/fs/ext-4.ko\n")
    closure = known.closure(["ext_4", "a", "nix"])
    assert (closure.load, closure.unknown) == (("a",), ("nix",))
    assert known.is_known("ext-4")
    assert not known.is_known("nix")


def test_a_blacklisted_module_is_missed_with_all_that_cannot_do_without_it() -> None:
    known = index("top.ko: mid.ko low.ko\nmid.ko: low.ko\nlow.ko:\nother.ko:\n")
    closure = known.closure(["top", "other"], blacklist=["low"])
    assert (closure.load, closure.missed) == (("other",), ("top",))


def test_a_blacklisted_soft_dependency_is_simply_left_out() -> None:
    known = index(
        "fs.ko:\nfast.ko:\nslow.ko:\n",
        softdep="softdep fs pre: sum\n",
        alias="alias sum fast\nalias sum slow\n",
    )
    assert known.closure(["fs"]).load == ("fast", "slow", "fs")
    closure = known.closure(["fs"], blacklist=["fast"])
    assert (closure.load, closure.missed) == (("slow", "fs"), ())


def test_soft_dependencies_in_a_circle_come_to_an_end() -> None:
    known = index("a.ko:\nb.ko:\n", softdep="softdep a pre: b\nsoftdep b pre: a\n")
    assert set(known.closure(["a"]).load) == {"a", "b"}


def test_soft_dependencies_that_come_after_are_left_out() -> None:
    known = index("a.ko:\nb.ko:\nc.ko:\n", softdep="softdep a pre: b post: c\n")
    assert known.closure(["a"]).load == ("b", "a")


def test_a_modalias_finds_the_modules_whose_patterns_it_fits() -> None:
    known = index("v.ko:\nw.ko:\n", alias="alias pci:v00001AF4d*sv*sd*bc*sc*i* v\nalias pci:v00008086d* w\n")
    assert known.serving("pci:v00001AF4d00001042sv00001AF4sd00001042bc01sc80i00") == ("v",)


def test_the_index_of_a_kernel_of_thousands_of_modules_takes_little_more_than_its_text() -> None:
    dep = "".join(f"kernel/drivers/a/module-{n}.ko.xz: kernel/b/module-{n // 2}.ko.xz\n" for n in range(4000))
    alias = "".join(f"alias pci:v0000{n:04X}d*sv*sd*bc*sc*i* module-{n % 4000}\n" for n in range(24_000))
    tracemalloc.start()
    try:
        known = index(dep, alias=alias)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert known.serving("pci:v00000777d1sv2sd3bc4sc5i6") == ("module_1911",)
    assert kept_bytes < 2 * len(dep + alias)  # nearly five times as much with a value for each line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("options e1000e debug=1\n", {"e1000e": "debug=1"}),
        ("options a-b x=1\noptions a_b y=2\n", {"a_b": "x=1 y=2"}),
        ("options a x=1 \\\n y=2\n", {"a": "x=1   y=2"}),
        ("# options a x\nblacklist b\noptions c\n", {}),
    ],
)
def test_options_of_modprobe_d(text: str, expected: dict[str, str]) -> None:
    assert dict(parse_options(text)) == expected
