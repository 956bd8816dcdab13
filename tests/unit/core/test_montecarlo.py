"""What each webhook says of its incident: the mapping, sample by sample and rule by rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.montecarlo import (
    TERMINAL_STATUSES,
    normalise_severity,
    normalise_status,
    parse_webhook,
    provisional_entity,
    statement_of,
)
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS, EntityRow, Statement

SAMPLES = Path(__file__).parents[2] / "fixtures" / "montecarlo"
ACCOUNT = "3f1c1c2e-5a0b-4c55-9c1d-0a6b7e4f2a10"
NOW = 1_795_000_000_000_000
ORDERS = f"mc:{ACCOUNT}:analytics:sales.orders"


def say(body: bytes | dict[str, Any], tenant: str = "acme") -> tuple[Statement, tuple[EntityRow, ...]]:
    webhook = parse_webhook(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert webhook.payload is not None
    return statement_of(webhook, webhook.payload, tenant, NOW)


def said(body: bytes | dict[str, Any]) -> dict[str, Any]:
    """What is said, by name; what is not said is absent."""
    statement, _ = say(body)
    return {name: value for name, value in zip(INCIDENT_FIELDS, statement, strict=True) if value is not UNSET}


def payload(**fields: Any) -> dict[str, Any]:
    return {"type": "open_anomaly_incident", "payload": {"incident_id": "inc-1", **fields}}


def entity_of(qualified_name: str) -> bytes:
    return identity.entity_id("acme", "montecarlo", qualified_name)


ORDERS_ANOMALY = {
    "source": "montecarlo",
    "type": "open_anomaly_incident",
    "title": "Has 42 rows vs. 101 expected",
    "url": "https://getmontecarlo.com/incidents/0b9d3c8e-2f67-4d0a-8c42-6f1f5f3a7e11",
    "opened_at": NOW,
    "entity_ids": (entity_of(ORDERS),),
}


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("webhook_open_anomaly.v0.1", ORDERS_ANOMALY),
        (
            "webhook_open_custom_rule.v0.1",
            {
                "source": "montecarlo",
                "type": "open_custom_rule_anomaly_incident",
                "title": "Orders row count must stay above 49",
                "url": "https://getmontecarlo.com/incidents/5e4d7a90-1b3c-4f1e-9a77-2c9b8d6e0f34",
                "opened_at": NOW,
                "entity_ids": (),
            },
        ),
        (
            "webhook_update_acknowledged.ASSUMED_PLACEMENT",
            {**ORDERS_ANOMALY, "status": "ACKNOWLEDGED", "resolved_at": None, "severity": None},
        ),
        (
            "webhook_update_declared_incident.ASSUMED_PLACEMENT",
            {
                **ORDERS_ANOMALY,
                "status": "ACKNOWLEDGED",
                "resolved_at": None,
                "severity": "SEV-1",
                "owner": "dana@example.com",
            },
        ),
        (
            "webhook_update_resolved_toplevel.ASSUMED_PLACEMENT",
            {**ORDERS_ANOMALY, "status": "FIXED", "resolved_at": NOW, "severity": "SEV-1"},
        ),
    ],
)
def test_every_sample_says_what_the_mapping_says(sample: str, expected: dict[str, Any]) -> None:
    assert said((SAMPLES / f"{sample}.json").read_bytes()) == expected


def test_every_sample_is_in_the_table_above() -> None:
    assert len(list(SAMPLES.glob("webhook_*.json"))) == 5


@pytest.mark.parametrize(
    ("feedback", "status", "resolved"),
    [
        (None, None, False),
        ("no_status", None, False),
        ("investigating", "ACKNOWLEDGED", False),
        ("work_in_progress", "WORK_IN_PROGRESS", False),
        ("fixed", "FIXED", True),
        ("expected", "EXPECTED", True),
        ("no_action_needed", "NO_ACTION_NEEDED", True),
        ("false_positive", "FALSE_POSITIVE", True),
        ("something_new", "SOMETHING_NEW", False),
    ],
)
def test_a_status_that_needs_nobody_any_more_resolves_and_every_other_reopens(
    feedback: str | None, status: str | None, resolved: bool
) -> None:
    fields = said(payload(alert_feedback=feedback))

    assert normalise_status(feedback) == status
    assert (fields["status"], fields["resolved_at"]) == (status, NOW if resolved else None)
    assert (status in TERMINAL_STATUSES) == resolved


def test_without_a_status_nothing_is_said_of_when_it_was_resolved() -> None:
    assert {"status", "resolved_at"}.isdisjoint(said(payload()))


@pytest.mark.parametrize(
    ("declared", "severity"),
    [
        (None, None),
        ("SEV_1", "SEV-1"),
        ("SEV-1", "SEV-1"),
        ("SEV_1_A", "SEV-1-A"),
        ("urgent", "urgent"),
        ("sev_1", "sev_1"),
    ],
)
def test_a_severity_is_spelled_one_way_and_unknown_ones_are_kept(
    declared: str | None, severity: str | None
) -> None:
    assert normalise_severity(declared) == severity
    assert said(payload(declared_alert_severity=declared))["severity"] == severity


@pytest.mark.parametrize("body", [payload(), payload(event_list=[]), {"payload": {"incident_id": "inc-1"}}])
def test_a_webhook_that_tells_no_finding_leaves_the_title(body: dict[str, Any]) -> None:
    assert "title" not in said(body)


@pytest.mark.parametrize(
    ("body", "title"),
    [
        (
            payload(rule={"description": "the rule"}, event_list=[{"rule": {"description": "an item's"}}]),
            "the rule",
        ),
        (
            payload(rule={"description": None}, event_list=[{}, {"rule": {"description": "an item's"}}]),
            "an item's",
        ),
        (payload(event_list=[{"event_details": "details"}, {"rule": {"description": "a rule"}}]), "a rule"),
        (payload(event_list=[{"event_details": "details", "table_name": "t"}]), "details"),
        (payload(event_list=[{}, {"event_details": "second"}]), "open anomaly incident"),
        (payload(group_id="a:b", event_list=[{"table_name": "t"}]), "open anomaly incident on a:b.t"),
        (payload(event_list=[{"table_name": None}, {"table_name": "t"}]), "open anomaly incident on .t"),
        (payload(rule={"description": ""}), ""),
    ],
)
def test_the_title_is_the_first_thing_that_is_said(body: dict[str, Any], title: str) -> None:
    assert said(body)["title"] == title


@pytest.mark.parametrize(
    "body",
    [
        payload(rule={"description": "x" * 5000}),
        payload(event_list=[{"event_details": "x" * 5000}]),
        payload(event_list=[{"rule": {"description": "x" * 5000}}]),
        payload(event_list=[{"table_name": "x" * 1024}]),
    ],
)
def test_a_title_has_at_most_1024_characters(body: dict[str, Any]) -> None:
    assert len(said(body)["title"]) == 1024


@pytest.mark.parametrize(
    ("items", "names"),
    [
        ([{"table_name": "orders"}], ["orders"]),
        ([{"table_name": "b"}, {"table_name": "a"}, {"table_name": "b"}], ["b", "a"]),
        ([{"table_name": None}, {"table_name": "a"}], ["a"]),
        ([{"table_name": None}], []),
        ([{}], []),
        ([], []),
        (None, []),
    ],
)
def test_an_event_list_states_the_entities_it_names_each_once_and_sorted(
    items: list[dict[str, Any]] | None, names: list[str]
) -> None:
    statement, entities = say(payload(group_id="db:s", event_list=items))

    assert [entity.name for entity in entities] == names
    assert statement[-1] == tuple(sorted(entity.entity_id for entity in entities))


def test_without_an_event_list_nothing_is_said_of_entities() -> None:
    assert "entity_ids" not in said(payload(group_id="db:s"))


@pytest.mark.parametrize(
    ("group", "database", "schema"),
    [
        ("analytics:sales", "analytics", "sales"),
        ("a:b:c", "a", "b:c"),
        ("analytics", "analytics", None),
        (":b", None, "b"),
        ("", None, None),
        (None, None, None),
    ],
)
def test_a_provisional_entity_is_named_by_monte_carlo_s_words(
    group: str | None, database: str | None, schema: str | None
) -> None:
    entity = provisional_entity("acme", ACCOUNT, group, "orders")

    assert entity.qualified_name == f"mc:{ACCOUNT}:{group or ''}.orders"
    assert entity.entity_id == entity_of(entity.qualified_name)
    assert (entity.type_name, entity.name, entity.platform) == ("table", "orders", "montecarlo")
    assert (entity.database_name, entity.schema_name) == (database, schema)


def test_two_tenants_entities_are_two() -> None:
    one, other = (provisional_entity(tenant, ACCOUNT, "a:b", "orders") for tenant in ("acme", "globex"))

    assert one.entity_id != other.entity_id
    assert (one.tenant_id, other.tenant_id) == ("acme", "globex")


def test_what_an_entity_says_differs_exactly_when_its_content_hash_does() -> None:
    names = [("a", "b:c", "d"), ("a", "b:c", "e"), ("a", "b:cc", "d"), ("aa", "b:c", "d"), ("a", "b", "c.d")]
    hashes = [provisional_entity("acme", *name).content_hash for name in names]

    assert len(set(hashes)) == len(names)
    assert hashes[0] == provisional_entity("globex", *names[0]).content_hash


def test_a_webhook_without_an_account_names_its_entities_all_the_same() -> None:
    _, (entity,) = say(payload(group_id="a:b", event_list=[{"table_name": "t"}]))

    assert entity.qualified_name == "mc::a:b.t"


def test_fields_the_mapping_does_not_know_are_skipped() -> None:
    body = payload(
        brand_new={"deep": [1, {"x": None}]}, event_list=[{"table_name": "t", "data": {"hits": []}}]
    )

    assert said({**body, "brand_new": 1}) == said(payload(event_list=[{"table_name": "t"}]))
