"""The page about Cassandra tells the tables as they are made."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_provider_atlan_meta.clients.cassandra import TABLES

PAGE = Path(__file__).parents[2] / "docs" / "cassandra.md"


def test_every_table_and_column_of_cassandra_is_told() -> None:
    rows = re.findall(r"^\| `(\w+_by_\w+)` \|(.+)$", PAGE.read_text(), re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", rest)) for name, rest in rows}
    made = {
        re.findall(r"\{keyspace\}\.(\w+)", text)[0]: set(
            re.findall(
                r"(?:^|,) *(\w+) (?:text|uuid|int|blob|timestamp|date|bigint|frozen)", text, re.MULTILINE
            )
        )
        for text in TABLES
    }

    assert told == made
    assert sum(map(len, made.values())) == 33
