from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import datetime
from typing import Any

import msgspec
import pytest

from airflow_provider_atlan_meta.core.changes import ChangeEvent
from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError
from airflow_provider_atlan_meta.core.webhook_message import (
    CONTENT_TYPE,
    SigningSecret,
    WebhookMessage,
    check_source,
    signed_headers,
    webhook_message,
)

DELIVERY = "11111111-1111-1111-1111-111111111111"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 24).decode()
CHANGE = ChangeEvent(
    change_id="0d3f5a52-0f3c-5c93-8f4b-6a1f2b3c4d5e",
    kind="incident",
    op="updated",
    tenant_id="acme",
    id="inc-ä|1",
    revision=3,
    changed_at="2026-11-25T00:50:00.123456+00:00",
    changed=["status"],
    before={"status": None},
    after={"status": "ACKNOWLEDGED", "title": "Zahl größer als <5>"},
)
# the whole of the attributes' grammar in the specification, section 3.1
ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}")


def event_of(change: ChangeEvent = CHANGE, **options: Any) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(webhook_message(change, DELIVERY, **options).body)
    return event


def check_cloud_event(event: dict[str, Any]) -> None:
    """The rules of CloudEvents 1.0.2, written from the specification."""
    assert event["specversion"] == "1.0"
    for name in ("id", "source", "type", "subject"):
        assert isinstance(event[name], str)
        assert event[name]
    assert event["datacontenttype"] == "application/json"
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    assert "data_base64" not in event
    for name, value in event.items():
        if name != "data":
            assert ATTRIBUTE.fullmatch(name)
            assert isinstance(value, (str, bool)) or (isinstance(value, int) and -(2**31) <= value < 2**31)


def verified(headers: Any, body: bytes, secret: str) -> bool:
    """Standard Webhooks' verification, with HMAC written out from RFC 2104: no line shared with the product."""
    key = base64.b64decode(secret.split("_", 1)[1]).ljust(64, b"\0")
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + content).digest()
    expected = hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()
    versions = [one.split(",", 1) for one in headers["webhook-signature"].split(" ")]
    return any(name == "v1" and base64.b64decode(value) == expected for name, value in versions)


@pytest.mark.parametrize(
    "change",
    [
        CHANGE,
        msgspec.structs.replace(CHANGE, op="created", changed=None, before=None),
        msgspec.structs.replace(CHANGE, op="deleted", changed=None, before=CHANGE.after, after=None),
        msgspec.structs.replace(CHANGE, truncated=True, after=None, before=None, changed=None),
        msgspec.structs.replace(CHANGE, kind="entity", revision=2**63 - 1),
    ],
)
def test_every_kind_of_change_is_a_cloud_event_of_the_specification(change: ChangeEvent) -> None:
    check_cloud_event(event_of(change))
    check_cloud_event(event_of(change, replay=True))


def test_the_event_says_which_revision_of_which_row_of_which_tenant_it_is() -> None:
    event = event_of(source="/atlan-meta/production")

    assert (event["id"], event["source"]) == (CHANGE.change_id, "/atlan-meta/production")
    assert event["type"] == "com.atlan.meta.incident.updated.v1"
    assert (event["tenantid"], event["subject"]) == ("acme", "inc-ä|1")
    assert int(event["entityversion"]) == int(event["sequence"]) == event["data"]["revision"] == 3
    assert event["data"]["before"] == {"status": None}
    assert event["data"]["after"] == CHANGE.after
    assert "replay" not in event
    assert event_of(replay=True)["replay"] is True


def test_versions_sort_as_text_as_they_count() -> None:
    versions = [
        event_of(msgspec.structs.replace(CHANGE, revision=number))["entityversion"]
        for number in (1, 9, 10, 2**31, 2**63 - 1)
    ]
    assert versions == sorted(versions)


def test_a_thin_change_says_that_it_is_thin_and_invents_no_columns() -> None:
    thin = msgspec.structs.replace(CHANGE, truncated=True, after=None, before=None, changed=None)
    assert event_of(thin)["data"] == {"op": "updated", "revision": 3, "truncated": True}


def test_every_try_has_the_same_body_under_the_deliverys_id() -> None:
    assert webhook_message(CHANGE, DELIVERY) == webhook_message(CHANGE, DELIVERY)
    assert webhook_message(CHANGE, DELIVERY).id == DELIVERY


def test_a_kind_that_cannot_be_part_of_a_type_is_rejected() -> None:
    with pytest.raises(RejectedError, match="kind"):
        webhook_message(msgspec.structs.replace(CHANGE, kind="In Cident"), DELIVERY)


def test_a_receiver_with_the_secret_can_verify_what_was_sent() -> None:
    message = webhook_message(CHANGE, DELIVERY)
    headers = signed_headers(message, [SigningSecret.parse(SECRET)], at_seconds=1_700_000_000)

    assert headers["content-type"] == CONTENT_TYPE
    assert headers["webhook-id"] == message.id
    assert headers["webhook-timestamp"] == "1700000000"
    assert verified(headers, message.body, SECRET)
    assert not verified(headers, message.body + b" ", SECRET)
    assert not verified(dict(headers) | {"webhook-timestamp": "1700000001"}, message.body, SECRET)
    assert not verified(headers, message.body, OTHER)


def test_while_secrets_are_changed_either_verifies() -> None:
    message = webhook_message(CHANGE, DELIVERY)
    secrets = [SigningSecret.parse(text) for text in (OTHER, SECRET)]
    headers = signed_headers(message, secrets, at_seconds=1)

    assert headers["webhook-signature"].count("v1,") == 2
    assert verified(headers, message.body, SECRET)
    assert verified(headers, message.body, OTHER)


def test_the_vector_of_the_specification_has_its_signature() -> None:
    """The example of the Standard Webhooks reference libraries."""
    message = WebhookMessage("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    secret = SigningSecret.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(message, [secret], at_seconds=1_614_265_330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!", "whsec_c2hvcnQ=", SECRET[6:], "hunter2"])
def test_a_secret_that_is_none_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError, match="whsec_") as caught:
        SigningSecret.parse(text)
    assert len(text) < 7 or text not in str(caught.value)


def test_a_secret_never_shows_itself() -> None:
    assert "k" * 8 not in repr(SigningSecret.parse(SECRET))


@pytest.mark.parametrize("text", ["", "two words", "ä"])
def test_a_source_that_is_no_uri_reference_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        check_source(text)
    assert check_source("/atlan-meta/production") == "/atlan-meta/production"
