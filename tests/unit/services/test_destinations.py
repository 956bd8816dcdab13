from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.config.subscriptions import parse_subscriptions, read_subscriptions
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, FileError
from airflow_provider_atlan_meta.core.lanes import ClaimUse
from airflow_provider_atlan_meta.core.routing import DestinationSpec
from airflow_provider_atlan_meta.services.destinations import (
    DESTINATIONS,
    destination_types,
    open_destination,
)

ROOT = Path(__file__).parents[3]
HOOKS = ConnectionInfo(
    conn_id="hooks",
    host="https://hooks.example.com",
    password="whsec_" + base64.b64encode(b"k" * 32).decode(),
)
SLACK = ConnectionInfo(conn_id="slack", password="xoxb-1")


def problems(destination: str) -> str:
    text = f"subscriptions: [{{name: a, tenant: acme, match: {{}}, destination: {{{destination}}}}}]"
    try:
        parse_subscriptions(text.encode(), file="f.yaml", destinations=destination_types())
    except FileError as error:
        return str(error)
    return ""


def test_the_shipped_example_names_destinations_that_exist() -> None:
    found = read_subscriptions(
        ROOT / "docs" / "examples" / "subscriptions.yaml", destinations=destination_types()
    )
    assert {one.destination.type for one in found} == set(DESTINATIONS)


@pytest.mark.parametrize(
    "destination",
    [
        "type: slack, channel: C0123456789",
        "type: slack, conn_id: other, channel: G01234567",
        "type: webhook, conn_id: hooks",
        "type: webhook, conn_id: hooks, source: /atlan-meta/production",
    ],
)
def test_a_destination_that_works_is_taken(destination: str) -> None:
    assert problems(destination) == ""


@pytest.mark.parametrize(
    ("destination", "text"),
    [
        ("type: slack", "channel is missing"),
        ('type: slack, channel: "#alerts"', "no id of a channel"),
        ("type: slack, channel: alerts", "no id of a channel"),
        ("type: slack, channel: D0123456789", "no id of a channel"),
        ("type: slack, channel: 7", "no id of a channel"),
        ("type: webhook", "conn_id is missing"),
        ("type: webhook, conn_id: hooks, source: two words", "URI reference"),
        ("type: webhook, conn_id: hooks, source: ''", "URI reference"),
        ("type: webhook, conn_id: hooks, source: 7", "URI reference"),
        ("type: teams, conn_id: hooks", "there are: slack, webhook"),
    ],
)
def test_a_destination_that_cannot_work_is_refused_with_what_is_wrong(destination: str, text: str) -> None:
    assert text in problems(destination)


def test_a_connection_becomes_a_destination_of_its_type() -> None:
    assert (
        type(open_destination(DestinationSpec(type="slack", conn_id="s"), SLACK)).__name__
        == "SlackDestination"
    )
    assert (
        type(open_destination(DestinationSpec(type="webhook", conn_id="h"), HOOKS)).__name__
        == "WebhookDestination"
    )


@pytest.mark.parametrize("kind", sorted(DESTINATIONS))
def test_a_connection_that_cannot_work_is_named(kind: str) -> None:
    with pytest.raises(ConfigurationError, match="'empty'"):
        open_destination(DestinationSpec(type=kind, conn_id="empty"), ConnectionInfo(conn_id="empty"))


def test_a_type_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(ConfigurationError, match="slack, webhook"):
        open_destination(DestinationSpec(type="teams", conn_id="h"), HOOKS)


def test_parts_that_are_claimed_can_be_looked_up_and_every_limited_part_exists() -> None:
    for kind, info in (("slack", SLACK), ("webhook", HOOKS)):
        row, destination = DESTINATIONS[kind], open_destination(DestinationSpec(type=kind, conn_id="x"), info)
        claims = any(policy.claims is not ClaimUse.NEVER for policy in row.parts.values())
        assert hasattr(destination, "find") == hasattr(destination, "remove") == claims
        assert "" in row.parts
        assert row.ops.keys() <= row.parts.keys()


def test_a_claim_of_slacks_is_settled_after_seventy_five_seconds() -> None:
    assert {policy.settle_wait for policy in DESTINATIONS["slack"].parts.values()} == {75.0}


def test_knowing_the_types_costs_no_client_library() -> None:
    script = (
        "import sys; from airflow_provider_atlan_meta.services.destinations import destination_types; "
        "destination_types(); print(sorted({'aiohttp', 'slack_sdk'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
