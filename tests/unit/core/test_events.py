"""The envelope: what is written is what is read, and later fields do not disturb today's readers."""

from __future__ import annotations

import msgspec
import pytest

from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import (
    MAX_SUBJECT,
    MetadataEvent,
    decode_event,
    encode_event,
    event_headers,
    trace_id,
)

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def event(**fields: object) -> MetadataEvent:
    values = {
        "id": "9b220867-7e58-0e0c-896c-bc89a59a911f",
        "source": "montecarlo",
        "type": "open_anomaly_incident",
        "subject": "inc-1",
        "tenant": "acme",
        "data": msgspec.Raw(b'{ "n" : 1.0e0 }'),
    }
    return MetadataEvent(**(values | fields))  # type: ignore[arg-type]


def test_the_senders_body_crosses_byte_for_byte() -> None:
    value = encode_event(event())
    assert b'"data":{ "n" : 1.0e0 }' in value
    assert bytes(decode_event(value).data) == b'{ "n" : 1.0e0 }'


def test_an_event_without_the_senders_time_has_no_time_field() -> None:
    assert b'"time"' not in encode_event(event())
    assert decode_event(encode_event(event(time="2026-11-24T00:00:00Z"))).time == "2026-11-24T00:00:00Z"


def test_fields_of_later_versions_are_ignored() -> None:
    value = encode_event(event())[:-1] + b',"later":{"a":[1]}}'
    assert decode_event(value).subject == "inc-1"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"{}",
        b"[" * 100_000,
        encode_event(event()).replace(b'"inc-1"', b"7"),
        encode_event(event()).replace(b"inc-1", b"x" * (MAX_SUBJECT + 1)),
        encode_event(event()).replace(b"inc-1", b"\xff"),
    ],
)
def test_a_value_that_is_no_event_is_rejected(value: bytes) -> None:
    with pytest.raises(RejectedError):
        decode_event(value)


def test_headers_carry_the_stamp_the_envelope_and_a_well_formed_traceparent() -> None:
    headers = dict(event_headers(event(), 1_795_500_000_123, TRACE))
    assert headers == {
        "received_at": b"1795500000123",
        "ce_specversion": b"1.0",
        "ce_id": b"9b220867-7e58-0e0c-896c-bc89a59a911f",
        "ce_source": b"montecarlo",
        "ce_type": b"open_anomaly_incident",
        "ce_subject": b"inc-1",
        "ce_tenant": b"acme",
        "content-type": b"application/json",
        "traceparent": TRACE,
    }


@pytest.mark.parametrize(
    "sent",
    [None, b"", b"x", TRACE.upper(), TRACE + b"\n", b"ff" + TRACE[2:], TRACE.replace(TRACE[3:35], b"0" * 32)],
)
def test_a_traceparent_of_another_form_is_dropped(sent: bytes | None) -> None:
    assert "traceparent" not in dict(event_headers(event(), 1, sent))
    assert trace_id(sent) == ""


def test_the_trace_id_is_read_from_the_traceparent() -> None:
    assert trace_id(TRACE) == "4bf92f3577b34da6a3ce929d0e0e4736"
