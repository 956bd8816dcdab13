"""A record of ``meta.events.v1`` to rows: decode, check, normalise. The same in-process and on Flink."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from airflow_provider_atlan_meta.core import identity, montecarlo
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import MetadataEvent, decode_event, received_at_ms
from airflow_provider_atlan_meta.core.rows import EntityRow, EventRow, LogRecord, Statement
from airflow_provider_atlan_meta.core.tenancy import is_tenant

# PostgreSQL's text takes neither NUL nor a lone surrogate.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_MAX_TEXT = 4096
# timestamptz ends long before 48 bits of milliseconds do
_MAX_RECEIVED_AT_MS = 253_402_300_799_999


def enrich(record: LogRecord) -> EventRow:
    """The record as rows.

    :raises RejectedError: it is not an event, now or later; ``reason`` groups, ``detail`` says where.
    """
    if record.value is None:
        raise RejectedError("no value", detail="a tombstone is not an event")
    event = decode_event(record.value)
    payload = bytes(event.data)
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise RejectedError("payload is not UTF-8", detail=f"at byte {error.start}") from None
    tenant = event.tenant
    if not is_tenant(tenant):
        raise RejectedError("tenant without a tenant's form")
    if record.key is None or not record.key.startswith(f"{tenant}|".encode()):
        raise RejectedError("key of another tenant", detail="the record's key does not begin with its tenant")
    if not event.subject:
        raise RejectedError("subject empty")
    received_ms = received_at_ms(record.headers)
    if received_ms > _MAX_RECEIVED_AT_MS:
        raise RejectedError("received_at is after the year 9999")
    event_id = _event_id(event.id)
    statement, entities = _statement(event, payload, received_ms * 1000)
    row = EventRow(
        record.offset,
        identity.event_key(event_id, received_ms),
        tenant,
        event_id,
        event.source,
        event.type,
        event.subject,
        None,
        received_ms * 1000,
        payload,
        statement,
        entities,
    )
    _check_storable(row)
    return row


def _event_id(text: str) -> bytes:
    try:
        event_id = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        event_id = b""
    if len(event_id) != 16:
        raise RejectedError("id is not a UUID")
    return event_id


def _statement(
    event: MetadataEvent, payload: bytes, received_at: int
) -> tuple[Statement | None, tuple[EntityRow, ...]]:
    """Only a webhook that names its incident says something of one; the rest is kept as an event."""
    if event.source != montecarlo.NAME or event.subject.startswith("event:"):
        return None, ()
    try:
        webhook = montecarlo.parse_webhook(payload)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RejectedError("webhook has another shape", detail=str(error)[:300]) from None
    if webhook.payload is None or webhook.payload.incident_id != event.subject:
        raise RejectedError("subject is not the webhook's incident")
    return montecarlo.statement_of(webhook, webhook.payload, event.tenant, received_at)


def _check_storable(row: EventRow) -> None:
    """What the decoder lets through and PostgreSQL would refuse, failing the whole batch with it."""
    texts: list[Any] = [row.source, row.type, row.subject]
    if row.statement is not None:
        texts += [value for _, value in row.statement if value.__class__ is str]
    for entity in row.entities:
        texts.append(entity.qualified_name)
    for text in texts:
        if len(text) > _MAX_TEXT:
            raise RejectedError("text too long", detail=f"more than {_MAX_TEXT} characters")
        if (not text.isascii() or "\0" in text) and _UNSTORABLE.search(text):
            raise RejectedError("text with NUL or a lone surrogate")
