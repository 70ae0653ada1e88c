"""The manual pages say what the tables say. `python tests/core/test_manual.py` writes the sections anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpd.core import manual
from kdumpd.core.settings import SETTINGS
from kdumpd.core.tuning import Tuning

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {"kdump.conf.5.md": manual.directives, "kdumpd.toml.5.md": manual.tuning_keys}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_current(page: str) -> None:
    text = (DOCS / page).read_text()
    assert manual.refreshed(text, PAGES[page]()) == text, f"python {Path(__file__).name} refreshes {page}"


@pytest.mark.parametrize("name", SETTINGS)
def test_every_directive_is_in_the_manual(name: str) -> None:
    assert name in manual.directives()
    assert SETTINGS[name].meaning.endswith(".")


@pytest.mark.parametrize("name", Tuning.model_fields)
def test_every_key_of_kdumpd_toml_is_in_the_manual(name: str) -> None:
    assert f"**{name}** = " in manual.tuning_keys()


if __name__ == "__main__":
    for page, section in PAGES.items():
        (DOCS / page).write_text(manual.refreshed((DOCS / page).read_text(), section()))
