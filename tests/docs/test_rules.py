"""Every example of docs/rules.md does what the page says, by the product and by the definition of the language."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import naive_rules
import pytest
import yaml

from airflow_provider_atlan_meta.config import yaml_document
from airflow_provider_atlan_meta.config.subscriptions import parse_subscriptions
from airflow_provider_atlan_meta.core import conditions, pattern_parser
from airflow_provider_atlan_meta.core.changes import COLUMNS, OPS, ChangeEvent
from airflow_provider_atlan_meta.core.patterns import Pattern, compile_pattern
from airflow_provider_atlan_meta.core.routing import DestinationType

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
TEXT = PAGE.read_text()
DESTINATIONS = {
    "slack": DestinationType(conn_id="atlan_meta_slack_default", required=("channel",)),
    "webhook": DestinationType(),
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def examples() -> Iterator[tuple[str, str, bool]]:
    """pattern, change, whether it matches: of every table that begins with "pattern"."""
    inside = False
    for line in TEXT.splitlines():
        if line.startswith("| pattern |"):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and "---" not in line:
            pattern, fits, misses = cells(line)
            for expected, cell in ((True, fits), (False, misses)):
                for change in re.findall(r"`([^`]+)`", cell):
                    yield pattern.strip("`"), change, expected


def change_of(text: str) -> ChangeEvent:
    """``before → after``; one side left out: created or deleted; no arrow: something else changed."""
    before_text, arrow, after_text = text.partition("→")
    before = yaml.safe_load(before_text) if before_text.strip() else None
    after = yaml.safe_load(after_text) if arrow and after_text.strip() else before if not arrow else None
    stated = before or after or {}
    head = {name: value for name, value in stated.items() if name in pattern_parser.HEAD}
    columns = COLUMNS[head.get("kind", "incident")]
    fields: dict[str, Any] = {}
    if after is None:
        fields = {"op": "deleted", "before": row(before, columns)}
    elif before is None:
        fields = {"op": "created", "after": row(after, columns)}
    else:
        was, now = row(before, columns), row(after, columns)
        changed = [column for column in columns if was[column] != now[column]]
        told = {column: was[column] for column in changed}
        fields = {"op": "updated", "after": now, "changed": changed, "before": told}
    return ChangeEvent(
        **{
            "change_id": "eac9d351-45a2-7c3f-094d-25591c376f66",
            "kind": "incident",
            "tenant_id": "acme",
            "id": "1",
            "revision": 1,
            "changed_at": "2026-11-25T00:00:28.318675+00:00",
            **fields,
            **head,
        }
    )


def row(stated: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    assert set(stated) <= {*columns, *pattern_parser.HEAD}
    return {column: stated.get(column) for column in columns}


@pytest.mark.parametrize(("pattern", "change", "expected"), list(examples()))
def test_every_example_does_what_the_page_says(pattern: str, change: str, expected: bool) -> None:
    source, event = yaml.safe_load(pattern), change_of(change)
    compile_pattern(source, columns=COLUMNS)

    assert Pattern(source).matches(event) is expected
    assert naive_rules.matches(source, msgspec.to_builtins(event)) is expected


def test_every_operator_and_field_has_an_example() -> None:
    shown = " ".join(pattern for pattern, _, _ in examples())
    for word in (*conditions.OPERATORS, "changed", "before", "after", "$or", "from", "to", "kind", "op"):
        assert f"{word}:" in shown, word
    for column in {column for columns in COLUMNS.values() for column in columns}:
        assert f"`{column}`" in TEXT
    for word in (*pattern_parser.HEAD, *COLUMNS, *OPS):
        assert f"`{word}`" in TEXT
    assert len(list(examples())) >= 80


def test_the_limits_are_those_of_the_code() -> None:
    table = dict(
        cells(line)[:2] for line in TEXT.partition("## Limits")[2].splitlines() if line.startswith("| ")
    )

    assert table["values in one list"] == f"{conditions.MAX_VALUES:,}"
    assert table["characters of a text in a pattern"] == f"{conditions.MAX_TEXT:,}"
    assert table["conditions in one pattern"] == f"{pattern_parser.MAX_LEAVES:,}"
    assert table["levels of a pattern"] == str(pattern_parser.MAX_LEVELS)
    size = yaml_document.MAX_BYTES >> 20
    assert table["size of a file, levels, values in it"] == (
        f"{size} MiB, {yaml_document.MAX_DEPTH}, {yaml_document.MAX_NODES:,}"
    )


def test_the_files_on_the_page_are_taken(blocks: Callable[[Path], list[Any]]) -> None:
    files = [block for block in blocks(PAGE) if block.language == "yaml"]
    assert files
    for block in files:
        assert parse_subscriptions(block.text.encode(), file=block.where, destinations=DESTINATIONS)
