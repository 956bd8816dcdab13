"""Atlan's webhooks as events: its own words are kept, its secret is compared without telling anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.atlan_webhook import (
    MAX_HANDSHAKE_BYTES,
    atlan_event,
    is_handshake,
    is_secret,
)
from airflow_provider_atlan_meta.core.json_document import canonical_text, parse_document

FIXTURES = Path(__file__).parents[2] / "fixtures" / "atlan"
EVENTS = sorted(FIXTURES.glob("event_*.json"))
GREETING = (FIXTURES / "webhook_validation_body.json").read_bytes()


@pytest.mark.parametrize("file", EVENTS, ids=lambda file: file.stem)
def test_an_event_keeps_its_body_and_is_about_the_entity_it_names(file: Path) -> None:
    body = file.read_bytes()
    message = json.loads(body)["message"]
    event = atlan_event(body, parse_document(body), "acme")
    assert bytes(event.data) == body
    assert (event.source, event.type, event.tenant) == ("atlan", message["operationType"], "acme")
    assert event.subject == message["entity"]["attributes"]["qualifiedName"]
    assert event.time == "2026-11-23T00:10:11.480Z"
    assert event.id == str(identity.event_id("acme", "atlan", canonical_text(json.loads(body))))


@pytest.mark.parametrize(
    "operation",
    [
        "ENTITY_CREATE",
        "ENTITY_UPDATE",
        "ENTITY_DELETE",
        "CLASSIFICATION_ADD",
        "CLASSIFICATION_DELETE",
        "BUSINESS_ATTRIBUTE_UPDATE",
        "WORKFLOW_RUN_COMPLETED",
        "DQ_RULE_FAILED",
        "SOMETHING_NEW",
    ],
)
def test_operations_are_kept_as_they_are_said_known_or_not(operation: str) -> None:
    body = json.dumps({"message": {"operationType": operation, "entity": {"guid": "g"}}}).encode()
    event = atlan_event(body, parse_document(body), "acme")
    assert (event.type, event.subject) == (operation, "g")


def test_a_webhook_that_names_nothing_is_an_event_of_its_own() -> None:
    for body in (b"{}", b'{"message": null}', b'{"message": "text"}', b'{"type": "PING"}'):
        event = atlan_event(body, parse_document(body), "acme")
        assert event.subject == f"event:{event.id}"
        assert event.type == ("PING" if b"PING" in body else "unknown")


def test_only_the_greeting_is_the_handshake() -> None:
    assert is_handshake(GREETING)
    assert is_handshake(b' {"atlan-webhook" : "Hello"}')
    for body in (
        b"",
        b"{}",
        b'{"atlan-webhook": {}}',
        b'{"atlan-webhook": "x", "message": {}}',
        b'"atlan-webhook"',
        b'{"atlan-webhook": "' + b"x" * MAX_HANDSHAKE_BYTES + b'"}',
        EVENTS[0].read_bytes(),
    ):
        assert not is_handshake(body)


def test_any_of_the_secrets_is_right_and_nothing_else() -> None:
    secrets = [b"new", "älter".encode()]
    assert is_secret(b"new", secrets)
    assert is_secret("älter".encode(), secrets)
    for said in (b"", b"ne", b"newer", b"\xff" * 100_000):
        assert not is_secret(said, secrets)
