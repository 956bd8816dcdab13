"""What pages state by hand is held to the code: connections, statuses, limits, messages, members, columns."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

from airflow_provider_atlan_meta import __version__
from airflow_provider_atlan_meta.config import connections
from airflow_provider_atlan_meta.core.tenancy import tenant_conn_id
from airflow_provider_atlan_meta.sandbox import store
from airflow_provider_atlan_meta.sandbox.processes import MARKER
from airflow_provider_atlan_meta.sandbox.registry import SERVERS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_provider_atlan_meta"
README = ROOT / "README.md"
DOCS = ROOT / "docs"


def rows(text: str) -> list[list[str]]:
    """Every table row as its cells."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def section(page: Path, heading: str) -> str:
    """From a heading to the next one of its level or above."""
    text = page.read_text()
    level, start = heading.split(" ")[0], text.index(f"\n{heading}\n")
    end = re.search(rf"^#{{1,{len(level)}}} ", text[start + len(heading) + 2 :], re.MULTILINE)
    return text[start : start + len(heading) + 2 + end.start()] if end else text[start:]


@cache
def literals() -> list[str]:
    """Every text in the product's code, joined where Python joins it."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


# ---- connections ---------------------------------------------------------------------------------------------------


def test_the_connections_are_those_of_the_code_with_their_roles() -> None:
    table = {row[0].strip("`"): row for row in rows(section(README, "### Connections")) if row[0] != "id"}

    own = {value for name, value in vars(connections).items() if name.isupper() and isinstance(value, str)}
    assert set(table) == own | {tenant_conn_id(system, "<tenant>") for system in ("montecarlo", "atlan")}
    for conn_id, role in store._ROLES.items():
        assert table[conn_id][2] == f"`{role}`"
    assert table[connections.POSTGRES_ADMIN][2] == "a superuser"


def test_no_page_names_a_connection_that_does_not_exist(pages: list[Path]) -> None:
    known = {value for name, value in vars(connections).items() if name.isupper() and isinstance(value, str)}
    for page in pages:
        named = set(
            re.findall(r"\batlan_meta_[a-z_]+_(?:default|admin|reader|consumer|cdc)\b", page.read_text())
        )
        assert named <= known, page.name


# ---- producer ------------------------------------------------------------------------------------------------------


def refusals() -> set[tuple[int, str]]:
    """Status and body of every answer of the producer that does not depend on its request."""
    from airflow_provider_atlan_meta.services import (
        atlan_receiver,
        bearer_tenants,
        event_receiver,
        intake,
        webhook_receiver,
    )
    from airflow_provider_atlan_meta.services.answers import Answer

    return {
        (value.status, value.body.decode())
        for module in (intake, webhook_receiver, atlan_receiver, bearer_tenants, event_receiver)
        for value in vars(module).values()
        if isinstance(value, Answer) and value.status >= 300
    }


def test_every_status_of_the_producer_is_told_and_no_other() -> None:
    told = {int(row[0]) for row in rows(section(DOCS / "producer.md", "## Answers")) if row[0].isdigit()}
    assert told == {status for status, _ in refusals()} | {200, 202, 400}


def test_the_cures_quote_what_the_producer_says() -> None:
    said = refusals()
    table = rows(section(DOCS / "troubleshooting.md", "## Answers of the producer"))[1:]
    for status, message, *_ in table:
        assert any(message in body for code, body in said if code == int(status)), message
    assert {int(row[0]) for row in table} == {status for status, _ in said} - {400}


def test_limits_are_those_of_the_code() -> None:
    from airflow_provider_atlan_meta.clients.kafka_topics import RETENTION_DAYS
    from airflow_provider_atlan_meta.core import enrich, events, montecarlo
    from airflow_provider_atlan_meta.services import intake, tenant_secrets

    assert events.MAX_BODY_BYTES == 1 << 20
    limits = section(README, "## Limits")
    for number in (
        f"{events.MAX_DEPTH} levels",
        f"{events.MAX_SUBJECT} characters",
        f"{enrich._MAX_TEXT:,} characters",
        f"cut at {montecarlo.MAX_TITLE:,}",
        f"at most {tenant_secrets._MAX_SECRETS} valid secrets",
        f"within {intake._BODY_SECONDS:.0f} s",
    ):
        assert number in limits
    assert events.MAX_TYPE == events.MAX_SUBJECT
    assert f"{RETENTION_DAYS['events']} days" in section(README, "## Guarantees")
    assert f"{RETENTION_DAYS['dead-letter']} days" in (ROOT / "SECURITY.md").read_text()


def test_the_record_is_told_with_every_header_and_field() -> None:
    from airflow_provider_atlan_meta.core import events

    text = section(DOCS / "producer.md", "## What is put on the topic")
    headers = {value for name, value in vars(events).items() if name.startswith("CE_")}
    for name in {*headers, events.RECEIVED_AT, events.CONTENT_TYPE, events.TRACEPARENT}:
        assert f"`{name}`" in text
    for name in {*events.EventHead.__struct_fields__, "data"}:
        assert f"`{name}`" in text


# ---- DAGs ----------------------------------------------------------------------------------------------------------


def test_the_settings_of_the_dags_are_all_named() -> None:
    from airflow_provider_atlan_meta.config.settings import SETTINGS

    text = section(DOCS / "dags.md", "## Settings of the shipped DAGs")
    for setting in SETTINGS:
        if setting.name.startswith(("dag_", "alert_")):
            assert f"`{setting.name}`" in text


def test_settings_named_anywhere_exist(pages: list[Path]) -> None:
    from airflow_provider_atlan_meta.config.settings import SETTINGS

    known = {setting.environment_variable for setting in SETTINGS} | {"AIRFLOW__ATLAN_META__"}
    for page in pages:
        assert set(re.findall(r"AIRFLOW__ATLAN_META__[A-Z_]*", page.read_text())) <= known, page.name


# ---- schema --------------------------------------------------------------------------------------------------------


def test_every_table_and_column_is_told() -> None:
    sql = migrations_sql()
    tables = re.findall(r"^create table meta\.(\w+) \(\n(.*?)^\)", sql, re.MULTILINE | re.DOTALL)
    assert len(tables) > 10
    page = DOCS / "schema.md"
    for table, body in tables:
        heading = next(
            line for line in page.read_text().splitlines() if line.startswith("### ") and f"`{table}`" in line
        )
        text = section(page, heading)
        for column in re.findall(r'^  "?(\w+)"? [a-z]', body, re.MULTILINE):
            if column != "primary":
                assert f"`{column}`" in text, f"{table}.{column}"
    for table, body in re.findall(r"^alter table meta\.(\w+)\n(.*?);", sql, re.MULTILINE | re.DOTALL):
        for column in re.findall(r"add column (\w+)", body):
            assert f"`{column}`" in section(page, f"### `{table}`"), f"{table}.{column}"


def migrations_sql() -> str:
    return "\n".join(file.read_text() for file in sorted((PACKAGE / "migrations" / "versions").glob("*.sql")))


def test_every_role_is_told() -> None:
    sql = migrations_sql()
    text = section(DOCS / "schema.md", "## Roles")
    for role in set(re.findall(r"'(meta_\w+)'", sql)):
        assert f"`{role}`" in text


# ---- sandbox -------------------------------------------------------------------------------------------------------


def test_the_members_of_the_sandbox_are_told_with_what_they_bring() -> None:
    table = {row[0].strip("`"): row[2] for row in rows((DOCS / "sandbox.md").read_text())[1:]}
    assert list(table) == list(SERVERS) or set(table) == set(SERVERS)
    for name, server in SERVERS.items():
        assert set(re.findall(r"`([\w-]+)`", table[name])) == {*server.needs, *server.brings}


def test_variables_of_the_sandbox_are_told() -> None:
    text = (DOCS / "settings.md").read_text()
    named = {text for text in literals() if re.fullmatch(r"ATLAN_META_(SANDBOX_[A-Z_]+|CACHE)", text)}
    assert MARKER in named
    for name in named - {MARKER}:
        assert f"`{name}`" in text


# ---- messages ------------------------------------------------------------------------------------------------------

_VALUE = re.compile(
    r"\.\.\.|\[[^\]]*, [^\]]*\]|'?meta\.events\.v1'?(?:/\d+)?|'?atlan_meta_kafka_default'?|AIRFLOW_CONN_[A-Z_]+|\d+"
)


def test_messages_that_are_quoted_are_those_of_the_code() -> None:
    """Values are cut out of a quote; what is left between them must stand in the code."""
    texts = [re.sub(r"\s+", " ", text) for text in literals()]
    quotes = re.findall(r"^> (.+)$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(quotes) > 15
    for quote in quotes:
        fragments = [part.strip(" ;:,.()'`") for part in _VALUE.split(quote)]
        for fragment in fragments:
            if len(fragment) > 6:
                assert any(fragment in text for text in texts), f"{quote!r}: {fragment!r}"


def test_the_changelog_has_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_generated_json_matches_no_secret(all_blocks: list[Any]) -> None:
    """Examples carry dots where a secret would stand."""
    for block in all_blocks:
        for secret in re.findall(
            r'"(?:webhook_secret|password|montecarlo_webhook_secret|atlan_webhook_secret)": "([^"]*)"',
            block.text,
        ):
            assert secret == "...", block.where
