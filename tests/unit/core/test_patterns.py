"""What a pattern refuses, with place and cure; what it explains; and that no value can hurt it."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core.changes import COLUMNS, ChangeEvent
from airflow_provider_atlan_meta.core.conditions import MAX_TEXT, MAX_VALUES, OPERATORS, shown
from airflow_provider_atlan_meta.core.errors import PatternError
from airflow_provider_atlan_meta.core.patterns import Pattern, compile_pattern, explain

CHANGE = ChangeEvent(
    change_id="eac9d351-45a2-7c3f-094d-25591c376f66",
    kind="incident",
    op="updated",
    tenant_id="acme",
    id="inc-1",
    revision=3,
    changed_at="2026-11-25T00:00:28.323789+00:00",
    changed=["status"],
    before={"status": "ACKNOWLEDGED"},
    after={
        **dict.fromkeys(COLUMNS["incident"]),
        "status": "FIXED",
        "severity": "SEV-2",
        "title": "Has 42 rows",
        "entity_ids": ["e1", "e2"],
    },
)


def row(**columns: Any) -> ChangeEvent:
    assert CHANGE.after is not None
    return msgspec.structs.replace(CHANGE, after={**CHANGE.after, **columns})


def problems(pattern: Any) -> dict[str, str]:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern, columns=COLUMNS)
    return {".".join(map(str, path)): text for path, text in caught.value.problems}


@pytest.mark.parametrize(
    ("pattern", "place", "said"),
    [
        ({"severity": []}, "severity", "fits nothing"),
        ({"severity": [["SEV-1"]]}, "severity.0", "a list is no value"),
        ({"severity": "x" * (MAX_TEXT + 1)}, "severity", "1024"),
        ({"severity": ["x"] * (MAX_VALUES + 1)}, "severity", "1000"),
        ({"severity": [float("inf")]}, "severity.0", "64 bits"),
        ({"severity": [{"prefix": "a", "suffix": "b"}]}, "severity.0", "stands alone"),
        ({"severity": [{}]}, "severity.0", "stands alone"),
        ({"severity": {"prefix": "SEV"}}, "severity.prefix", "in a list: [{prefix: ...}]"),
        ({"severity": {"regex": "SEV"}}, "severity.regex", "in a list"),
        ({"severity": {}}, "severity", "leave it out"),
        ({"title": [{"regex": ".*"}]}, "title.0.regex", "use wildcard"),
        ({"title": [{"contains": "x"}]}, "title.0.contains", '"*text*"'),
        ({"title": [{"startswith": "x"}]}, "title.0.startswith", "use prefix"),
        ({"title": [{"anything_but": "x"}]}, "title.0.anything_but", "use anything-but"),
        ({"title": [{"prefx": "x"}]}, "title.0.prefx", "use prefix"),
        ({"title": [{"zzz": "x"}]}, "title.0.zzz", ", ".join(OPERATORS)),
        ({"title": [{"prefix": ""}]}, "title.0.prefix", "1 to 1024 characters"),
        ({"title": [{"prefix": 7}]}, "title.0.prefix", "not 7"),
        ({"title": [{"suffix": {"wildcard": "x"}}]}, "title.0.suffix", "a text"),
        ({"title": [{"equals-ignore-case": [1]}]}, "title.0.equals-ignore-case", "a text"),
        ({"title": [{"wildcard": "a\\b"}]}, "title.0.wildcard", r"only \* and \\"),
        ({"title": [{"wildcard": "a\\"}]}, "title.0.wildcard", r"single \;"),
        ({"title": [{"exists": "yes"}]}, "title.0.exists", "true or false"),
        ({"title": [{"anything-but": []}]}, "title.0.anything-but", "1 to 1000"),
        ({"title": [{"anything-but": {"numeric": [">", 1]}}]}, "title.0.anything-but", "prefix, suffix"),
        ({"title": [{"anything-but": [["x"]]}]}, "title.0.anything-but.0", "is no value"),
        ({"revision": [{"numeric": [">"]}]}, "revision.0.numeric", '[">=", 1, "<", 10]'),
        ({"revision": [{"numeric": ["!=", 5]}]}, "revision.0.numeric", "< <= = > >="),
        ({"revision": [{"numeric": [">", "5"]}]}, "revision.0.numeric", "a number"),
        ({"revision": [{"numeric": [">", True]}]}, "revision.0.numeric", "a number"),
        ({"revision": [{"numeric": [["<"], 5]}]}, "revision.0.numeric", "a number"),
        ({"revision": [{"gt": 5}]}, "revision.0.gt", "numeric"),
        ({"status": [{"from": "a"}]}, "status.0.from", "beside the column, without a list"),
        ({"status": {"from": "a", "until": "b"}}, "status.from", "and nothing else"),
        ({"status": {"to": []}}, "status.to", "fits nothing"),
        ({"statsu": "FIXED"}, "statsu", "did you mean 'status'?"),
        ({"statsu": "FIXED"}, "statsu", "other fields: kind, op,"),
        ({"kind": "entity", "status": "FIXED"}, "status", "no column 'status' in entity; there are: qualified_name"),
        ({"before": {"ownr": "x"}}, "before.ownr", "did you mean 'owner'?"),
        ({"before": "x"}, "before", "a mapping of columns"),
        ({"changed": ["ownr"]}, "changed.0", "did you mean 'owner'?"),
        ({"changed": []}, "changed", "names of columns"),
        ({"changed": {"status": ["x"]}}, "changed", "status: {from: [...], to: [...]}"),
        ({"op": ["create"]}, "op", "did you mean 'created'? there are: created, updated, deleted"),
        ({"kind": "incidents"}, "kind", "did you mean 'incident'?"),
        ({"tenant": "acme"}, "tenant", "beside match"),
        ({"$or": {"status": "x"}}, "$or", "a list of patterns"),
        ({"$or": []}, "$or", "a list of patterns"),
        ({"$or": [{}]}, "$or.0", "asks nothing"),
        ({"$or": [{"status": "x"}, {"ownr": "x"}]}, "$or.1.ownr", "owner"),
        ({"$or": ["x"]}, "$or.0", "a mapping of fields"),
        ({7: "x"}, "", "no name of a field"),
        ({"x" * 300: "x"}, "", "no name of a field"),
        (["x"], "", "a mapping of fields"),
        ({"$or": [{"owner": "x"}] * 1001}, "$or.1000.owner", "more than 1000 conditions"),
        ({"before": {"status": {"from": "x"}}}, "before.status.from", "of a column at the top"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_its_cure(pattern: Any, place: str, said: str) -> None:
    assert said in problems(pattern)[place]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = problems({"statsu": "x", "title": [{"regex": "x"}, {"contains": "y"}], "op": "create"})

    assert list(found) == ["statsu", "title.0.regex", "title.1.contains", "op"]


def test_a_pattern_nested_without_end_is_refused() -> None:
    pattern: Any = {"status": "x"}
    for _ in range(5000):
        pattern = {"$or": [pattern]}

    (place,) = problems(pattern)
    assert place.count("$or") <= 7


def test_without_a_table_of_columns_any_name_may_be_one() -> None:
    assert Pattern({"tier": "gold"}).matches(row(tier="gold"))
    assert not Pattern({"tier": "gold"}).matches(CHANGE)


def test_one_value_and_a_list_of_one_say_the_same() -> None:
    short = Pattern(
        {"kind": "incident", "status": {"to": "FIXED"}, "changed": "status", "$or": [{"op": "updated"}]}
    )
    long = Pattern(
        {
            "kind": ["incident"],
            "status": {"to": ["FIXED"]},
            "changed": ["status"],
            "$or": [{"op": ["updated"]}],
        }
    )

    assert short == long
    assert hash(short) == hash(long)
    assert short.matches(CHANGE)
    assert Pattern({"kind": "entity"}) != short
    assert short != "pattern"
    assert "FIXED" in repr(short)


@pytest.mark.parametrize("pattern", [{}, {"status": [{"exists": True}]}, {"status": [{"anything-but": "x"}]}])
def test_patterns_that_ask_little_match(pattern: dict[str, Any]) -> None:
    assert Pattern(pattern).matches(CHANGE)


def test_numbers_booleans_and_texts_are_never_taken_for_each_other() -> None:
    for one, other in [(1, True), (0, False), (1, "1"), (None, "null"), (None, False), (0, None)]:
        assert not Pattern({"title": [one]}).matches(row(title=other))
        assert not Pattern({"title": [other]}).matches(row(title=one))
        assert Pattern({"title": [{"anything-but": one}]}).matches(row(title=other))
    assert Pattern({"title": [1]}).matches(row(title=1.0))


def test_an_array_fits_when_one_element_does_and_is_refused_when_one_is_refused() -> None:
    assert Pattern({"entity_ids": ["e2"]}).matches(CHANGE)
    assert not Pattern({"entity_ids": ["e3"]}).matches(CHANGE)
    assert not Pattern({"entity_ids": [{"anything-but": "e2"}]}).matches(CHANGE)
    assert Pattern({"entity_ids": [{"anything-but": "e3"}]}).matches(CHANGE)


@pytest.mark.parametrize(
    ("wildcard", "fits", "misses"),
    [
        ("*", ["", "a"], []),
        ("a*", ["a", "ab"], ["", "ba"]),
        ("*a", ["a", "ba"], ["ab"]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
        ("*ab*ba*", ["abba", "xabxbax"], ["aba", "abaa", "baab"]),
        ("*a*a*", ["aa", "xaxax"], ["a"]),
        ("a**b", ["ab", "acb"], ["a"]),
        ("abc", ["abc"], ["abcd", "xabc"]),
        (r"\*a\\*", ["*a\\", "*a\\b"], ["xa\\", "*a"]),
    ],
)
def test_a_star_is_any_text_and_may_be_escaped(wildcard: str, fits: list[str], misses: list[str]) -> None:
    pattern = Pattern({"title": [{"wildcard": wildcard}]})

    assert [title for title in fits + misses if pattern.matches(row(title=title))] == fits


def test_what_lies_in_the_objects_of_an_array_is_put_together() -> None:
    change = row(attributes={"columns": [{"tags": ["pii", "eu"]}, {"tags": "key"}, {"name": "id"}, "text"]})

    for tag in ("pii", "eu", "key"):
        assert Pattern({"attributes": {"columns": {"tags": [tag]}}}).matches(change)
    assert not Pattern({"attributes": {"columns": {"tags": [{"anything-but": "eu"}]}}}).matches(change)
    assert Pattern({"attributes": {"columns": {"owner": [{"exists": False}]}}}).matches(change)


def test_an_explanation_names_each_leaf_and_the_value_that_decided() -> None:
    pattern = Pattern(
        {
            "kind": "incident",
            "severity": ["SEV-1"],
            "status": {"from": [None], "to": ["FIXED"]},
            "owner": {"to": ["dana"]},
            "changed": ["owner"],
            "tier": ["gold"],
            "$or": [{"title": [{"prefix": "Has"}]}, {"before": {"status": ["ACKNOWLEDGED"]}}],
        }
    )

    assert [str(leaf) for leaf in explain(pattern, CHANGE)] == [
        'match.kind: found "incident", wanted ["incident"]: match',
        'match.severity: found "SEV-2", wanted ["SEV-1"]: no match',
        'match.status.from: found "ACKNOWLEDGED", wanted [null]: no match',
        'match.status.to: found "FIXED", wanted ["FIXED"]: match',
        'match.owner.to: found unchanged null, wanted ["dana"]: no match',
        'match.changed: found ["status"], wanted ["owner"]: no match',
        'match.tier: found nothing, wanted ["gold"]: absent',
        'match.$or[0].title: found "Has 42 rows", wanted [{"prefix": "Has"}]: match',
        'match.$or[1].before.status: found "ACKNOWLEDGED", wanted ["ACKNOWLEDGED"]: match',
    ]


@pytest.mark.parametrize(
    "hostile", ["x" * 100_000, "\n\r\x1b[31m\u202e\u2028", ["y" * 50] * 1000, {"a": "\u202e"}]
)
def test_what_an_explanation_shows_stays_one_short_line(hostile: Any) -> None:
    (leaf,) = explain(Pattern({"title": ["x"]}), row(title=hostile))

    assert len(leaf.found) < 1300
    assert leaf.found.isprintable()


def test_a_value_no_json_can_spell_is_still_shown() -> None:
    assert shown({"a": object()}) == "a dict"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ALL_OPERATORS = Pattern(
    {
        "title": [
            "a", 1, None, True,
            {"prefix": "a"}, {"suffix": {"equals-ignore-case": "A"}}, {"equals-ignore-case": "a"},
            {"wildcard": "a*b"}, {"numeric": [">", 1]}, {"anything-but": {"wildcard": "*a*"}}, {"exists": False},
        ],
        "status": {"from": [{"numeric": ["<", 0]}], "to": [{"anything-but": [1, "a"]}]},
        "owner": {"a": {"b": ["x"]}, "$or": [{"c": [1]}, [{"prefix": "x"}]]},
    }
)  # fmt: skip


@given(JSON, JSON, JSON)
@settings(max_examples=60, deadline=None)
def test_no_value_makes_a_pattern_raise(title: Any, status: Any, owner: Any) -> None:
    change = msgspec.structs.replace(
        row(title=title, status=status, owner=owner), changed=["status"], before={"status": owner}
    )

    assert ALL_OPERATORS.matches(change) in (True, False)
    assert len(explain(ALL_OPERATORS, change)) == 6


@given(JSON)
@settings(max_examples=60, deadline=None)
def test_no_source_makes_the_compiler_raise_anything_else(source: Any) -> None:
    for pattern in ({"title": source}, {"$or": source}, {"before": source}, {"changed": source}, source):
        with contextlib.suppress(PatternError):
            compile_pattern(pattern, columns=COLUMNS)


@pytest.mark.parametrize(
    "wildcard",
    ["*a" * 20 + "*b", "*" + "a" * 500 + "b*", "a*" * 200 + "b", "*" * 1000 + "b"],
)
def test_a_wildcard_takes_linear_time_on_the_worst_text(wildcard: str) -> None:
    pattern = Pattern({"title": [{"wildcard": wildcard}]})
    change = row(title="a" * 500_000)
    assert not pattern.matches(row(title="a"))

    started = time.process_time()
    assert not pattern.matches(change)

    assert time.process_time() - started < 0.5
