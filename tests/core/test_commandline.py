"""The capture kernel's command line: nothing that was meant is lost, nothing harmful is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.commandline import LONGEST, TRIMMED, capture, has_roomy_rootfs, words


def captured(base: str, *, remove: tuple[str, ...] = (), append: tuple[str, ...] = ()) -> str:
    return capture(base=base, architecture="x86_64", remove=remove, append=append)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b=1  c", ("a", "b=1", "c")),
        ('dyndbg="file a.c +p" x', ('dyndbg="file a.c +p"', "x")),
        ('"foo=a b" x', ('"foo=a b"', "x")),
        ("x='a b' y", ("x='a b'", "y")),
        ('stray=" a b', ('stray="', "a", "b")),
        ("it's here and there's more", ("it's", "here", "and", "there's", "more")),
        ("", ()),
    ],
)
def test_words_are_kept_as_they_are_spelled(text: str, expected: tuple[str, ...]) -> None:
    assert words(text) == expected


@given(st.text(st.sampled_from("ab= \"'-\t"), max_size=40))
def test_no_quote_and_no_other_character_is_ever_lost(text: str) -> None:
    assert "".join("".join(words(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("root=/dev/vda1 ro console=ttyS0", "ro console=ttyS0"),
        ("crashkernel=256M,high crashkernel=72M,low quiet", "quiet"),
        ("panic_on_warn=1 panic-on-warn softlockup_panic=1 hung_task_panic=1 x", "x"),
        ("oops=panic nmi_watchdog=panic nmi_watchdog=1", "nmi_watchdog=1"),
        ("rd.lvm.lv=vg/root rd.luks.uuid=1 rd.md.uuid=2 rd.dm.uuid=3 rd.break", "rd.break"),
        ("rootflags=subvol=@ rootwait", "rootflags=subvol=@ rootwait"),
        ("init=/bin/bash rdinit=/x a -- --an-argument-of-init", "a"),
        ("kdumpd.id=old a", "a"),
        ('a "root=/dev/x y" b', "a b"),
    ],
)
def test_what_is_always_removed(base: str, expected: str) -> None:
    assert captured(base) == expected


def test_what_is_asked_for_is_removed_by_key_or_as_a_whole_word() -> None:
    base = "hugepages=10 hugepagesz=1G log-buf-len=4M cma=64M nohz=on nohz=off"
    assert captured(base, remove=("hugepages", "log_buf_len", "nohz=on")) == "hugepagesz=1G cma=64M nohz=off"


def test_the_last_panic_alone_is_kept() -> None:
    assert captured("panic=0 a panic=5", append=("panic=10",)) == "a panic=10"
    assert captured("panic=5 panic_print=1") == "panic=5 panic_print=1"


def test_every_architecture_has_its_own_words() -> None:
    x86 = capture(base="quiet swiotlb=force", architecture="x86_64")
    assert {"nr_cpus=1", "reset_devices", "novmcoredd", "pcie_ports=compat", "panic=10"} <= set(x86.split())
    assert not {"quiet", "swiotlb=force"} & set(x86.split())
    assert "swiotlb=noforce" in capture(base="", architecture="aarch64").split()
    assert "nr_cpus=16" in capture(base="", architecture="ppc64le").split()
    assert "nr_cpus=1" in capture(base="", architecture="riscv64").split()


def test_the_image_is_named_last() -> None:
    line = capture(base="a", architecture="x86_64", remove=(), append=("b",), capture_id="0f")
    assert line == "a b kdumpd.id=0f"


@pytest.mark.parametrize(
    "word",
    [
        "hugepages=512",
        "hugepagesz=1G",
        "default_hugepagesz=1G",
        "hugetlb_cma=4G",
        "cma=256M",
        "kho=on",
        "kho_scratch=512M,512M,256M",
        "reserve_mem=12M:4096:trace",
        "log_buf_len=16M",
        "trace_buf_size=128M",
        "thash_entries=1048576",
        "dhash_entries=1048576",
        "movablecore=50%",
        "kernelcore=4G",
        "movable_node",
        "slub_debug=FZPU",
        "slab_debug",
        "slab_nomerge",
        "page_owner=on",
        "kmemleak=on",
        "debug_pagealloc=on",
        "swiotlb=262144",
        "isolcpus=managed_irq,1-63",
        "nohz-full=1-63",
        "rcu_nocbs=1-63",
        "audit=1",
        "audit_backlog_limit=8192",
    ],
)
@pytest.mark.parametrize("architecture", ["x86_64", "aarch64", "ppc64le", "riscv64"])
def test_what_costs_memory_is_trimmed_and_an_administrator_is_not(word: str, architecture: str) -> None:
    key = word.partition("=")[0]
    trimmed = capture(base=f"before {word} after", architecture=architecture).split()
    assert word not in trimmed
    assert trimmed[:2] == ["before", "after"]
    asked = capture(base=f"before {word} after", architecture=architecture, append=(word,))
    assert asked.split() == ["before", "after", word]
    kept = capture(base=f"before {word} after", architecture=architecture, remove=("quiet",), append=())
    assert kept.split() == ["before", word, "after"], key


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64", "ppc64le", "riscv64"])
def test_what_saves_memory_and_time_is_added(architecture: str) -> None:
    line = capture(base="rootfstype=ext4 console=ttyS0", architecture=architecture)
    assert {"cgroup_disable=memory", "kfence.sample_interval=0", "novmcoredd"} <= set(line.split())
    assert "cryptomgr.notests" in line.split()
    assert has_roomy_rootfs(line)
    assert len(line.encode()) < LONGEST


def test_each_word_that_is_trimmed_has_its_reason_and_stands_once() -> None:
    keys = [key for each in TRIMMED for key in each.keys]
    assert len(keys) == len(set(keys))
    assert all(each.why and each.keys for each in TRIMMED)
    assert not set(keys) & {"console", "mem", "memmap", "iommu", "intel_iommu", "amd_iommu", "pci", "acpi"}
