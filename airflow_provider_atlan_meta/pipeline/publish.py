"""What was received and checked to the log: name it and key it. Knows no HTTP and no Kafka client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import (
    MAX_SUBJECT,
    MAX_TYPE,
    MetadataEvent,
    encode_event,
    event_headers,
)
from airflow_provider_atlan_meta.core.json_document import Document, canonical_text
from airflow_provider_atlan_meta.core.ports import OutboundRecord

MONTECARLO = "montecarlo"
UNKNOWN_TYPE = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedWebhook:
    """A body whose signature was right.

    :param document: ``body`` parsed by ``json_document.parse_document``.
    :param received_at_ms: stamped once per webhook: it orders the event for ever.
    """

    tenant: str
    body: bytes
    document: Document
    received_at_ms: int
    traceparent: bytes | None = None


class Arrival(NamedTuple):
    """When an event was received, and the trace its sender is in.

    :param received_at_ms: stamped once per event: it orders the event for ever.
    """

    received_at_ms: int
    traceparent: bytes | None = None


class ReceiptClock:
    """Stamps that never repeat for one event: two equal webhooks in one millisecond are two records, not one key.

    Remembers only what was stamped in the present millisecond. For one thread.
    """

    def __init__(self) -> None:
        self._given: dict[str, int] = {}
        self._now = 0

    def stamp(self, event_id: str, now_ms: int) -> int:
        if now_ms > self._now:
            self._given = {event: given for event, given in self._given.items() if given >= now_ms}
            self._now = now_ms
        stamp = max(now_ms, self._given.get(event_id, -1) + 1)
        self._given[event_id] = stamp
        return stamp


def montecarlo_event(webhook: ReceivedWebhook) -> MetadataEvent:
    """The event a Monte Carlo webhook is.

    :raises RejectedError: its incident id or type is longer than an event may carry.
    """
    document = webhook.document
    event_id = str(identity.event_id(webhook.tenant, MONTECARLO, canonical_text(document)))
    kind = document.get("type")
    payload = document.get("payload")
    subject = payload.get("incident_id") if isinstance(payload, dict) else None
    if not isinstance(subject, str) or not subject:
        subject = f"event:{event_id}"
    elif len(subject) > MAX_SUBJECT:
        raise RejectedError(f"payload.incident_id is longer than {MAX_SUBJECT} characters")
    if not isinstance(kind, str) or not kind:
        kind = UNKNOWN_TYPE
    elif len(kind) > MAX_TYPE:
        raise RejectedError(f"type is longer than {MAX_TYPE} characters")
    return MetadataEvent(
        id=event_id,
        source=MONTECARLO,
        type=kind,
        subject=subject,
        tenant=webhook.tenant,
        data=msgspec.Raw(webhook.body),
    )


def event_record(event: MetadataEvent, topic: str, arrival: Arrival) -> OutboundRecord:
    """The record of an event: everything about one incident lands in one partition, in order."""
    return OutboundRecord(
        topic,
        identity.partition_key(event.tenant, event.subject),
        encode_event(event),
        event_headers(event, arrival.received_at_ms, arrival.traceparent),
    )
