"""/etc/sysconfig/kdump is data: read as a shell would read assignments, and nothing in it is ever run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.sysconfig import LOG_LEVELS, VARIABLES, Sysconfig, read

FILE = "/etc/sysconfig/kdump"

FEDORA = """\
# Kernel Version string for the -kdump kernel, such as 2.6.13-1544.FC5kdump
# If no version is specified, then the init script will try to find a
# kdump kernel with the same version number as the running kernel.
KDUMP_KERNELVER=""

# The kdump commandline is the command line that needs to be passed off to
KDUMP_COMMANDLINE=""
KDUMP_COMMANDLINE_REMOVE="hugepages hugepagesz slub_debug quiet log_buf_len swiotlb hugetlb_cma cma"
KDUMP_COMMANDLINE_APPEND="irqpoll nr_cpus=1 reset_devices"
KEXEC_ARGS="-s"

#Where to find the boot image
#KDUMP_BOOTDIR="/boot"
KDUMP_IMG="vmlinuz"
KDUMP_IMG_EXT=""
KDUMP_STDLOGLVL=3
KDUMP_SYSLOGLVL=0
"""


def sysconfig_of(text: str) -> Sysconfig:
    reading = read(text, file=FILE)
    assert reading.sysconfig is not None, reading.problems
    return reading.sysconfig


def codes(text: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.code) for problem in read(text, file=FILE).problems]


@pytest.mark.shows("KDUMP_STDLOGLVL", "KDUMP_SYSLOGLVL")
def test_a_file_as_it_is_shipped() -> None:
    assert sysconfig_of(FEDORA) == Sysconfig(
        kernel_version="",
        command_line="",
        command_line_remove="hugepages hugepagesz slub_debug quiet log_buf_len swiotlb hugetlb_cma cma",
        command_line_append="irqpoll nr_cpus=1 reset_devices",
        kexec_args="-s",
        image="vmlinuz",
        image_ext="",
        stdloglevel=3,
        sysloglevel=0,
    )
    assert codes(FEDORA) == []
    assert sysconfig_of(FEDORA).bootdir is None
    assert sysconfig_of(FEDORA).lines["KEXEC_ARGS"] == 10


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("KEXEC_ARGS=", ""),
        ("KEXEC_ARGS=-s", "-s"),
        ("KEXEC_ARGS='-s -d'", "-s -d"),
        ('KEXEC_ARGS="-s -d"\r\n', "-s -d"),
        ("  KEXEC_ARGS=-s # why", "-s"),
        ("KEXEC_ARGS=-s#x", "-s#x"),
        ("export KEXEC_ARGS=-s", "-s"),
        ("KEXEC_ARGS=a\\ b", "a b"),
        ("KEXEC_ARGS='a'\"b\"c", "abc"),
        ('KEXEC_ARGS="a \\"b\\" \\$c \\x"', 'a "b" $c \\x'),
        ("KEXEC_ARGS='$(reboot)'", "$(reboot)"),
        ('KEXEC_ARGS="a \\\n b"', "a  b"),
        ('KEXEC_ARGS="a\nb"', "a\nb"),
        ("KEXEC_ARGS=a\nKEXEC_ARGS=b", "b"),
        ("A=1; KEXEC_ARGS=b; C=3", "b"),
        ("A=1 KEXEC_ARGS=b", "b"),
        ('A=x\nKEXEC_ARGS="$A ${A}y"', "x xy"),
        ('KEXEC_ARGS=-s\nKEXEC_ARGS="$KEXEC_ARGS -d"', "-s -d"),
        ("KEXEC_ARGS=\\", ""),
    ],
)
def test_quoting(text: str, value: str) -> None:
    assert sysconfig_of(text).kexec_args == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reboot", [(1, "not-an-assignment")]),
        ("\n\nif true; then\n", [(3, "not-an-assignment")]),
        ("KEXEC_ARGS = x", [(1, "not-an-assignment")]),
        ("KEXEC_ARGS=a b", [(1, "not-an-assignment")]),
        ("A=1\nKEXEC_ARGS=$(cat /etc/shadow)\nB=2\nls\n", [(2, "needs-a-shell"), (4, "not-an-assignment")]),
        ('KEXEC_ARGS="`reboot`"', [(1, "needs-a-shell")]),
        ("KEXEC_ARGS=$HOME", [(1, "needs-a-shell")]),
        ("KEXEC_ARGS=${X:-y}", [(1, "needs-a-shell")]),
        ("KEXEC_ARGS=a|b", [(1, "needs-a-shell")]),
        ('A=1\nKEXEC_ARGS="a\nB=2\n', [(2, "unclosed-quote")]),
        ("KEXEC_ARGS='a", [(1, "unclosed-quote")]),
        ("KDUMP_STDLOGLVL=loud", [(1, "bad-number")]),
        ("KDUMP_STDLOGLVL=5", [(1, "bad-number")]),
        ("A=1\nKDUMP_BOOTDIR=boot", [(2, "bad-path")]),
        ("KEXEC_ARGS='a\x00b'", [(1, "bad-character")]),
        ("KEXEC_ARGS='a\udcffb'", [(1, "bad-character")]),
        ("MKDUMPRD_ARGS=(a b)\nKEXEC_ARGS=`x`", [(1, "needs-a-shell"), (2, "needs-a-shell")]),
    ],
)
def test_errors(text: str, expected: list[tuple[int, str]]) -> None:
    assert codes(text) == expected
    assert read(text, file=FILE).sysconfig is None


def test_what_is_not_ours_is_at_most_a_warning() -> None:
    text = "USE_KDUMP=1\nPATH=$HOME/bin\nMKDUMPRD_ARGS=x\nKDUMP_COMANDLINE=x\n"
    reading = read(text, file=FILE)
    assert reading.sysconfig == Sysconfig()
    assert [(problem.line, problem.code) for problem in reading.problems] == [
        (2, "needs-a-shell"),
        (4, "unknown-variable"),
    ]
    assert reading.problems[1].hint == "did you mean KDUMP_COMMANDLINE?"


@given(st.text(alphabet=st.sampled_from("KEXEC_ARGS=ab \t\n\r\"'\\$`#;{}()\x00\udcff")))
def test_no_text_is_too_odd(text: str) -> None:
    reading = read(text, file=FILE)
    assert all(problem.line >= 1 and problem.file == FILE for problem in reading.problems)


@given(st.text(alphabet=st.characters(codec="utf-8")).filter(str.isprintable))
def test_single_quotes_hold_anything(text: str) -> None:
    quoted = "'" + text.replace("'", "'\\''") + "'"
    assert sysconfig_of(f"KDUMP_COMMANDLINE_APPEND={quoted}\n").command_line_append == text


@pytest.mark.shows(*VARIABLES, *LOG_LEVELS)
def test_every_variable_is_read_into_its_place() -> None:
    texts = {name: f"/{field}" for name, field in VARIABLES.items()}
    read_back = sysconfig_of(
        "".join(f"{name}={text}\n" for name, text in texts.items())
        + "".join(f"{name}=2\n" for name in LOG_LEVELS)
    )
    assert {name: getattr(read_back, field) for name, field in VARIABLES.items()} == texts
    assert {getattr(read_back, field) for field in LOG_LEVELS.values()} == {2}
