"""How large the next dump would be: from the kinds of pages there are now, the dump level and the compression."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kdumpd.core.collector import is_makedumpfile, options

RATIOS = {"-c": 0.33, "-z": 0.31, "-l": 0.40, "-p": 0.40}
"""Size of a compressed dump to that of the same pages as they are: measured with a dump of 36,485 pages, -d 31."""

_ROW = re.compile(r"^(ZERO|NON_PRI_CACHE|PRI_CACHE|USER|FREE|KERN_DATA)\s+(\d+)\s", re.MULTILINE)
_PAGE_BYTES = re.compile(r"^page size:\s+(\d+)", re.MULTILINE)
_ZERO, _CACHE, _ALL_CACHE, _USER, _FREE = 1, 2, 4, 8, 16  # makedumpfile(8), -d


class Source(StrEnum):
    """What a forecast is made from."""

    PAGES = "pages"  # makedumpfile --mem-usage counted them
    MEMORY = "memory"  # all of it is saved
    DUMPS = "dumps"  # the largest that was saved here, and a quarter more


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """The pages of the running system by kind; each page is of one kind."""

    zero: int
    cache: int  # without private data
    private_cache: int
    user: int
    free: int
    kernel: int
    page_bytes: int

    def kept_bytes(self, level: int) -> int:
        """What a dump of this level (0 to 31) holds of them."""
        kept = self.kernel
        kept += 0 if level & _ZERO else self.zero
        kept += 0 if level & (_CACHE | _ALL_CACHE) else self.cache
        kept += 0 if level & _ALL_CACHE else self.private_cache
        kept += 0 if level & _USER else self.user
        kept += 0 if level & _FREE else self.free
        return kept * self.page_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    size_bytes: int
    source: Source


def parse_mem_usage(text: str) -> Pages | None:
    """What `makedumpfile --mem-usage /proc/kcore` prints; None where it is something else."""
    rows = {name: int(count) for name, count in _ROW.findall(text)}
    size = _PAGE_BYTES.search(text)
    if len(rows) != 6 or size is None:
        return None
    return Pages(
        zero=rows["ZERO"],
        cache=rows["NON_PRI_CACHE"],
        private_cache=rows["PRI_CACHE"],
        user=rows["USER"],
        free=rows["FREE"],
        kernel=rows["KERN_DATA"],
        page_bytes=int(size[1]),
    )


def forecast(
    collector: Sequence[str], *, memory_bytes: int, pages: Pages | None, saved_bytes: Sequence[int] = ()
) -> Forecast | None:
    """The size of a dump that this collector would make now; None where nothing tells.

    Of a list of levels the last counts, which is tried when those before it do not fit. A forecast from pages is on
    the safe side: 191 MB for a dump that was 151 MB. `saved_bytes` are the sizes of whole dumps of this machine.
    """
    if not is_makedumpfile(collector):
        return Forecast(size_bytes=memory_bytes, source=Source.MEMORY)
    given = [option for option in options(collector) if not isinstance(option, str)]
    ratio = min((RATIOS[option.name] for option in given if option.name in RATIOS), default=1.0)
    level = next((_last_level(option.value) for option in reversed(given) if option.name == "-d"), 0)
    if pages is not None:
        return Forecast(size_bytes=int(pages.kept_bytes(level) * ratio), source=Source.PAGES)
    if level == 0:
        return Forecast(size_bytes=int(memory_bytes * ratio), source=Source.MEMORY)
    if saved_bytes:
        return Forecast(size_bytes=max(saved_bytes) * 5 // 4, source=Source.DUMPS)
    return None


def _last_level(levels: str) -> int:
    last = levels.rpartition(",")[2].strip()
    return int(last) if last.isdecimal() else 0
