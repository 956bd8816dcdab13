"""What needs Airflow to be known: generated parts and DAGs. One file, so that one process imports it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"


def test_generated_parts_are_what_the_code_says(pages: list[Path], generator: ModuleType) -> None:
    """`make docs` writes them."""
    stale = [page.name for page in pages if generator.generated(page.read_text()) != page.read_text()]
    assert stale == []


def test_own_sets_take_the_arguments_that_are_told() -> None:
    from airflow_provider_atlan_meta.dag_factory import DagOptions

    text = (DOCS / "dags.md").read_text()
    table = text[text.index("## Own sets") : text.index("## The operators")]
    told = {
        name
        for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert told == {field.name for field in fields(DagOptions)}


def test_the_waits_between_tries_are_those_of_the_policy() -> None:
    from airflow_provider_atlan_meta.operators.retry import DELAYS_SECONDS, RETRY_DELAY_AFTER_KILL

    *first, last = [f"{delay:g}" for delay in DELAYS_SECONDS]
    text = f"after {', '.join(first)} and {last} s"
    assert text in README.read_text()
    assert text in (DOCS / "dags.md").read_text()
    assert (
        f"{RETRY_DELAY_AFTER_KILL.total_seconds():g} s after Airflow noticed"
        in (DOCS / "dags.md").read_text()
    )
