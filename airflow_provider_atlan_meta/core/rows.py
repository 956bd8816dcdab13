"""What the stores are told: one record as rows, in units PostgreSQL and Cassandra share.

Ids and keys are 16 bytes, times are microseconds since 1970 UTC.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

# The effective columns of an incident, in the order of its `positions`: only they make a new revision.
INCIDENT_FIELDS = (
    "source",
    "type",
    "title",
    "severity",
    "priority",
    "status",
    "owner",
    "url",
    "opened_at",
    "updated_at",
    "resolved_at",
    "entity_ids",
)
(
    SOURCE,
    TYPE,
    TITLE,
    SEVERITY,
    PRIORITY,
    STATUS,
    OWNER,
    URL,
    OPENED_AT,
    UPDATED_AT,
    RESOLVED_AT,
    ENTITY_IDS,
) = range(12)

# What one record says of its incident, in the order of INCIDENT_FIELDS: UNSET says nothing, None clears.
Statement = tuple[Any, ...]


class LogRecord(NamedTuple):
    """One Kafka record as every reader sees it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class EntityRow(msgspec.Struct, frozen=True, gc=False):
    tenant_id: str
    entity_id: bytes
    qualified_name: str
    type_name: str
    name: str
    platform: str
    database_name: str | None
    schema_name: str | None
    content_hash: int


class EventRow(msgspec.Struct, frozen=True, gc=False):
    """A record after decoding and normalising.

    :param statement: what it says of the incident named by ``subject``; None: it touches no incident.
    :param payload: the source's own JSON, byte for byte.
    :param seen: of a record of the source's API: the incident's newest webhook when the API was asked (-1: none
        yet); None: not from there.
    """

    offset: int
    event_key: bytes
    tenant_id: str
    event_id: bytes
    source: str
    type: str
    subject: str
    occurred_at: int | None
    received_at: int
    payload: bytes
    statement: Statement | None
    entities: tuple[EntityRow, ...]
    seen: int | None = None


class Answer(NamedTuple):
    """What the source's API says of an incident now: its statement states ``updated_at``."""

    statement: Statement
    entities: tuple[EntityRow, ...]


class IncidentRow(NamedTuple):
    """An incident as ``apply_batch`` writes it; ``revision`` is the one this write makes."""

    tenant_id: str
    incident_id: str
    values: tuple[Any, ...]
    positions: tuple[int, ...]
    log_position: int
    last_event_id: bytes | None
    unconfirmed: bool
    revision: int


class Link(NamedTuple):
    """An incident gains or loses an entity."""

    tenant_id: str
    entity_id: bytes
    incident_id: str
    dropped: bool


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A record that will never be a row, with everything needed to send it again.

    :param tenant_id: None when it could not be read: then no tenant sees it.
    :param stage: ``decode`` or ``store``.
    :param reason: groups equal failures; never a value of the record.
    """

    offset: int
    tenant_id: str | None
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None
    stage: str
    reason: str
    fingerprint: str
