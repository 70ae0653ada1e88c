"""Roots of machines as one text file each: written by capture.py, unpacked by the tests.

    == /etc/fstab                 a file: the lines up to the next `==`
    == /usr/bin/busybox 755       with a mode
    == /etc/localtime base64      bytes
    == /sys/class/block/vda -> ../../devices/virtual/block/vda
    == /sys/block/dm-0/slaves/    an empty folder
    == include programs.txt       another such file, beside this folder

A line of a file that begins with `==` is written with a `\\` before it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HEADING = re.compile(r"== (?P<path>/\S*)(?: -> (?P<link>\S+)| (?P<form>base64|\d{3}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    path: str
    data: bytes = b""
    link: str = ""
    mode: int = 0o644

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")


def unpack(case: str, folder: Path) -> None:
    """Make the root of a case below `folder`."""
    lay(parse((HERE / case / "root.txt").read_text()), folder)


def lay(items: Iterable[Item], folder: Path) -> None:
    """What stands later replaces what was included."""
    for item in {item.path: item for item in items}.values():
        path = folder / item.path.strip("/")
        if item.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if item.link:
            path.symlink_to(item.link)
        else:
            path.write_bytes(item.data)
            path.chmod(item.mode)


def parse(text: str) -> Iterator[Item]:
    for part in re.split(r"^(?=== )", text, flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        if heading.startswith("== include "):
            yield from parse((HERE / heading.removeprefix("== include ")).read_text())
            continue
        found = HEADING.fullmatch(heading)
        if found is None:
            if heading.strip() and not heading.startswith("#"):
                raise ValueError(f"no heading: {heading!r}")
            continue
        path, link, form = found["path"], found["link"], found["form"]
        if link:
            yield Item(path=path, link=link)
        elif form == "base64":
            yield Item(path=path, data=base64.b64decode(body))
        else:
            plain = re.sub(r"^\\==", "==", body, flags=re.MULTILINE)
            yield Item(path=path, data=plain.encode(), mode=int(form, 8) if form else 0o644)


def render(items: list[Item]) -> str:
    return "".join(_rendered(item) for item in sorted(items, key=lambda item: item.path))


def _rendered(item: Item) -> str:
    if item.link:
        return f"== {item.path} -> {item.link}\n"
    if item.is_folder:
        return f"== {item.path}\n"
    try:
        text = item.data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or (text and not text.endswith("\n")):
        return f"== {item.path} base64\n{base64.b64encode(item.data).decode()}\n"
    mode = f" {item.mode:o}" if item.mode != 0o644 else ""
    return f"== {item.path}{mode}\n" + re.sub(r"^==", r"\\==", text, flags=re.MULTILINE)
