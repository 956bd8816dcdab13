"""A webhook becomes the record every reader relies on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.json_document import canonical_text, parse_document
from airflow_provider_atlan_meta.pipeline.publish import (
    Arrival,
    ReceiptClock,
    ReceivedWebhook,
    event_record,
    montecarlo_event,
)

FIXTURES = Path(__file__).parents[2] / "fixtures" / "montecarlo"
GOLDEN = json.loads((FIXTURES / "golden_records.json").read_text())


def webhook(body: str) -> ReceivedWebhook:
    return ReceivedWebhook(
        tenant=GOLDEN["tenant"],
        body=body.encode(),
        document=parse_document(body.encode()),
        received_at_ms=GOLDEN["received_at_ms"],
        traceparent=GOLDEN["traceparent"].encode(),
    )


@pytest.mark.parametrize("golden", GOLDEN["records"], ids=lambda golden: golden["name"])
def test_the_record_of_a_webhook_is_the_same_for_ever(golden: dict[str, Any]) -> None:
    received = webhook(golden["body"])
    event = montecarlo_event(received)
    record = event_record(event, "meta.events.v1", Arrival(received.received_at_ms, received.traceparent))
    assert canonical_text(received.document) == golden["canonical"]
    assert event.id == golden["event_id"]
    assert (record.key.decode(), record.value.decode()) == (golden["key"], golden["value"])
    assert [[name, value.decode()] for name, value in record.headers] == golden["headers"]


@pytest.mark.parametrize("golden", GOLDEN["records"], ids=lambda golden: golden["name"])
def test_the_golden_records_follow_from_the_written_rules(golden: dict[str, Any]) -> None:
    parts = [part.encode() for part in ("acme", "montecarlo", golden["canonical"])]
    digest = hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
    assert golden["event_id"] == str(UUID(bytes=digest[:16]))
    value = json.loads(golden["value"])
    assert value["data"] == json.loads(golden["body"])
    assert golden["body"] in golden["value"]
    assert golden["key"] == f"acme|{quote(value['subject'], safe='')}"


def test_the_same_thing_said_again_has_the_same_id_and_another_tenants_has_not() -> None:
    ids = {golden["name"]: golden["event_id"] for golden in GOLDEN["records"]}
    assert ids["created"] == ids["the first again, keys reordered: the same id"]
    body = GOLDEN["records"][0]["body"]
    other = ReceivedWebhook(
        tenant="globex", body=body.encode(), document=parse_document(body.encode()), received_at_ms=1
    )
    assert montecarlo_event(other).id != ids["created"]


@pytest.mark.parametrize(
    "payload", ["null", "7", "[]", "{}", '{"incident_id":null}', '{"incident_id":""}', '{"incident_id":5}']
)
def test_a_webhook_that_names_no_incident_is_an_event_of_its_own(payload: str) -> None:
    event = montecarlo_event(webhook(f'{{"type":"t","payload":{payload}}}'))
    assert event.subject == f"event:{event.id}"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('"brand_new_incident"', "brand_new_incident"),
        ("null", "unknown"),
        ("5", "unknown"),
        ('""', "unknown"),
    ],
)
def test_unknown_types_are_kept_and_missing_ones_are_called_unknown(said: str, kept: str) -> None:
    assert montecarlo_event(webhook(f'{{"type":{said}}}')).type == kept


def test_a_subject_of_512_characters_is_taken_and_a_longer_one_rejected() -> None:
    assert montecarlo_event(webhook(json.dumps({"payload": {"incident_id": "ü" * 512}}))).subject == "ü" * 512
    with pytest.raises(RejectedError, match="incident_id"):
        montecarlo_event(webhook(json.dumps({"payload": {"incident_id": "x" * 513}})))
    with pytest.raises(RejectedError, match="type"):
        montecarlo_event(webhook(json.dumps({"type": "x" * 513})))


def test_equal_webhooks_in_one_millisecond_get_stamps_of_their_own() -> None:
    clock = ReceiptClock()

    stamps = [clock.stamp("same", 1000), clock.stamp("other", 1000), clock.stamp("same", 1000)]
    later = [clock.stamp("same", 1001), clock.stamp("same", 1002), clock.stamp("same", 5000)]

    assert (stamps, later) == ([1000, 1000, 1001], [1002, 1003, 5000])
