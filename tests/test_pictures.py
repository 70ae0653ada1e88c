"""The pictures that the README shows are there, and are of the program as it is: every label of its screen stands in them."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from tests.pictures import FOLDER, README, TEXTS, drawn, with_pictures

SHOWN = tuple(name for name in TEXTS if (FOLDER / f"{name}.svg").exists())
LABELS = ("Kdump is operational", "target", "image", "reservation", "last dump", "target test")


def words(svg: str) -> str:
    """What stands in an image, line by line."""
    texts = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")  # noqa: S314  # it is ours
    return "\n".join("".join(each.itertext()) for each in texts).replace("\xa0", " ")


def test_the_readme_shows_them() -> None:
    assert set(SHOWN) == set(TEXTS)
    assert with_pictures(README.read_text(), SHOWN) == README.read_text()


@pytest.mark.parametrize("name", ["status", "watch"])
def test_a_picture_is_of_the_program_as_it_is(name: str) -> None:
    svg = (FOLDER / f"{name}.svg").read_text()
    told = words(svg)
    for label in LABELS:
        assert re.search(rf"^ *{label}", told, flags=re.MULTILINE), label
    assert "url(" not in re.sub(r"url\(#[^)]*\)", "", svg), "nothing is fetched from elsewhere"


def test_what_is_drawn_is_what_the_terminal_showed() -> None:
    assert "green\n <and> plain\n" in words(drawn("x", "\x1b[32mgreen\x1b[0m <and> plain"))
