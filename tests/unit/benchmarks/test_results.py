"""Gates say what they promise, and a row has the fields its readers know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.results import FIELDS, Row, Verdict, row


def measured(ratio: float, target: float | None, *, at_most: bool = False, id: str = "B2") -> Row:
    return row(
        id,
        "events / peer",
        ours=10.0,
        peer=7.3,
        unit="µs",
        ratio=ratio,
        target=target,
        at_most=at_most,
        rounds=5,
    )


def test_a_row_has_the_promised_fields_and_more_only_as_details() -> None:
    made = measured(0.73, 0.7)
    assert tuple(made)[: len(FIELDS)] == FIELDS
    assert made["rounds"] == 5
    assert json.loads(json.dumps(made)) == made


@pytest.mark.parametrize(
    ("ratio", "target", "at_most", "expected"),
    [
        (6.0, 6.0, False, "pass"),
        (5.99, 6.0, False, "near"),
        (5.1, 6.0, False, "near"),
        (5.09, 6.0, False, "miss"),
        (1.05, 1.05, True, "pass"),
        (1.2, 1.05, True, "near"),
        (1.21, 1.05, True, "miss"),
        (0.0, 0, True, "pass"),
        (1.0, 0, True, "miss"),
        (0.1, None, False, "reported"),
    ],
)
def test_a_gate_is_passed_nearly_missed_or_missed(
    ratio: float, target: float | None, at_most: bool, expected: Verdict
) -> None:
    made = measured(ratio, target, at_most=at_most)
    assert results.verdict(made) == expected
    assert made["pass"] == (None if target is None else expected == "pass")


def test_rounding_never_turns_a_missed_gate_into_a_passed_one() -> None:
    made = measured(5.999999, 6.0)
    assert made["pass"] is False
    assert results.verdict(made) == "near"


def test_only_a_miss_fails_a_run() -> None:
    rows = [measured(6.1, 6.0), measured(5.2, 6.0), measured(1.0, None), measured(3.9, 6.0, id="B1")]
    assert results.missed(rows) == ["B1 events / peer"]


def test_a_run_of_some_benchmarks_keeps_what_others_measured_in_order() -> None:
    earlier = [measured(1.0, None, id="B1"), measured(2.0, None, id="B2"), measured(3.0, None, id="B12")]
    merged = results.merged(earlier, [measured(9.0, None, id="B2'"), measured(8.0, None, id="B2")])
    assert [(made["id"], made["ratio"]) for made in merged] == [
        ("B1", 1.0),
        ("B2", 8.0),
        ("B2'", 9.0),
        ("B12", 3.0),
    ]


def test_results_are_read_as_they_were_saved(tmp_path: Path) -> None:
    rows = [measured(0.73, 0.7)]
    results.save(rows, tmp_path / "results" / "latest.json")
    assert results.load(tmp_path / "results" / "latest.json") == rows


def test_the_page_keeps_its_words_and_gets_a_new_table() -> None:
    text = "# Benchmarks\n\n<!-- measured -->\nold\n<!-- end -->\n\nwords\n"
    page = results.page(text, [measured(0.73, 0.7)])
    assert "old" not in page
    assert "| B2 | events / peer | 10.0 | 7.3 | µs | 0.73 | ≥ 0.7 | pass |" in page
    assert page.endswith("<!-- end -->\n\nwords\n")
    assert results.page(page, [measured(0.73, 0.7)]) == page


def test_the_documentation_shows_the_latest_results() -> None:
    text = results.PAGE.read_text()
    assert results.page(text, results.load()) == text


def test_every_latest_result_has_the_promised_fields() -> None:
    for made in results.load():
        assert set(FIELDS) <= set(made), made
