"""The unit that flows: what a record on ``<prefix>.events.v1`` says, and how far it may go.

Readers of version 1 ignore fields they do not know; a field is never renamed or given another meaning.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from airflow_provider_atlan_meta.core.errors import RejectedError

MAX_BODY_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_SUBJECT = 512
MAX_TYPE = 512

RECEIVED_AT = "received_at"
CONTENT_TYPE = "content-type"
TRACEPARENT = "traceparent"
CE_SPECVERSION = "ce_specversion"
CE_ID = "ce_id"
CE_SOURCE = "ce_source"
CE_TYPE = "ce_type"
CE_SUBJECT = "ce_subject"
CE_TENANT = "ce_tenant"

Headers = list[tuple[str, bytes]]

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class EventHead(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the envelope says besides ``data`` and ``time``."""

    specversion: Annotated[str, msgspec.Meta(description="CloudEvents version of the envelope")] = "1.0"
    id: Annotated[
        str, msgspec.Meta(description="event_id (UUID text): the same thing said again has the same")
    ]
    source: Annotated[
        str,
        msgspec.Meta(
            description="The system that said it: montecarlo, atlan, atlas, or a CloudEvent's own source"
        ),
    ]
    type: Annotated[str, msgspec.Meta(description="The sender's own word; 'unknown' when it said none")]
    subject: Annotated[
        str,
        msgspec.Meta(
            max_length=MAX_SUBJECT,
            description="What it is about: an incident's id, an entity's qualified name or guid, a CloudEvent's own; "
            "'event:<id>' where none is named",
        ),
    ]
    tenant: Annotated[str, msgspec.Meta(description="Tenant of the credential that sent it")]


class MetadataEvent(EventHead, frozen=True, gc=False, kw_only=True):
    """One event in CloudEvents' words, with its tenant. ``data`` is the sender's own JSON, byte for byte."""

    data: Annotated[msgspec.Raw, msgspec.Meta(description="The sender's body as received")]
    time: Annotated[
        str | msgspec.UnsetType,
        msgspec.Meta(description="When it happened, as the sender says (RFC 3339); absent: it did not say"),
    ] = msgspec.UNSET


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(MetadataEvent)


def encode_event(event: MetadataEvent) -> bytes:
    return _ENCODER.encode(event)


def decode_event(value: bytes) -> MetadataEvent:
    """The event of a record's value; ``data`` stays undecoded and points into ``value``.

    :raises RejectedError: not an event; the detail names the field, never a value.
    """
    try:
        return _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedError("record is not a MetadataEvent", detail=_where(error)) from None


def event_headers(event: MetadataEvent, received_at_ms: int, traceparent: bytes | None = None) -> Headers:
    """The record's headers: routing needs no decoding, and the time of receipt is stamped exactly once.

    :param traceparent: as the caller sent it; one that is not W3C's form is dropped.
    """
    headers: Headers = [
        (RECEIVED_AT, b"%d" % received_at_ms),
        (CE_SPECVERSION, event.specversion.encode()),
        (CE_ID, event.id.encode()),
        (CE_SOURCE, event.source.encode()),
        (CE_TYPE, event.type.encode()),
        (CE_SUBJECT, event.subject.encode()),
        (CE_TENANT, event.tenant.encode()),
        (CONTENT_TYPE, b"application/json"),
    ]
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        headers.append((TRACEPARENT, traceparent))
    return headers


def trace_id(traceparent: bytes | None) -> str:
    """The trace a ``traceparent`` names; empty when it names none."""
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        return ""
    return traceparent[3:35].decode()


def _where(error: Exception) -> str:
    return str(error)[:200]
