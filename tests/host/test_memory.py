"""Which pages are given back, and that whoever gives them back goes on."""

from __future__ import annotations

import subprocess
import sys

from kdumpd.host.memory import unchanged_pages


def mapping(line: str, **kib: int) -> str:
    counted = "".join(
        f"{name}: {kib.get(name, 0):8} kB\n"
        for name in ("Rss", "Private_Dirty", "Anonymous", "Swap", "Locked")
    )
    return f"{line}\n{counted}VmFlags: rd ex mr mw me\n"


SMAPS = "".join(
    (
        mapping("1000-2000 r-xp 00000000 fe:01 7    /usr/lib/libc.so.6", Rss=4),
        mapping("2000-3000 r--p 00000000 fe:01 7    /usr/lib/libc.so.6", Rss=4, Anonymous=4),  # relocated
        mapping("3000-4000 rw-p 00000000 fe:01 7    /usr/lib/libc.so.6", Rss=4),
        mapping("4000-5000 r-xp 00000000 fe:01 8    /usr/bin/python3.13", Rss=4),
        mapping("5000-6000 r--p 00000000 fe:01 9    /usr/lib/locale/C.utf8/LC_CTYPE", Rss=4),
        mapping("6000-7000 r-xp 00000000 00:00 0    [vdso]", Rss=4),
        mapping("7000-8000 rw-p 00000000 00:00 0 ", Rss=4, Anonymous=4),
        mapping("8000-9000 r-xp 00000000 fe:01 7    /usr/lib/a.so", Rss=4, Private_Dirty=4),
        mapping("9000-a000 r-xp 00000000 fe:01 7    /usr/lib/b.so", Rss=4, Locked=4),
        mapping("b000-c000 r--s 00000000 fe:01 7    /usr/lib/c.so", Rss=4),
        mapping(
            "c000-d000 r--p 00000000 fe:01 7    /usr/lib/libc.so.6", Swap=4
        ),  # relocated, and swapped out
        mapping("d000-e000 r-xp 00000000 fe:01 7    /usr/lib/d.so.1.2", Rss=4),
    )
)
GIVES_BACK = """
import json, sys
from kdumpd.host.memory import give_back
def file_kib():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssFile:")))
before = file_kib()
give_back()
after = file_kib()
json.loads('{"still": ["at", "work"]}')
print(before, after)
"""


def test_only_what_can_be_read_again_is_given_back() -> None:
    assert list(unchanged_pages(iter(SMAPS.splitlines(keepends=True)))) == [
        (0x1000, 0x2000),
        (0x4000, 0x5000),
        (0xD000, 0xE000),
    ]


def test_it_makes_a_process_smaller_and_leaves_it_at_work() -> None:
    said = subprocess.run(
        [sys.executable, "-c", GIVES_BACK], check=True, capture_output=True, text=True
    ).stdout.split()
    before, after = map(int, said)
    assert after < before * 0.7
