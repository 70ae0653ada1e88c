"""What the benchmark says of what it saw: medians, verdicts, and rows that nobody measured."""

from __future__ import annotations

import pytest

from tests.bench.figures import TITLES, Claim, Samples, at_most, figure, not_measured, number, pairs, ratio
from tests.bench.page import page


def _samples(*values: float, is_count: bool = False) -> Samples:
    return Samples(name="some", unit="s", values=values, is_count=is_count)


def test_medians_decide_and_not_means() -> None:
    claim = ratio(_samples(1, 1, 100), _samples(1, 1, 1), at_most=1.5)
    assert claim.value == 1
    assert claim.verdict == "met"


def test_a_missed_target_says_by_how_much() -> None:
    claim = ratio(_samples(3, 3, 3), _samples(1, 1, 1), at_most=1.5)
    assert not claim.is_met
    assert claim.verdict == "missed, by 100 %"
    assert Claim(value=0.01, at_most=0, unit="s").verdict == "missed"


def test_pairs_are_compared_one_by_one() -> None:
    ratios = pairs(_samples(2, 30, 3), _samples(1, 20, 2), name="pairs")
    assert ratios.values == (2, 1.5, 1.5)
    assert at_most(ratios, 1.5).is_met
    with pytest.raises(ValueError, match="shorter"):
        pairs(_samples(1, 2), _samples(1), name="pairs")


def test_fewer_than_three_repetitions_settle_nothing() -> None:
    claim = ratio(_samples(1, 1), _samples(1, 1, 1), at_most=1.5)
    assert claim.verdict.startswith("open")
    assert not figure("rearm", [claim]).is_met
    assert at_most(_samples(1, is_count=True), 1).verdict == "met"


def test_a_row_is_met_only_with_all_its_claims() -> None:
    good, bad = Claim(value=1, at_most=1, unit="x"), Claim(value=2, at_most=1, unit="x")
    assert figure("size", [good, good]).is_met
    assert not figure("size", [good, bad]).is_met
    assert not figure("size", []).is_met


@pytest.mark.parametrize(
    ("value", "told"), [(0.0, "0"), (0.1234, "0.12"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1234")]
)
def test_numbers_have_three_digits_that_count(value: float, told: str) -> None:
    assert number(value) == told


def test_the_page_has_every_row_and_says_what_was_not_measured() -> None:
    rows = {key: not_measured(key, "left out\nof this | run") for key in TITLES}
    rows["rearm"] = figure(
        "rearm", [Claim(value=2, at_most=1.5, unit="x")], samples=[_samples(2, 1, 3)], remarks=["a remark"]
    )
    text = page(rows.values(), when="today", minutes=1, versions={"QEMU": "7"}, notes=["a note"])
    for title, _ in TITLES.values():
        assert f"| {title} |" in text
    assert "| not measured | left out |" in text
    assert "| 1.5 x | 2 x | missed, by 33 % |" in text
    assert "0 of 12 targets met, 11 not measured" in text
    assert "some: 2 s (1 s to 3 s); in turn 2, 1, 3" in text
    assert {"| QEMU | 7 |", "* a remark", "* a note"} <= set(text.splitlines())
