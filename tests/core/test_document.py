"""A document gives its text back, and an edit changes the bytes of one value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdumpd.core.document import Document, parse, value_problem
from kdumpd.core.problems import Trouble

ANYTHING = st.text(alphabet=st.characters(codec=None))
LINES = st.lists(
    st.sampled_from(
        [
            "path /var/crash\n",
            "\tpath  /a # c\r\n",
            "# path /x\n",
            "#path /x\n",
            "\n",
            "options a b=1\n",
            "options c d\n",
            "blacklist x\r\n",
            "path",
            "path # nothing\n",
            'core_collector "a b"\n',
            "raw\t/dev/sda#x\n",
            "junk\r",
            "  \n",
        ]
    )
).map("".join)
KEYS = st.sampled_from(["path", "options", "blacklist", "raw", "core_collector"])
WRITABLE = st.text(min_size=1).filter(lambda value: value_problem(value) is None)


@given(ANYTHING)
def test_any_text_is_given_back(text: str) -> None:
    assert parse(text).render() == text


@given(ANYTHING)
def test_the_parts_of_a_line_touch_and_lines_count_from_one(text: str) -> None:
    document = parse(text)
    assert [line.number for line in document.lines] == list(range(1, len(document.lines) + 1))
    for line in document.lines:
        assert line.key_span.end == line.separator_span.start
        assert line.separator_span.end == line.value_span.start
        assert line.text[line.value_span.end : line.content_end].strip(" \t\r\n") == ""
        assert "#" not in line.key + line.written_value


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("path /var/crash", "path", "/var/crash"),
        ("  path\t \t/var/crash \t", "path", "/var/crash"),
        ("path /var/crash\r", "path", "/var/crash"),
        ("path /var/crash # why", "path", "/var/crash"),
        ("path /var/crash#why", "path", "/var/crash"),
        ('path "/var/crash"', "path", "/var/crash"),
        ('path "/var/my crash" # why', "path", "/var/my crash"),
        ("path '/var/crash'", "path", "'/var/crash'"),
        ('x "a" "b"', "x", 'a" "b'),
        ('x "a"b', "x", '"a"b'),
        ('x "', "x", '"'),
        ('x ""', "x", ""),
        ('ext4 LABEL="a#b"', "ext4", 'LABEL="a'),
        ("path", "path", ""),
        ("path#", "path", ""),
        ("\ufeffpath /x", "path", "/x"),
        ("options e1000 a=1  b=2", "options", "e1000 a=1  b=2"),
    ],
)
def test_the_grammar(line: str, key: str, value: str) -> None:
    (parsed,) = parse(line).lines
    assert (parsed.key, parsed.value) == (key, value)
    assert parsed.is_setting


@pytest.mark.parametrize("line", ["", " ", "\t\r", "#", "  # path /x", "#path /x", "\r"])
def test_lines_that_set_nothing(line: str) -> None:
    assert parse(line).settings == ()


@pytest.mark.parametrize(
    ("line", "is_cut"),
    [
        ("ext4 LABEL=my#label", True),
        ('ext4 LABEL="my #label"', True),
        ("ext4 LABEL='my #label'", True),
        ('path "/a b" # comment', False),
        ("path /a # comment", False),
        ("path /a", False),
        ("path # comment", False),
    ],
)
def test_a_value_cut_by_a_comment_is_noticed(line: str, *, is_cut: bool) -> None:
    assert parse(line).lines[0].is_cut_by_comment is is_cut


@given(LINES, KEYS, WRITABLE)
def test_a_value_that_is_set_is_read_back(text: str, key: str, value: str) -> None:
    changed = parse(text).set(key, value)
    assert changed.values(key) == (value,)
    assert parse(changed.render()) == changed


@given(LINES, KEYS, st.lists(WRITABLE, max_size=4))
def test_several_values_are_read_back_in_order(text: str, key: str, values: list[str]) -> None:
    changed = parse(text).set(key, *values)
    assert changed.values(key) == tuple(values)
    assert parse(changed.render()) == changed


@given(LINES, KEYS, WRITABLE)
def test_only_the_touched_lines_change(text: str, key: str, value: str) -> None:
    before = parse(text)

    def untouched(document: Document) -> list[str]:
        return [line.text.rstrip("\r\n") for line in document.lines if line.key != key]

    assert untouched(before.set(key, value)) == untouched(before)


@given(LINES, KEYS, WRITABLE)
def test_a_hundred_saves_change_no_more_than_one(text: str, key: str, value: str) -> None:
    once = parse(text).set(key, value).render()
    again = once
    for _ in range(99):
        again = parse(again).set(key, value).render()
    assert again == once


@given(LINES, KEYS, WRITABLE)
def test_a_new_key_taken_out_again_leaves_nothing(text: str, key: str, value: str) -> None:
    before = parse(text)
    assume(key not in before.keys and not text.endswith("\r"))
    assert before.set(key, value).unset(key).render() == text


@given(LINES, KEYS, WRITABLE)
def test_a_missing_last_newline_survives(text: str, key: str, value: str) -> None:
    assume(text)
    assert parse(text).set(key, value).render().endswith("\n") == text.endswith("\n")


@given(ANYTHING, ANYTHING)
def test_a_value_is_written_so_that_it_is_read_back_or_refused(text: str, value: str) -> None:
    if value_problem(value) is None:
        assert parse(parse(text).set("path", value).render()).values("path") == (value,)
    else:
        with pytest.raises(Trouble, match="cannot be written"):
            parse(text).set("path", value)


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("  path \t /a   # why\r\n", "/b", "  path \t /b   # why\r\n"),
        ('path "/a b"\n', "/c", 'path "/c"\n'),
        ("path\n", "/a", "path /a\n"),
        ("path # why\n", "/a", "path /a # why\n"),
        ("path /a#why\n", "/b", "path /b#why\n"),
        ("path /a", "/b", "path /b"),
        ("", "/a", "path /a\n"),
        ("raw /x", "/a", "raw /x\npath /a"),
        ("raw /x\r\n", "/a", "raw /x\r\npath /a\r\n"),
        ("#path /x\nraw /y\n", "/a", "#path /x\npath /a\nraw /y\n"),
        ("#path /x\n#path /y\n#raw\n", "/a", "#path /x\n#path /y\npath /a\n#raw\n"),
        ("# path /x\nraw /y\n", "/a", "# path /x\npath /a\nraw /y\n"),
        (
            "# path <path>\n#   - explained\nraw /y\n",
            "/a",
            "# path <path>\n#   - explained\nraw /y\npath /a\n",
        ),
        ("# path [path] - explained\nraw /y\n", "/a", "# path [path] - explained\nraw /y\npath /a\n"),
        ("# path /x\n#path /y\nraw /z", "/a", "# path /x\n#path /y\npath /a\nraw /z"),
        ("raw /y\n#path /x", "/a", "raw /y\n#path /x\npath /a"),
        ("#pathological\nraw /y\n", "/a", "#pathological\nraw /y\npath /a\n"),
        ("path /a\npath /b\n", "/b", "path /b\n"),
        ("path /a\n", '"quoted"', 'path ""quoted""\n'),
    ],
)
def test_set(before: str, value: str, after: str) -> None:
    assert parse(before).set("path", value).render() == after


@pytest.mark.parametrize(
    ("values", "after"),
    [
        (("a x=1", "b y=2"), "options a x=1 # first\npath /p\noptions b y=2\n"),
        (("b y=2",), "path /p\noptions b y=2\n"),
        (("a x=1",), "options a x=1 # first\npath /p\n"),
        (("a x=3", "b y=2"), "options a x=3 # first\npath /p\noptions b y=2\n"),
        (("a x=1", "b y=2", "c z"), "options a x=1 # first\npath /p\noptions b y=2\noptions c z\n"),
        (("n", "a x=1", "b y=2"), "options n\noptions a x=1 # first\npath /p\noptions b y=2\n"),
        ((), "path /p\n"),
    ],
)
def test_set_of_a_repeated_key_keeps_the_lines_that_stay(values: tuple[str, ...], after: str) -> None:
    text = "options a x=1 # first\npath /p\noptions b y=2\n"
    assert parse(text).set("options", *values).render() == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("raw /x\npath /a\n", "raw /x\n"),
        ("raw /x\npath /a", "raw /x"),
        ("path /a", ""),
        ("#path /b\npath /a # why\n\nraw /x\n", "#path /b\n\nraw /x\n"),
        ("path /a\r\nraw /x\r\npath /b\r\n", "raw /x\r\n"),
        ("raw /x\n", "raw /x\n"),
    ],
)
def test_unset(before: str, after: str) -> None:
    assert parse(before).unset("path").render() == after


def test_rename_stays_in_its_place() -> None:
    assert parse("a\n  net  u@h # why\r\n").rename("net", "ssh", "v@h").render() == "a\n  ssh  v@h # why\r\n"


@pytest.mark.parametrize(
    "value", ["", "a#b", "a\nb", "a\rb", "a\x00b", " a", "a ", "\ta", "a\x7fb", "a\udcffb", "\ufeffa", "#"]
)
def test_a_value_that_cannot_be_written_is_refused(value: str) -> None:
    with pytest.raises(Trouble) as caught:
        parse("path /a\n").set("path", value)
    (problem,) = caught.value.problems
    assert problem.code == "value-cannot-be-written"
    assert problem.key == "path"


@pytest.mark.parametrize("key", ["", "a b", "a#", "#a", "a\n", "\ta"])
def test_a_key_that_cannot_be_written_is_refused(key: str) -> None:
    with pytest.raises(Trouble):
        parse("path /a\n").set(key, "x")


def test_the_file_of_rhel_6_gets_its_settings_after_their_examples() -> None:
    text = (Path(__file__).parent / "rhel6-kdump.conf").read_text()
    changed = parse(text).set("link_delay", "30").set("ext4", "/dev/sdb1").set("path", "/dumps")
    expected = text.replace("#link_delay 60\n", "#link_delay 60\nlink_delay 30\n")
    last_example = "#ext4 UUID=03138356-5e61-4ab3-b58e-27507ac41937\n"
    expected = expected.replace(last_example, f"{last_example}ext4 /dev/sdb1\n")
    assert changed.render() == expected.replace("\npath /var/crash\n", "\npath /dumps\n")


def test_an_empty_line_that_becomes_the_last_one_stays() -> None:
    assert parse("\npath").unset("path") == parse("\n")
