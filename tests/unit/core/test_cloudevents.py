"""CloudEvents are judged by their specification, in every mode, and nothing of a good one is lost."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.cloudevents import (
    MAX_BATCH,
    CloudEvent,
    Mode,
    metadata_event,
    mode_of,
    read_events,
)
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import decode_event, encode_event

BARE = {"specversion": "1.0", "id": "A-1", "source": "/mycontext", "type": "com.example.someevent"}


def structured(**members: Any) -> CloudEvent:
    return read_events(Mode.STRUCTURED, [], json.dumps({**BARE, **members}).encode())[0]


def binary(body: bytes = b"", content_type: str = "", **attributes: str) -> CloudEvent:
    sent = [
        (f"ce-{name}".encode(), value.encode("latin-1")) for name, value in {**BARE, **attributes}.items()
    ]
    if content_type:
        sent.append((b"content-type", content_type.encode()))
    return read_events(Mode.BINARY, sent, body)[0]


def document(event: CloudEvent) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event.document)
    return found


# ---- modes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "mode"),
    [
        ("application/cloudevents+json", Mode.STRUCTURED),
        ("Application/CloudEvents+JSON; charset=UTF-8", Mode.STRUCTURED),
        ("application/cloudevents-batch+json", Mode.BATCH),
        ('application/cloudevents-batch+json;charset="utf-8"', Mode.BATCH),
        ("application/cloudevents+xml", None),
        ("application/cloudevents", None),
        ("application/cloudevents+json; charset=utf-16", None),
        ("application/json", Mode.BINARY),
        ("", Mode.BINARY),
        ("no media type", Mode.BINARY),
    ],
)
def test_the_content_type_tells_the_mode(content_type: str, mode: Mode | None) -> None:
    assert mode_of(content_type, [(b"ce-id", b"1")]) is mode


def test_without_any_ce_header_a_request_carries_no_event() -> None:
    assert mode_of("application/json", [(b"content-type", b"application/json")]) is None


# ---- what is kept --------------------------------------------------------------------------------------------------


def test_a_structured_event_is_kept_byte_for_byte() -> None:
    body = b' {"type":"t", "id":"1","source":"urn:a","specversion":"1.0","ext1":5,"data":{"n": 1.50}}\n'
    (event,) = read_events(Mode.STRUCTURED, [], body)
    assert event == CloudEvent("1", "urn:a", "t", None, None, body)


def test_the_same_event_in_binary_mode_is_the_same_document() -> None:
    whole = {
        **BARE,
        "time": "2018-04-05T17:31:00Z",
        "subject": "a b/ü",
        "dataschema": "https://example.com/s",
        "comexampleextension1": "value",
    }
    sent = {
        **whole,
        "subject": "a%20b/%c3%BC",
    }
    event = binary(b'{"appinfo": [1, 2.0]}', "application/json; charset=utf-8", **sent)
    expected = {**whole, "datacontenttype": "application/json; charset=utf-8", "data": {"appinfo": [1, 2.0]}}
    assert document(event) == expected
    assert b"2.0" in event.document
    assert (event.subject, event.time) == ("a b/ü", "2018-04-05T17:31:00Z")


@pytest.mark.parametrize(
    ("body", "content_type", "member", "value"),
    [
        (b'"text"', "application/json", "data", "text"),
        (b"null", "application/json", "data", None),
        (b"5", "application/vnd.api+json", "data", 5),
        (b"<a/>", "application/xml", "data_base64", base64.b64encode(b"<a/>").decode()),
        (b"\xff\x00", "", "data_base64", "/wA="),
    ],
)
def test_data_of_any_kind_is_kept(body: bytes, content_type: str, member: str, value: object) -> None:
    found = document(binary(body, content_type))
    assert found[member] == value
    assert found.get("datacontenttype", "") == content_type


def test_no_body_is_no_data_although_its_type_is_told() -> None:
    assert set(document(binary(content_type="application/json"))) == {*BARE, "datacontenttype"}


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"subject": None, "time": None, "datacontenttype": None},
        {"data": None},
        {"data": "a string"},
        {"data": [1]},
        {"data": "<a/>", "datacontenttype": "application/xml"},
        {"data": {"a": 1}, "datacontenttype": "text/json"},
        {"data_base64": "AAEC", "datacontenttype": "application/vnd.apache.thrift.binary"},
        {"data_base64": ""},
        {"flag": True, "count": -2147483648, "text": "", "none": None},
        {"averylongattributenamethatisonlydiscouraged": "x"},
        {"dataschema": "urn:schema:1"},
        {"source": "montecarlo/of/somebody/else"},
        {"source": "urn:montecarlo"},
        {"type": "ü" * 512},
    ],
)
def test_what_the_specification_allows_is_taken(members: dict[str, Any]) -> None:
    assert document(structured(**members)) == {**BARE, **members}


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BARE)
@pytest.mark.parametrize("value", [None, "", 5, True, ["1.0"]])
def test_required_attributes_are_text_that_is_not_empty(name: str, value: object) -> None:
    with pytest.raises(RejectedError, match=f"^{name} is"):
        structured(**{name: value})


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"specversion": "0.3"}, "specversion is not 1.0"),
        ({"specversion": "1.0.2"}, "specversion is not 1.0"),
        ({"source": "a b"}, "source is not a URI reference"),
        ({"source": "http://bücher.example"}, "source is not a URI reference"),
        ({"source": "x" * 1025}, "source is longer"),
        ({"type": "x" * 513}, "type is longer"),
        ({"subject": "x" * 513}, "subject is longer"),
        ({"subject": ""}, "subject is empty"),
        ({"subject": 5}, "subject is not a string"),
        ({"time": "yesterday"}, "time is not RFC 3339"),
        ({"time": 1522949460}, "time is not a string"),
        ({"dataschema": "/relative"}, "dataschema is not an absolute URI"),
        ({"dataschema": ""}, "dataschema is not an absolute URI"),
        ({"datacontenttype": "json"}, "datacontenttype is not a media type"),
        ({"datacontenttype": "a/b; c"}, "datacontenttype is not a media type"),
        ({"data": 1, "data_base64": "AA=="}, "exclude each other"),
        ({"data": None, "data_base64": "AA=="}, "exclude each other"),
        ({"data_base64": "A"}, "not base64"),
        ({"data_base64": "AA==\n"}, "not base64"),
        ({"data_base64": "_-=="}, "not base64"),
        ({"data_base64": 5}, "not base64"),
        ({"data": {"a": 1}, "datacontenttype": "application/xml"}, "data is not a string"),
        ({"Upper": "x"}, "attribute names"),
        ({"with_line": "x"}, "attribute names"),
        ({"with-dash": None}, "attribute names"),
        ({"": "x"}, "attribute names"),
        ({"ünicode": "x"}, "attribute names"),
        ({"ext": 1.5}, "an extension is neither"),
        ({"ext": 2**31}, "an extension is neither"),
        ({"ext": {"a": 1}}, "an extension is neither"),
        ({"ext": ["a"]}, "an extension is neither"),
        ({"ext": "a\u0000b"}, "an extension has characters"),
        ({"id": "a\u0085b"}, "id has characters"),
        ({"type": "a\ufffe"}, "type has characters"),
        ({"subject": "\U0001ffff"}, "subject has characters"),
    ],
)
def test_what_the_specification_forbids_is_refused_by_name(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedError, match=reason):
        structured(**members)


@pytest.mark.parametrize(
    "source",
    ["montecarlo", "MonteCarlo", "atlan", "/atlan", "atlas/", "./montecarlo", "%6dontecarlo", "//montecarlo"],
)
def test_nobody_can_pass_for_a_source_that_has_an_endpoint_of_its_own(source: str) -> None:
    with pytest.raises(RejectedError, match="source is reserved"):
        structured(source=source)
    with pytest.raises(RejectedError, match="source is reserved"):
        binary(source=source.replace("%", "%25"))


@pytest.mark.parametrize("body", [b"", b"{", b"[5]", b"5", b'{"id": "\\ud800"}', b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("mode", [Mode.STRUCTURED, Mode.BATCH])
def test_a_body_that_is_no_event_is_refused(body: bytes, mode: Mode) -> None:
    with pytest.raises(RejectedError):
        read_events(mode, [], body)


def test_json_that_is_none_is_refused_and_cannot_add_attributes() -> None:
    for body in (b"{", b'1,"source":"montecarlo"', b"{} {}", b"\xff", b"[" * 40 + b"]" * 40):
        with pytest.raises(RejectedError):
            binary(body, "application/json")


# ---- headers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("Euro%20%e2%82%ac", "Euro €"),
        ("%41%2f", "A/"),
        ("100%2525", "100%25"),
        ("with space", "with space"),
        ("  trimmed  ", "trimmed"),
        ('"quoted \\"text\\" and \\\\"', 'quoted "text" and \\'),
        ('"a%20b"', "a b"),
        ('a"b c"d', "ab cd"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_a_header_is_unquoted_and_then_percent_decoded_once(sent: str, meant: str) -> None:
    assert binary(subject=sent).subject == meant


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("%C0%A0", "not UTF-8"),
        ("%ff", "not UTF-8"),
        ("%", "percent sign"),
        ("%zz", "percent sign"),
        ('"open', "quote that does not end"),
        ("fran\xe7ais", "printable ASCII"),
        ("%00", "subject has characters"),
        ("", "subject is empty"),
    ],
)
def test_a_header_that_cannot_be_decoded_is_refused(sent: str, reason: str) -> None:
    with pytest.raises(RejectedError, match=reason):
        binary(subject=sent)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ((b"ce-datacontenttype", b"text/plain"), "ce-datacontenttype"),
        ((b"ce-data", b"x"), "attribute names"),
        ((b"ce-with-dash", b"x"), "attribute names"),
        ((b"ce-", b"x"), "attribute names"),
        ((b"ce-\xff", b"x"), "attribute names"),
        ((b"ce-id", b"other"), "twice"),
    ],
)
def test_headers_that_no_event_may_have_are_refused(extra: tuple[bytes, bytes], reason: str) -> None:
    sent = [(f"ce-{name}".encode(), value.encode()) for name, value in BARE.items()]
    with pytest.raises(RejectedError, match=reason):
        read_events(Mode.BINARY, [*sent, extra], b"")


def test_headers_that_are_no_attributes_are_ignored() -> None:
    sent = [(f"ce-{name}".encode(), value.encode()) for name, value in BARE.items()]
    assert read_events(Mode.BINARY, [*sent, (b"x-other", b"\xff")], b"") == [binary()]


# ---- batches -------------------------------------------------------------------------------------------------------


def test_a_batch_keeps_its_order_and_each_event_as_it_is() -> None:
    body = json.dumps([{**BARE, "id": str(n), "data": n} for n in range(3)]).encode()
    events = read_events(Mode.BATCH, [], body)
    assert [(event.id, document(event)["data"]) for event in events] == [("0", 0), ("1", 1), ("2", 2)]


def test_an_empty_batch_is_a_batch() -> None:
    assert read_events(Mode.BATCH, [], b" [ ] ") == []


def test_one_bad_event_refuses_its_batch_and_says_which() -> None:
    body = json.dumps([BARE, {**BARE, "time": "never"}]).encode()
    with pytest.raises(RejectedError, match="time is not RFC 3339: event 2 of the batch"):
        read_events(Mode.BATCH, [], body)


def test_a_batch_has_a_largest_size() -> None:
    assert len(read_events(Mode.BATCH, [], json.dumps([BARE] * MAX_BATCH).encode())) == MAX_BATCH
    with pytest.raises(RejectedError, match="more than 1000 events"):
        read_events(Mode.BATCH, [], json.dumps([BARE] * (MAX_BATCH + 1)).encode())


# ---- the record ----------------------------------------------------------------------------------------------------


def test_the_id_is_made_of_tenant_source_and_id_and_of_nothing_else() -> None:
    event = metadata_event(structured(subject="orders", time="2018-04-05T17:31:00Z"), "acme")
    assert event.id == str(identity.event_id("acme", "/mycontext", "A-1"))
    assert metadata_event(structured(data=1, type="other"), "acme").id == event.id
    assert metadata_event(structured(), "globex").id != event.id
    assert (event.subject, event.time, event.tenant) == ("orders", "2018-04-05T17:31:00Z", "acme")
    assert decode_event(encode_event(event)) == event


def test_an_event_without_a_subject_is_its_own() -> None:
    event = metadata_event(structured(), "acme")
    assert event.subject == f"event:{event.id}"


@given(st.binary(max_size=300))
def test_whatever_bytes_come_they_are_events_or_refused(noise: bytes) -> None:
    headers = [(b"ce-" + noise[:5], noise[5:20]), (b"content-type", noise[20:40]), (b"ce-id", noise)]
    for mode in Mode:
        for body in (noise, json.dumps([{**BARE, "ext": noise.decode("latin-1")}]).encode()):
            with suppress(RejectedError):
                read_events(mode, headers, body)
    mode_of(noise.decode("latin-1"), headers)


@given(st.text(max_size=50), st.sampled_from(["subject", "ext"]))
def test_any_text_an_attribute_may_have_survives_both_modes(text: str, name: str) -> None:
    try:
        said = structured(**{name: text})
    except RejectedError:
        return
    assert document(binary(**{name: quote(text, safe="")}))[name] == text == document(said)[name]
