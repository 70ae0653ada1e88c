"""The manual pages say what the tables say."""

from __future__ import annotations

import pytest

from kdumpd.core.settings import SETTINGS
from kdumpd.core.tuning import Tuning
from tests import manual
from tests.manual import DOCS, PAGES


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_current(page: str) -> None:
    text = (DOCS / page).read_text()
    assert manual.refreshed(text, PAGES[page]()) == text, "`python -m tests.manual` writes it anew"


@pytest.mark.parametrize("name", SETTINGS)
def test_every_directive_is_in_the_manual(name: str) -> None:
    assert name in manual.directives()
    assert SETTINGS[name].meaning.endswith(".")


@pytest.mark.parametrize("name", Tuning.model_fields)
def test_every_key_of_kdumpd_toml_is_in_the_manual(name: str) -> None:
    assert f"**{name}** = " in manual.tuning_keys()
