"""B1's peer: the same rows from the same records by pydantic v2, written with care.

One pass over the value with the whole documented webhook as nested models, what a field may hold said by its type. It
shares what has nothing to do with pydantic: keys, cached entities, the row's own type, and the payload cut out of the
value instead of encoded again.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, UnsetType
from pydantic import BaseModel, StringConstraints, ValidationError

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.montecarlo import NAME, TERMINAL_STATUSES, provisional_entity
from airflow_provider_atlan_meta.core.rows import EntityRow, EventRow, LogRecord, Statement

_DATA = b',"data":'
_MAX_TITLE = 1024
_MAX_RECEIVED_AT_MS = 253_402_300_799_999

# What PostgreSQL's text takes; lone surrogates are refused by pydantic's parser.
Text = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00]*$")]


class Hit(BaseModel):
    field: str | None = None
    measurement_timestamp: str | None = None
    timestamp: str | None = None
    value: str | None = None
    value_rounded: str | None = None


class RuleComparison(BaseModel):
    metric: str | None = None
    operator: str | None = None
    threshold: str | None = None


class Data(BaseModel):
    hits: list[Hit] = []
    metric_display_name: str | None = None
    rule_comparisons: list[RuleComparison] = []


class Comparison(BaseModel):
    field: str | None = None
    full_table_id: str | None = None
    metric: str | None = None
    operator: str | None = None
    threshold: float | None = None
    warehouse_uuid: UUID | None = None


class Rule(BaseModel):
    comparisons: list[Comparison] = []
    creator_id: str | None = None
    description: Text | None = None
    execution_time: str | None = None
    prev_execution_time: str | None = None
    rule_type: str | None = None
    start_time: str | None = None
    timezone: str | None = None
    uuid: UUID | None = None


class Item(BaseModel):
    table_name: Name | None = None
    event_details: Text | None = None
    data: Data | None = None
    rule: Rule | None = None


class Payload(BaseModel):
    incident_id: Text
    group_id: Name | None = None
    url: Text | None = None
    event_list: list[Item] | None = None
    rule: Rule | None = None
    alert_feedback: Text | None = None
    declared_alert_severity: Text | None = None
    owner: Text | None = None


class Account(BaseModel):
    id: Name = ""


class Webhook(BaseModel):
    type: Text = "unknown"
    version: str | None = None
    action: str | None = None
    account: Account | None = None
    payload: Payload
    alert_feedback: Text | None = None
    declared_alert_severity: Text | None = None
    owner: Text | None = None


class Envelope(BaseModel):
    specversion: str = "1.0"
    id: UUID
    source: Text
    type: Text
    subject: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    tenant: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{1,30}$")]
    data: Webhook


class MappedItem(BaseModel):
    table_name: Name | None = None
    event_details: Text | None = None
    rule: MappedRule | None = None


class MappedRule(BaseModel):
    description: Text | None = None


class MappedPayload(Payload):
    event_list: list[MappedItem] | None = None  # type: ignore[assignment]
    rule: MappedRule | None = None  # type: ignore[assignment]


class MappedWebhook(Webhook):
    payload: MappedPayload


class MappedEnvelope(Envelope):
    """Only what the rows need, as our own structs do: a second, harder peer."""

    data: MappedWebhook


def enrich(record: LogRecord, envelope: type[Envelope] = Envelope) -> EventRow:
    """Does what ``core.enrich.enrich`` does."""
    value = record.value
    if value is None or record.key is None:
        raise RejectedError("no value or key")
    try:
        event = envelope.model_validate_json(value)
    except ValidationError as error:
        raise RejectedError("record is not a MetadataEvent", detail=str(error)[:300]) from None
    if not record.key.startswith(f"{event.tenant}|".encode()):
        raise RejectedError("key of another tenant")
    if event.data.payload.incident_id != event.subject:
        raise RejectedError("subject is not the webhook's incident")
    received_ms = _received_at(record)
    received_at = received_ms * 1000
    statement, entities = _statement(event.data, event.tenant, received_at)
    event_id = event.id.bytes
    return EventRow(
        record.offset,
        identity.event_key(event_id, received_ms),
        event.tenant,
        event_id,
        event.source,
        event.type,
        event.subject,
        None,
        received_at,
        value[value.index(_DATA) + len(_DATA) : -1],
        statement,
        entities,
    )


def enrich_mapped(record: LogRecord) -> EventRow:
    return enrich(record, MappedEnvelope)


def _received_at(record: LogRecord) -> int:
    for name, value in record.headers:
        if name == "received_at":
            if value is not None and value.isdigit() and (received := int(value)) <= _MAX_RECEIVED_AT_MS:
                return received
            break
    raise RejectedError("header received_at is missing or no time")


def _statement(hook: Webhook, tenant: str, received_at: int) -> tuple[Statement, tuple[EntityRow, ...]]:
    payload = hook.payload
    said, said_beside = payload.model_fields_set, hook.model_fields_set
    items = payload.event_list
    entities: tuple[EntityRow, ...] = ()
    if items:
        account = hook.account.id if hook.account is not None else ""
        names = dict.fromkeys([item.table_name for item in items if item.table_name is not None])
        entities = tuple([provisional_entity(tenant, account, payload.group_id, name) for name in names])
    status: str | UnsetType | None = UNSET
    resolved_at: int | UnsetType | None = UNSET
    if "alert_feedback" in said or "alert_feedback" in said_beside:
        status = payload.alert_feedback if "alert_feedback" in said else hook.alert_feedback
        if status == "no_status":
            status = None
        elif status is not None:
            status = "ACKNOWLEDGED" if status == "investigating" else status.upper()
        resolved_at = received_at if status in TERMINAL_STATUSES else None
    severity: Any = UNSET
    if "declared_alert_severity" in said or "declared_alert_severity" in said_beside:
        severity = (payload if "declared_alert_severity" in said else hook).declared_alert_severity
        if severity is not None and severity.startswith("SEV_"):
            severity = severity.replace("_", "-")
    owner: Any = UNSET
    if "owner" in said or "owner" in said_beside:
        owner = (payload if "owner" in said else hook).owner
    ids: Any = UNSET
    if "event_list" in said:
        ids = tuple(sorted([entity.entity_id for entity in entities]))
    url = payload.url if "url" in said else UNSET
    title: Any = _title(hook, items or [], entities)
    if title is not UNSET:
        title = title[:1024]
    statement = (
        NAME,
        hook.type,
        title,
        severity,
        UNSET,
        status,
        owner,
        url,
        received_at,
        UNSET,
        resolved_at,
        ids,
    )
    return statement, entities


def _title(hook: Webhook, items: list[Any], entities: tuple[EntityRow, ...]) -> str | UnsetType:
    rule = hook.payload.rule
    if rule is not None and rule.description is not None:
        return rule.description[:_MAX_TITLE]
    for item in items:
        rule = item.rule
        if rule is not None and rule.description is not None:
            return str(rule.description[:_MAX_TITLE])
    if not items:
        return UNSET
    if items[0].event_details is not None:
        return str(items[0].event_details[:_MAX_TITLE])
    words = hook.type.replace("_", " ")
    if entities:
        words = f"{words} on {hook.payload.group_id or ''}.{entities[0].name}"
    return words[:_MAX_TITLE]
