"""What authors of front ends read: every member is explained, the pages are those of the files, and all tables agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kdumpd.service.bus.errors import ErrorName
from kdumpd.service.permissions import BUS_NAME, LOG_CONTROL, RULES
from tests.api.pages import API, MAN_PAGE, all_pages
from tests.api.reading import Face, Kind, face, faces, members

GUIDE = (API / "README.md").read_text(encoding="utf-8")
FACES = faces()
UNITS = ("bytes", "microseconds", "lines")


@pytest.mark.parametrize("path", sorted(all_pages(FACES, guide=GUIDE)), ids=lambda path: path.name)
def test_a_page_is_what_the_files_say_now(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == all_pages(FACES, guide=GUIDE)[path], (
        "`make api` writes it anew"
    )


def test_there_is_no_page_that_nothing_is_made_of() -> None:
    made = {path.name for path in all_pages(FACES, guide=GUIDE) if path.parent == API}
    assert {path.name for path in API.glob("*.md")} == {*made, "README.md"}


@pytest.mark.parametrize("told", FACES, ids=lambda told: told.short)
def test_everything_of_an_interface_is_explained(told: Face) -> None:
    assert told.title
    assert told.text
    for member in told.members:
        name = f"{told.short}.{member.name}"
        assert member.text, f"{name} has no sentence of its own"
        assert all(paragraph.endswith((".", ":")) for paragraph in member.text), (
            f"{name} ends in mid-sentence"
        )
        for argument in member.arguments:
            assert argument.text, f"{name} does not explain {argument.name}"
        if member.kind is Kind.METHOD:
            assert member.errors is not None, f"{name} does not say which errors it has"


@pytest.mark.parametrize("told", FACES, ids=lambda told: told.short)
def test_a_number_of_64_bits_has_its_unit(told: Face) -> None:
    for member in told.members:
        if member.signature == "t":
            assert any(unit in " ".join(member.text) for unit in UNITS), f"{told.short}.{member.name}"
        for argument in member.arguments:
            if argument.signature == "t":
                assert any(unit in argument.text for unit in UNITS), (
                    f"{told.short}.{member.name} {argument.name}"
                )


def test_what_a_comment_says_is_needed_is_what_the_table_asks_for() -> None:
    told = {name: member.action for name, member in members().items() if name in RULES}
    assert told == {name: rule.action for name, rule in RULES.items()}


def test_no_other_member_says_that_it_needs_anything() -> None:
    assert [name for name, member in members().items() if member.action and name not in RULES] == []


def test_every_option_is_refused_or_named_with_its_type() -> None:
    for (interface, name), member in members().items():
        for argument in member.arguments:
            if argument.name == "options" and argument.text not in {
                "The options every method takes.",
                "As for Set.",
            }:
                assert re.search(r'"[a-z-]+" \([a-z]+\)', argument.text), (
                    f"{interface}.{name}: {argument.text}"
                )


def test_the_guide_explains_each_error_and_no_other() -> None:
    explained = re.findall(r"^`(\w+)`\n: ", GUIDE, flags=re.MULTILINE)
    ours = {name.rpartition(".")[2] for name in ErrorName if name.startswith(f"{BUS_NAME}.Error.")}
    general = {"AccessDenied", "InteractiveAuthorizationRequired", "InvalidArgs", "LimitsExceeded"}
    assert sorted(explained) == sorted(ours | general)


def test_the_links_of_the_pages_lead_somewhere() -> None:
    for page in API.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
            there = API / target
            assert there.exists(), f"{page.name}: {target}"
            if anchor:
                heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), flags=re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_man_page_has_every_member() -> None:
    text = MAN_PAGE.read_text(encoding="utf-8")
    for told in FACES:
        part = text.split(f"## THE INTERFACE {told.name}\n")[1].split("\n## ")[0]
        assert sorted(
            re.findall(r"^(?:signal |property )?\*\*(\w+)\*\*", part, flags=re.MULTILINE)
        ) == sorted(member.name for member in told.members)


@pytest.mark.parametrize(
    ("comment", "wrong"),
    [
        ("Ping:\n  @gone: An argument that is not there.", "has no arguments gone"),
        ("Pong: Of something else.", "is of Pong"),
    ],
)
def test_a_comment_that_does_not_fit_is_a_fault(comment: str, wrong: str) -> None:
    text = f"<node><!-- {LOG_CONTROL}: --><interface name='{LOG_CONTROL}'><!-- {comment} --><method name='Ping'/></interface></node>"
    with pytest.raises(ValueError, match=wrong):
        face(text)
