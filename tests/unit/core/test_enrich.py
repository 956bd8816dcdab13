"""A record becomes rows, or says once and for all why it never will."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.enrich import enrich, storable_answer
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.montecarlo_api import answer_of, parse_alert
from airflow_provider_atlan_meta.core.rows import OWNER, SEVERITY, STATUS, URL, LogRecord
from airflow_provider_atlan_meta.testing.records import EPOCH_MS, webhook_record

EVENT_ID = "8d3c1a52-6a3f-5d0e-9c11-0f6a2b7c9e40"


def record(
    data: Any = None,
    *,
    value: bytes | None = None,
    key: bytes = b"acme|inc-1",
    headers: Any = None,
    **fields: Any,
) -> LogRecord:
    """:param data: the webhook, as bytes or as a document. :param fields: of the envelope."""
    data = {"type": "t", "payload": {"incident_id": "inc-1"}} if data is None else data
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    envelope = {
        "specversion": "1.0",
        "id": EVENT_ID,
        "source": "montecarlo",
        "type": "t",
        "subject": "inc-1",
        "tenant": "acme",
        **fields,
    }
    if value is None:
        value = json.dumps(envelope).encode()[:-1] + b', "data": ' + raw + b"}"
    if headers is None:
        headers = (("received_at", b"%d" % EPOCH_MS),)
    return LogRecord(0, 7, key, value, headers)


def as_the_producer_spells(described: LogRecord) -> LogRecord:
    """The same envelope without spaces: it is cut before ``data`` instead of being decoded as a whole."""
    value = described.value
    return (
        described if value is None else described._replace(value=value.replace(b', "data": ', b',"data":', 1))
    )


def rejection(spoilt: LogRecord) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        enrich(spoilt)
    return caught.value


def webhook(**payload: Any) -> dict[str, Any]:
    return {"type": "t", "payload": {"incident_id": "inc-1", **payload}}


def test_a_webhook_becomes_an_event_row_with_its_keys_and_its_body_byte_for_byte() -> None:
    body = b'{"type" :"t", "payload":{"incident_id":"inc-1"}, "version":1.50}'

    row = enrich(record(body))

    event_id = bytes.fromhex(EVENT_ID.replace("-", ""))
    assert (row.offset, row.tenant_id, row.event_id, row.subject) == (7, "acme", event_id, "inc-1")
    assert row.event_key == identity.event_key(event_id, EPOCH_MS)
    assert row.received_at == EPOCH_MS * 1000
    assert row.occurred_at is None
    assert row.payload == body


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8) | st.just("data"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["type", "payload", "owner", "data", "x"]), JSON, max_size=4), JSON)
def test_however_the_envelope_is_spelled_the_rows_are_the_same(data: dict[str, Any], inner: Any) -> None:
    data["payload"] = {"incident_id": "inc-1", "note": inner}
    for separators in ((", ", ": "), (",", ":")):
        body = json.dumps(data, ensure_ascii=False, separators=separators).encode("utf-8", "surrogatepass")
        spellings = [record(body), as_the_producer_spells(record(body))]
        assert spellings[1].value is not None
        spellings.append(
            spellings[1]._replace(value=spellings[1].value[:-1] + b',"time":"2026-11-24T00:00:00Z"}')
        )

        assert len({outcome(spelled) for spelled in spellings}) == 1


def outcome(described: LogRecord) -> str:
    try:
        return repr(enrich(described))
    except RejectedError as error:
        return error.reason


def test_the_same_record_has_the_same_rows_for_ever() -> None:
    assert enrich(webhook_record("inc-1", offset=3)) == enrich(webhook_record("inc-1", offset=3))


@pytest.mark.parametrize(
    ("reason", "spoilt"),
    [
        ("no value", record()._replace(value=None)),
        ("record is not a MetadataEvent", record(value=b"{")),
        ("record is not a MetadataEvent", record(value=b"[1]")),
        ("record is not a MetadataEvent", record(value=b"\xff\xfe")),
        ("record is not a MetadataEvent", record(value=b'{"specversion":"1.0"}')),
        ("record is not a MetadataEvent", record(subject="s" * 513)),
        ("record is not a MetadataEvent", record(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
        ("tenant without a tenant's form", record(tenant="Acme")),
        ("tenant without a tenant's form", record(tenant="a,b")),
        ("tenant without a tenant's form", record(tenant="")),
        ("key of another tenant", record(key=b"other|inc-1")),
        ("key of another tenant", record(key=b"acmeother|inc-1")),
        ("key of another tenant", record()._replace(key=None)),
        ("subject empty", record(subject="")),
        ("header received_at is missing", record(headers=())),
        ("header received_at is not a time in milliseconds", record(headers=(("received_at", b"soon"),))),
        ("header received_at is not a time in milliseconds", record(headers=(("received_at", b"-1"),))),
        ("header received_at is not a time in milliseconds", record(headers=(("received_at", b""),))),
        ("header received_at is not a time in milliseconds", record(headers=(("received_at", None),))),
        ("header received_at is not a time in milliseconds", record(headers=(("received_at", b"1" * 16),))),
        ("header received_at is after the year 9999", record(headers=(("received_at", b"253402300800000"),))),
        ("id is not a UUID", record(id="7")),
        ("id is not a UUID", record(id="zz3c1a52-6a3f-5d0e-9c11-0f6a2b7c9e40")),
        ("webhook has another shape", record({"payload": "inc-1"})),
        ("webhook has another shape", record(webhook(url=7))),
        ("webhook has another shape", record(webhook(event_list=["orders"]))),
        ("webhook has another shape", record([])),
        ("subject is not the webhook's incident", record(webhook(), subject="inc-2", key=b"acme|inc-2")),
        ("subject is not the webhook's incident", record({"type": "t"})),
        ("payload is not UTF-8", record(b'{"payload":{"incident_id":"inc-1"},"note":"\xff"}')),
        ("payload is not UTF-8", record(b'{"payload":{"incident_id":"inc-1","url":"\xff"}}')),
        ("text too long", record(webhook(url="u" * 4097))),
        ("webhook has another shape", record(webhook(event_list=[{"table_name": "t" * 1025}]))),
        ("text too long", record(type="t" * 4097)),
        ("text with NUL or a lone surrogate", record(webhook(owner="a\0b"))),
        ("text with NUL or a lone surrogate", record(webhook(event_list=[{"table_name": "a\0b"}]))),
        ("text with NUL or a lone surrogate", record(type="a\0b")),
    ],
)  # fmt: skip
def test_what_is_no_event_is_rejected_with_a_reason_that_groups(reason: str, spoilt: LogRecord) -> None:
    assert rejection(spoilt).reason == reason
    assert rejection(as_the_producer_spells(spoilt)).reason == reason


@pytest.mark.parametrize(
    "spoilt",
    [
        record(webhook(url="s3cret\0value")),
        record(webhook(url=["s3cret"])),
        record(tenant="s3cret!"),
        record(id="s3cret"),
        record(headers=(("received_at", b"s3cret"),)),
        record(b'{"payload":{"incident_id":"inc-1"},"note":"s3cret\xff"}'),
    ],
)
def test_a_rejection_never_repeats_a_value_of_the_record(spoilt: LogRecord) -> None:
    assert "s3cret" not in str(rejection(spoilt))


def test_a_number_no_double_holds_is_kept_as_it_was_sent() -> None:
    body = b'{"type":"t","payload":{"incident_id":"inc-1"},"n":1e999}'

    assert enrich(record(body)).payload == body


def test_every_character_postgresql_stores_is_kept() -> None:
    row = enrich(record(webhook(owner="Zoë \U0001f600  \ufffd")))

    assert row.statement is not None
    assert row.statement[OWNER] == "Zoë \U0001f600  \ufffd"


@pytest.mark.parametrize("source", ["dbt", "montecarlo-agent"])
def test_another_source_s_event_is_kept_and_touches_no_incident(source: str) -> None:
    row = enrich(record({"anything": [1]}, source=source))

    assert (row.statement, row.entities, row.source) == (None, (), source)


def test_a_webhook_without_an_incident_is_kept_and_touches_none() -> None:
    row = enrich(webhook_record(None))

    assert row.subject.startswith("event:")
    assert (row.statement, row.entities) == (None, ())


def test_an_unknown_type_is_kept_as_it_is() -> None:
    row = enrich(record({**webhook(), "type": "brand_new_thing"}, type="brand_new_thing"))

    assert row.type == "brand_new_thing"
    assert row.statement is not None
    assert row.statement[1] == "brand_new_thing"


def test_update_fields_count_inside_the_payload_and_beside_it_and_the_payload_wins() -> None:
    beside = {**webhook(), "alert_feedback": "fixed", "declared_alert_severity": "SEV_2", "owner": "dana"}
    both = {**beside, **webhook(alert_feedback=None, owner="lee")}

    said_beside, said_both = enrich(record(beside)).statement, enrich(record(both)).statement

    assert said_beside is not None
    assert said_both is not None
    assert (said_beside[STATUS], said_beside[SEVERITY], said_beside[OWNER]) == ("FIXED", "SEV-2", "dana")
    assert (said_both[STATUS], said_both[SEVERITY], said_both[OWNER]) == (None, "SEV-2", "lee")


def test_absent_says_nothing_and_null_clears() -> None:
    said = enrich(record(webhook(url=None))).statement

    assert said is not None
    assert (said[URL], said[STATUS], said[SEVERITY], said[OWNER]) == (None, UNSET, UNSET, UNSET)


ALERT = {
    "id": "inc-1",
    "title": "Volume anomaly",
    "status": "FIXED",
    "createdTime": "2026-11-18T11:00:00+00:00",
    "updatedTime": "2026-11-18T11:06:00+00:00",
}


def alert_record(alert: Any = None, *, seen: int = 3, **fields: Any) -> LogRecord:
    data = {"alert": ALERT if alert is None else alert, "seen": seen}
    return record(data, **{"type": "alert", "time": ALERT["updatedTime"], **fields})


def test_an_alert_of_the_api_says_when_it_happened_and_what_was_seen() -> None:
    row = enrich(alert_record())

    assert (row.type, row.subject, row.seen) == ("alert", "inc-1", 3)
    assert row.occurred_at == (EPOCH_MS - 40_000) * 1000
    assert row.received_at == EPOCH_MS * 1000
    assert row.statement is not None
    assert row.statement[STATUS] == "FIXED"
    assert json.loads(row.payload) == {"alert": ALERT, "seen": 3}


def test_a_webhook_saw_nothing_of_the_api() -> None:
    assert enrich(record()).seen is None


def test_a_webhook_may_call_itself_an_alert() -> None:
    row = enrich(record({**webhook(), "type": "alert"}, type="alert"))

    assert (row.type, row.seen) == ("alert", None)


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (alert_record(subject="inc-2", key=b"acme|inc-2"), "subject is not the alert's incident"),
        (alert_record({"id": "inc-1"}), "alert has another shape"),
        (alert_record(seen=-2), "alert record has another shape"),
        (alert_record({**ALERT, "title": "a\0b"}), "text with NUL or a lone surrogate"),
        (alert_record({**ALERT, "url": "u" * 5000}), "text too long"),
    ],
)
def test_an_alert_record_that_cannot_be_stored_is_rejected(spoilt: LogRecord, reason: str) -> None:
    assert rejection(spoilt).reason == reason


@pytest.mark.parametrize("spoilt", [{"title": "a\0b"}, {"url": "u" * 5000}, {"owner": {"email": "\0"}}])
def test_an_answer_that_came_without_a_record_is_held_to_the_same(spoilt: Any) -> None:
    fine, bad = (parse_alert(json.dumps(alert).encode()) for alert in (ALERT, {**ALERT, **spoilt}))

    assert storable_answer(fine, "acme") == answer_of(fine, "acme")
    with pytest.raises(RejectedError):
        storable_answer(bad, "acme")
