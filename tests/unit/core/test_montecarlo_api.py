"""What is read from Monte Carlo's API: both spellings, values it gains later, and what is no alert of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from airflow_provider_atlan_meta.core.errors import RejectedError, TerminalError, TransientError
from airflow_provider_atlan_meta.core.mapping import Mappings, WarehouseMapping
from airflow_provider_atlan_meta.core.montecarlo import provisional_entity
from airflow_provider_atlan_meta.core.montecarlo_api import (
    ALERTS_FILTER,
    ALERTS_QUERY,
    answer_of,
    parse_alert,
    parse_alert_record,
    parse_alerts,
)
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS

SAMPLES = Path(__file__).parents[2] / "fixtures" / "montecarlo"
ANSWER = (SAMPLES / "getAlerts.response.json").read_bytes()
ACCOUNT, WAREHOUSE = "3f1c1c2e-5a0b-4c55-9c1d-0a6b7e4f2a10", "7d0c2f8a-93f6-4b0e-8d1e-5f6b1f0a9c21"
ORDERS = f"MCON++{ACCOUNT}++{WAREHOUSE}++table++analytics:sales.orders"
NODE: dict[str, Any] = {
    "id": "inc-1",
    "createdTime": "2026-11-22T23:50:11.120000+00:00",
    "updatedTime": "2026-11-22T23:58:02.004000+00:00",
}


def page(*nodes: Any, **answer: Any) -> bytes:
    info = {"hasNextPage": True, "endCursor": "next"}
    edges = [{"node": node} for node in nodes]
    return json.dumps({"data": {"getAlerts": {"pageInfo": info, "edges": edges}}, **answer}).encode()


def node(**fields: Any) -> bytes:
    return json.dumps({**NODE, **fields}).encode()


def test_an_alert_is_read_in_the_incident_row_s_words() -> None:
    _, alert = parse_alerts(ANSWER).alerts

    assert (alert.id, alert.title) == (
        "5e4d7a90-1b3c-4f1e-9a77-2c9b8d6e0f34",
        "Orders row count must stay above 49",
    )
    assert (alert.severity, alert.priority, alert.status) == ("SEV-1", "P2", "ACKNOWLEDGED")
    assert (alert.owner, alert.type, alert.sub_types) == (
        "dana@example.com",
        "CUSTOM_RULE_ANOMALIES",
        ("SQL_RULE_BREACH",),
    )
    assert (alert.created_at, alert.updated_at) == (1_795_391_411_120_000, 1_795_391_882_004_000)
    assert alert.tables is not None
    assert [mcon.rpartition("++")[2] for mcon in alert.tables] == ["analytics:sales.orders"]


def test_an_alert_keeps_the_api_s_own_json() -> None:
    first, _ = parse_alerts(ANSWER).alerts

    assert json.loads(first.node) == json.loads(ANSWER)["data"]["getAlerts"]["edges"][0]["node"]
    assert parse_alert(first.node) == first


def test_a_page_says_where_the_next_one_begins() -> None:
    assert parse_alerts(ANSWER)[1:3] == ("YXJyYXljb25uZWN0aW9uOjE=", False)
    assert parse_alerts(page())[:3] == ([], "next", True)


@pytest.mark.parametrize("severity", ["SEV_2", "SEV-2"])
def test_both_spellings_of_a_severity_are_one(severity: str) -> None:
    assert parse_alert(node(severity=severity)).severity == "SEV-2"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (None, None),
        ("NO_STATUS", None),
        ("no_status", None),
        ("INVESTIGATING", "ACKNOWLEDGED"),
        ("FIXED", "FIXED"),
    ],
)
def test_a_status_is_said_in_the_words_of_the_row(said: str | None, status: str | None) -> None:
    assert parse_alert(node(status=said)).status == status


def test_values_the_api_gained_later_are_kept() -> None:
    alert = parse_alert(node(type="LUNAR", severity="SEV_9", priority="P0", status="ON_HOLD", subTypes=["X"]))

    assert (alert.type, alert.severity, alert.priority, alert.status) == ("LUNAR", "SEV-9", "P0", "ON_HOLD")
    assert alert.sub_types == ("X",)


def test_a_time_without_zone_is_utc() -> None:
    assert parse_alert(node(createdTime="1970-01-01T00:00:01")).created_at == 1_000_000


def test_integration_tests_and_merged_alerts_are_passed_over() -> None:
    merged = {"__typename": "MergedAlert", "id": "inc-2", "mergedIntoAlertId": "inc-1"}

    found = parse_alerts(page({**NODE, "type": "PSEUDO_INTEGRATION_TEST"}, merged, None, NODE))

    assert ([alert.id for alert in found.alerts], found.skipped) == (["inc-1"], 3)


def test_integration_tests_are_not_even_asked_for() -> None:
    assert ALERTS_FILTER == {"exclude": {"types": ["PSEUDO_INTEGRATION_TEST"]}}


def test_what_is_no_alert_is_rejected_with_the_field() -> None:
    with pytest.raises(RejectedError, match="updatedTime"):
        parse_alert(b'{"id": "inc-1", "createdTime": "2026-11-22T23:50:11Z"}')


def test_a_refused_question_is_no_reason_to_ask_again() -> None:
    with pytest.raises(TerminalError, match="was not provided"):
        parse_alerts((SAMPLES / "graphql_error.response.json").read_bytes())


@pytest.mark.parametrize(
    "error",
    [
        {"message": "cannot load status", "path": ["getAlerts", "edges", 0]},
        {"message": "Rate limit exceeded"},
        {"message": "Request timed out"},
    ],
)
def test_an_error_that_passes_may_be_asked_again_and_a_partial_answer_is_not_used(error: Any) -> None:
    with pytest.raises(TransientError, match=error["message"]):
        parse_alerts(page(NODE, errors=[error]))
    with pytest.raises(TransientError, match=error["message"]):
        parse_alerts(json.dumps({"data": {"getAlerts": {"edges": [0]}}, "errors": [error]}).encode())


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"\xff", b'{"data": null}', b'{"data": {"getAlerts": null}}']
)
def test_another_answer_than_alerts_may_be_asked_again(body: bytes) -> None:
    with pytest.raises(TransientError, match="ask again"):
        parse_alerts(body)


def test_the_query_asks_for_everything_an_alert_is_read_from() -> None:
    asked = set(ALERTS_QUERY.replace("{", " ").replace("}", " ").split())
    sample = set(
        (SAMPLES / "getAlerts.query.graphql").read_text().replace("{", " ").replace("}", " ").split()
    )
    fields = {
        "id", "title", "type", "subTypes", "severity", "priority", "status", "owner", "email",
        "fullName", "tables", "mcon", "createdTime", "updatedTime", "url", "hasNextPage", "endCursor",
    }  # fmt: skip

    assert fields <= asked
    assert fields <= sample


def said(**fields: Any) -> dict[str, Any]:
    """What the alert says, by name; what is not said is absent."""
    statement, _ = answer_of(parse_alert(node(**fields)), "acme")
    return {name: value for name, value in zip(INCIDENT_FIELDS, statement, strict=True) if value is not UNSET}


def test_an_alert_says_every_field_of_its_incident() -> None:
    _, alert = parse_alerts(ANSWER).alerts
    orders = provisional_entity("acme", ACCOUNT, "analytics:sales", "orders")

    statement, entities = answer_of(alert, "acme")

    assert dict(zip(INCIDENT_FIELDS, statement, strict=True)) == {
        "source": "montecarlo",
        "type": "CUSTOM_RULE_ANOMALIES",
        "title": "Orders row count must stay above 49",
        "severity": "SEV-1",
        "priority": "P2",
        "status": "ACKNOWLEDGED",
        "owner": "dana@example.com",
        "url": "https://getmontecarlo.com/alerts/5e4d7a90-1b3c-4f1e-9a77-2c9b8d6e0f34",
        "opened_at": alert.created_at,
        "updated_at": alert.updated_at,
        "resolved_at": None,
        "entity_ids": (orders.entity_id,),
    }
    assert entities == (orders,)


def test_what_the_api_says_is_none_is_cleared_and_names_it_leaves_out_are_not() -> None:
    assert said() == {
        "source": "montecarlo",
        "severity": None,
        "priority": None,
        "status": None,
        "owner": None,
        "resolved_at": None,
        "opened_at": 1_795_391_411_120_000,
        "updated_at": 1_795_391_882_004_000,
    }


def test_an_alert_in_a_last_status_was_resolved_when_it_was_updated() -> None:
    assert said(status="EXPECTED")["resolved_at"] == said()["updated_at"]


def test_a_title_is_cut_as_a_webhook_s_is() -> None:
    assert said(title="x" * 5000)["title"] == "x" * 1024


@pytest.mark.parametrize("other", [{"mcon": "MCON++not-a-uuid"}, {"mcon": None}, {"mcon": ORDERS[:-19]}])
def test_tables_are_said_only_where_every_one_has_a_name(other: Any) -> None:
    assert len(said(tables=[{"mcon": ORDERS}, {"mcon": ORDERS}])["entity_ids"]) == 1
    assert said(tables=[])["entity_ids"] == ()
    assert "entity_ids" not in said(tables=[{"mcon": ORDERS}, other])
    assert "entity_ids" not in said(tables=None)


def test_a_mapped_table_is_the_catalog_s() -> None:
    mappings = Mappings(
        [
            WarehouseMapping(
                name="sales",
                tenant="acme",
                warehouse=WAREHOUSE,
                platform="hive",
                values=(("cluster", "cl1"),),
            )
        ]
    )

    _, entities = answer_of(parse_alert(node(tables=[{"mcon": ORDERS}])), "acme", mappings)

    assert [entity.qualified_name for entity in entities] == ["analytics.sales.orders@cl1"]


@pytest.mark.parametrize(
    "data", [b"{}", b'{"alert": {}, "seen": 1}', b'{"seen": 1}', b'{"alert": %s}' % node(), b"[]"]
)
def test_a_record_without_an_alert_or_without_what_was_seen_is_rejected(data: bytes) -> None:
    with pytest.raises(RejectedError, match="has another shape"):
        parse_alert_record(data)


@pytest.mark.parametrize("seen", [-1, 0, (1 << 63) - 1])
def test_a_record_says_what_was_seen_when_the_api_was_asked(seen: int) -> None:
    record = parse_alert_record(b'{"alert": %s, "seen": %d}' % (node(), seen))

    assert (record.alert.id, record.seen) == ("inc-1", seen)


@pytest.mark.parametrize("seen", ["-2", "1.5", "true", '"1"', str(1 << 63)])
def test_an_offset_that_cannot_be_is_rejected(seen: str) -> None:
    with pytest.raises(RejectedError):
        parse_alert_record(b'{"alert": %s, "seen": %s}' % (node(), seen.encode()))
