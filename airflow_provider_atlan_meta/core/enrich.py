"""A record of ``meta.events.v1`` to rows: decode, check, normalise. The same in-process and on Flink."""

from __future__ import annotations

import re
from binascii import unhexlify
from functools import lru_cache

import msgspec

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import RECEIVED_AT, EventHead, MetadataEvent, decode_event
from airflow_provider_atlan_meta.core.mapping import NO_MAPPINGS, Mappings
from airflow_provider_atlan_meta.core.montecarlo import NAME, Webhook, parse_webhook, statement_of
from airflow_provider_atlan_meta.core.montecarlo_api import (
    ALERT_TYPE,
    Alert,
    AlertRecord,
    answer_of,
    parse_alert_record,
)
from airflow_provider_atlan_meta.core.rows import Answer, EntityRow, EventRow, LogRecord, Statement
from airflow_provider_atlan_meta.core.tenancy import is_tenant

_MAX_TEXT = 4096
# PostgreSQL's text takes neither NUL nor a lone surrogate.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_BACKSLASH = ord("\\")
# timestamptz ends long before 48 bits of milliseconds do
_MAX_RECEIVED_AT_MS = 253_402_300_799_999

# how encode_event writes the key; quotes inside a text are escaped, so outside the body only the key looks like this
_DATA = b',"data":'


def enrich(record: LogRecord, mappings: Mappings = NO_MAPPINGS) -> EventRow:
    """The record as rows.

    :param mappings: what its tables are called; where none says, they are provisional.
    :raises RejectedError: it is not an event, now or later; ``reason`` groups, ``detail`` says where.
    """
    _, offset, key, value, headers = record
    if value is None:
        raise RejectedError("no value", detail="a tombstone is not an event")
    head, payload, body = _decode(value)
    tenant, subject = head.tenant, head.subject
    prefix = _key_prefix(tenant)
    if key is None or not key.startswith(prefix):
        raise RejectedError("key of another tenant", detail="the record's key does not begin with its tenant")
    if not subject:
        raise RejectedError("subject empty")
    received_ms = _received_at_ms(headers)
    received_at = received_ms * 1000
    event_id = _event_id(head.id)
    statement: Statement | None = None
    entities: tuple[EntityRow, ...] = ()
    occurred_at = seen = None
    if isinstance(body, Webhook):
        said = body.payload
        if said is None or said.incident_id != subject:
            raise RejectedError("subject is not the webhook's incident")
        statement, entities = statement_of(body, said, tenant, received_at, mappings)
    elif body is not None:
        if body.alert.id != subject:
            raise RejectedError("subject is not the alert's incident")
        occurred_at, seen = body.alert.updated_at, body.seen
        statement, entities = answer_of(body.alert, tenant, mappings)
    row = EventRow(
        offset, identity.event_key(event_id, received_ms), tenant, event_id, head.source, head.type, subject,
        occurred_at, received_at, payload, statement, entities, seen,
    )  # fmt: skip
    # short ASCII without escaped characters holds nothing of what is looked for
    if len(value) > _MAX_TEXT or not value.isascii() or (_BACKSLASH in value and b"\\u" in value):
        _check_storable(row)
    return row


class _WebhookEvent(EventHead, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """An envelope around a webhook: both in one pass."""

    data: Webhook


# one pass over the record, whatever of the webhook is not mapped is skipped
decode_webhook_event = msgspec.json.Decoder(_WebhookEvent).decode


def _decode(value: bytes) -> tuple[EventHead, bytes, Webhook | AlertRecord | None]:
    """Envelope, body, and what the body says where it speaks of an incident."""
    try:
        event = decode_webhook_event(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_exactly(value)
    cut = value.find(_DATA)
    # all other fields are text: where no object was opened yet it is the envelope's key, not one of the body, and
    # behind an object that ends with the envelope no field follows (PostgreSQL refuses the body of a key said twice)
    if cut < 0 or value.find(b"{", 1, cut) > 0 or not value.endswith(b"}}"):
        return _decode_exactly(value)
    return event, value[cut + len(_DATA) : -1], event.data if _speaks_of_incident(event) else None


def _decode_exactly(value: bytes) -> tuple[EventHead, bytes, Webhook | AlertRecord | None]:
    """However the envelope is written and whatever its body is; says what is wrong with either."""
    event = decode_event(value)
    payload = bytes(event.data)
    if not _speaks_of_incident(event):
        return event, payload, None
    if _is_alert(event):
        return event, payload, parse_alert_record(payload)
    try:
        return event, payload, parse_webhook(payload)
    except UnicodeDecodeError:
        raise RejectedError("payload is not UTF-8", detail="in a field the rows need") from None
    except (msgspec.ValidationError, RecursionError) as error:
        raise RejectedError("webhook has another shape", detail=str(error)[:300]) from None


def _speaks_of_incident(event: EventHead) -> bool:
    """Only a webhook that names its incident says something of one; the rest is kept as an event."""
    return event.source == NAME and not event.subject.startswith("event:")


def _is_alert(event: MetadataEvent) -> bool:
    """A webhook may call itself as it likes, but never has a time."""
    return event.type == ALERT_TYPE and event.time is not msgspec.UNSET


@lru_cache(maxsize=4096)
def _key_prefix(tenant: str) -> bytes:
    if not is_tenant(tenant):
        raise RejectedError("tenant without a tenant's form")
    return tenant.encode() + b"|"


def _received_at_ms(headers: tuple[tuple[str, bytes | None], ...]) -> int:
    """The producer's stamp: the only time a webhook has."""
    for name, value in headers:
        if name == RECEIVED_AT:
            if value is None or len(value) > 15 or not value.isdigit():
                raise RejectedError("header received_at is not a time in milliseconds")
            received_ms = int(value)
            if received_ms > _MAX_RECEIVED_AT_MS:
                raise RejectedError("header received_at is after the year 9999")
            return received_ms
    raise RejectedError("header received_at is missing")


def _event_id(text: str) -> bytes:
    try:
        event_id = unhexlify(text.replace("-", ""))
    except ValueError:
        event_id = b""
    if len(event_id) != 16:
        raise RejectedError("id is not a UUID")
    return event_id


def storable_answer(alert: Alert, tenant: str, mappings: Mappings = NO_MAPPINGS) -> Answer:
    """What an alert says that did not come as a record.

    :raises RejectedError: PostgreSQL would refuse it.
    """
    answer = answer_of(alert, tenant, mappings)
    _check_texts([alert.id], answer.statement, answer.entities)
    return answer


def _check_storable(row: EventRow) -> None:
    """What the decoder lets through and PostgreSQL would refuse, failing the whole batch with it."""
    try:
        row.payload.decode()
    except UnicodeDecodeError as error:
        raise RejectedError("payload is not UTF-8", detail=f"at byte {error.start}") from None
    _check_texts([row.source, row.type, row.subject], row.statement or (), row.entities)


def _check_texts(texts: list[str], statement: Statement, entities: tuple[EntityRow, ...]) -> None:
    texts = texts + [entity.qualified_name for entity in entities]
    texts += [value for value in statement if value.__class__ is str]
    for text in texts:
        if len(text) > _MAX_TEXT:
            raise RejectedError("text too long", detail=f"more than {_MAX_TEXT} characters")
        if _UNSTORABLE.search(text):
            raise RejectedError("text with NUL or a lone surrogate")
