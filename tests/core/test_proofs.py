"""What a finished image must hold, in numbers and words."""

from __future__ import annotations

from kdumpd.core.problems import Severity
from kdumpd.core.proofs import (
    ModuleWords,
    environment_problems,
    interpreter,
    missing_libraries,
    module_problems,
    module_words,
    unpacked_bytes,
)


def _module(*words: str) -> bytes:
    return b"\x7fELF" + bytes(60) + b"\0".join(word.encode() for word in words) + b"\0"


def test_a_module_says_its_kernel_and_its_needs() -> None:
    data = _module("license=GPL", "depends=virtio,virtio-ring", "vermagic=6.1.0-13-amd64 SMP preempt ")
    assert module_words(data) == ModuleWords(
        vermagic="6.1.0-13-amd64 SMP preempt ", depends=("virtio", "virtio_ring")
    )
    assert module_words(_module("depends=", "vermagic=6.1 ")) == ModuleWords(vermagic="6.1 ", depends=())
    assert module_words(b"no elf\0vermagic=6.1\0") is None
    assert module_words(_module("license=GPL")) is None


def test_modules_are_complete_and_of_the_kernel() -> None:
    def codes(**modules: ModuleWords | None) -> list[tuple[str, Severity]]:
        found = module_problems(modules, kernel_release="6.1")
        return [(problem.code, problem.severity) for problem in found]

    good = ModuleWords(vermagic="6.1 SMP", depends=())
    assert codes(virtio=good, virtio_blk=ModuleWords(vermagic="6.1 SMP", depends=("virtio",))) == []
    assert codes(virtio_blk=ModuleWords(vermagic="6.1 SMP", depends=("virtio",))) == [
        ("module-incomplete", Severity.ERROR)
    ]
    assert codes(old=ModuleWords(vermagic="6.0 SMP", depends=())) == [
        ("module-of-other-kernel", Severity.ERROR)
    ]
    assert codes(weak=ModuleWords(vermagic="6.0 SMP modversions", depends=())) == [
        ("module-of-other-kernel", Severity.WARNING)
    ]
    assert codes(broken=None) == [("module-damaged", Severity.ERROR)]


def test_no_interpreter_where_there_is_no_program() -> None:
    assert interpreter(b"#!/bin/sh\n") == ""
    assert interpreter(b"\x7fELF") == ""
    assert interpreter(b"\x7fELF\x02\x01" + b"\xff" * 100) == ""


def test_what_a_loader_did_not_find() -> None:
    said = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibdw.so.1 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n"
    assert missing_libraries(said) == ("libdw.so.1",)


def test_files_fill_whole_pages() -> None:
    assert unpacked_bytes([0, 1, 4096, 4097]) == 4096 * 4


def test_a_plan_read_differently_is_told() -> None:
    assert (
        environment_problems(planned={"a": "x'y", "b": ""}, evaluated={"a": "x'y", "b": "", "more": ""}) == ()
    )
    assert [p.message for p in environment_problems(planned={"a": "x"}, evaluated={})] == [
        "the capture would read a as None, planned was 'x'"
    ]
