"""Ten thousand dumps, listed within the limits of a message, and looked at again without being read again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from kdumpd.service.bus import Value
from kdumpd.service.interfaces import dump_path
from kdumpd.service.interfaces_dump import EXPORTED_AT_MOST, PAGE_AT_MOST
from kdumpd.service.permissions import DUMP, MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.service.test_interfaces import Served, served

MANY = 10_000


def name_of(number: int) -> str:
    return f"127.0.0.1-{2000 + number // 336}-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}-03:04:05"


def save_many(folder: Path) -> None:
    """Each third crashed in the same second as the one before it."""
    for number in range(MANY):
        dump = folder / name_of(number)
        dump.mkdir()
        (dump / "vmcore").write_bytes(b"core")
        crashed = (number - (number % 3 == 2) + 1) * 1_000_000
        text = (
            f'{{"result": "saved", "crashed_us": {crashed}, "panic": "{"p" * 200}", "kernel_release": "6.1"}}'
        )
        (dump / "summary.json").write_text(text)
        os.utime(dump, (1_600_000_000, 1_600_000_000))


async def pages(s: Served, *, most: int) -> list[Sequence[Mapping[str, Value]]]:
    found: list[Sequence[Mapping[str, Value]]] = []
    before: Value = 0
    last: Value = ""
    while True:
        (page,) = await s.client.call(
            ROOT, MANAGER, "ListDumps", "tua{sv}", before, most, {"before-id": last}
        )
        rows = cast("Sequence[Mapping[str, Value]]", page)
        if not rows:
            return found
        found.append(rows)
        before, last = rows[-1]["time"], rows[-1]["id"]


async def test_dumps_of_one_time_are_told_in_pages_as_well(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        for number in range(7):
            folder = s.world.root / "var/crash" / name_of(number)
            folder.mkdir()
            (folder / "vmcore").write_bytes(b"core")
            os.utime(folder / "vmcore", (0, 0))
        await s.finds.look(s.world.reconciler.sight)
        told = await pages(s, most=3)
        assert [len(page) for page in told] == [3, 3, 1]
        assert [row["id"] for page in told for row in page] == [
            name_of(number) for number in range(6, -1, -1)
        ]


async def test_ten_thousand_dumps(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        save_many(s.world.root / "var/crash")
        await s.finds.look(s.world.reconciler.sight)
        objects = [path for path, faces in (await s.client.objects(ROOT)).items() if DUMP in faces]
        newest = [dump_path(name_of(number)) for number in range(MANY - EXPORTED_AT_MOST, MANY)]
        assert sorted(objects) == sorted(newest)
        for most in (0, 700):
            told = await pages(s, most=most)
            listed = [row["id"] for page in told for row in page]
            assert len(listed) == len(set(listed)) == MANY
            assert sorted(listed, key=str, reverse=True) == listed
            assert max(len(page) for page in told) == (most or PAGE_AT_MOST)
            assert [row["object"] for page in told for row in page][: EXPORTED_AT_MOST + 1] == [
                *newest[::-1],
                "/",
            ]
        before = sum(s.world.files.reads.values())
        await s.finds.look(s.world.reconciler.sight)
        assert sum(s.world.files.reads.values()) - before < 10, "nothing of a dump is read again"
        assert len(s.finds.known) == MANY
