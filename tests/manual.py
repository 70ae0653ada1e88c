"""`python -m tests.manual`: writes the parts of the manual pages that follow from the tables of kdumpd.core.

The pages are kept in the repository; tests/core/test_manual.py sees that they are current.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from kdumpd.core.settings import SETTINGS, Affects, Setting
from kdumpd.core.targets import BLOCK_FILESYSTEMS, FITTING_FILESYSTEMS, UNFIT_FILESYSTEMS
from kdumpd.core.tuning import Tuning

BEGINNING = "<!-- begin: made from the table -->"
END = "<!-- end: made from the table -->"

COMMON_FILESYSTEMS = FITTING_FILESYSTEMS[:6]
"""Described together; the others are listed after them."""

EFFECTS: Mapping[Affects, str] = MappingProxyType(
    {
        Affects.BASE: "builds the image again",
        Affects.OVERLAY: "makes the small part of the image again",
        Affects.LOAD: "loads the image again",
        Affects.RUNTIME: "changes nothing in the image",
    }
)


def directives() -> str:
    """Every directive of kdump.conf, as the section of kdump.conf(5) has it."""
    return "\n".join(_directive(row) for row in _described(SETTINGS.values()))


def tuning_keys() -> str:
    """Every key of kdumpd.toml, as the section of kdumpd.toml(5) has it."""
    entries = []
    for name, row in Tuning.model_fields.items():
        default = row.default if isinstance(row.default, int | float) else f'"{row.default}"'
        entries.append(f"**{name}** = {default}\n: {row.description}\n")
    return "\n".join(entries)


def refreshed(page: str, section: str) -> str:
    """The page with what stands between the two marks replaced. Raises ValueError where a mark is missing."""
    start = page.index(BEGINNING) + len(BEGINNING)
    end = page.index(END, start)
    return f"{page[:start]}\n\n{section}\n{page[end:]}"


def _described(rows: Iterable[Setting]) -> Iterable[Setting]:
    return (row for row in rows if row.name not in BLOCK_FILESYSTEMS or row.name == COMMON_FILESYSTEMS[0])


def _directive(row: Setting) -> str:
    is_filesystem = row.name == COMMON_FILESYSTEMS[0]
    names = ", ".join(f"**{name}**" for name in (COMMON_FILESYSTEMS if is_filesystem else (row.name,)))
    argument = f" *{row.argument}*" if row.argument else ""
    sentences = [row.meaning.replace(f"the {row.name} file system", "the file system of that type")]
    if is_filesystem:
        sentences.append(f"Likewise {', '.join(FITTING_FILESYSTEMS[len(COMMON_FILESYSTEMS) :])}.")
        sentences.append(f"Refused, each with its reason: {', '.join(UNFIT_FILESYSTEMS)}.")
    if row.default:
        sentences.append(f"Default: `{row.default}`.")
    if row.repeats and row.needs_value:
        sentences.append("May be given more than once.")
    if row.was:
        sentences.append(f"Once called {', '.join(f'`{name}`' for name in row.was)}.")
    if row.deprecated:
        sentences.append("Accepted with a warning that names the line to write instead.")
    if row.needs_value:
        sentences.append(f"An edit {EFFECTS[row.affects]}.")
    return f"{names}{argument}\n: {' '.join(sentences)}\n"


DOCS = Path(__file__).parents[1] / "docs"
PAGES = MappingProxyType({"kdump.conf.5.md": directives, "kdumpd.toml.5.md": tuning_keys})

if __name__ == "__main__":
    for page, section in PAGES.items():
        (DOCS / page).write_text(refreshed((DOCS / page).read_text(), section()))
