"""What PostgreSQL really holds, by plain SQL: the oracle's other half."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from airflow_provider_atlan_meta.sandbox.expected_rows import EFFECTIVE

ENTITY_COLUMNS = ("qualified_name", "type_name", "name", "platform", "database_name", "schema_name")
_TIMES = ("opened_at", "updated_at", "resolved_at")


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """:param received_at: milliseconds since 1970.
    :param committed_at: seconds since 1970, when the row's transaction committed; None: no longer known.
    """

    tenant: str
    event_id: UUID
    subject: str
    source: str
    type: str
    received_at: int
    duplicate_of: UUID | None
    payload: str
    committed_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class StoredRow:
    """An incident or entity: its effective columns and how often they changed."""

    tenant: str
    id: str
    values: dict[str, Any]
    revision: int
    unconfirmed: bool = True


@dataclass(frozen=True)
class ChangeMessage:
    """One message of the log: revision ``revision`` of one row."""

    kind: str
    tenant: str
    id: str
    revision: int


@dataclass(frozen=True, kw_only=True)
class Stored:
    """:param links: (tenant, entity id, incident id).
    :param messages: None where nobody listened from the start.
    """

    events: Sequence[StoredEvent]
    incidents: Sequence[StoredRow]
    entities: Sequence[StoredRow]
    links: frozenset[tuple[str, UUID, str]]
    dead_letters: int = 0
    messages: Sequence[ChangeMessage] | None = None


def read_stored(
    dsn: str,
    tenants: Sequence[str],
    *,
    since: float = 0.0,
    messages: Sequence[ChangeMessage] | None = None,
) -> Stored:
    """Everything of ``tenants``, in one snapshot.

    :param dsn: any role that may read; row level security is satisfied here.
    :param since: seconds since 1970; leaves out what earlier runs stored in the same database.
    """
    bounds = {"tenants": list(tenants), "since": datetime.fromtimestamp(since, UTC)}
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        connection.execute("set transaction isolation level repeatable read read only")
        connection.execute("select set_config('meta.tenants', %s, true)", [",".join(tenants)])
        found = {name: connection.execute(query, bounds).fetchall() for name, query in _QUERIES.items()}
    return Stored(
        events=[_event(row) for row in found["event"]],
        incidents=[_row(row, "incident_id", EFFECTIVE) for row in found["incident"]],
        entities=[_row(row, "entity_id", ENTITY_COLUMNS) for row in found["entity"]],
        links=frozenset((row["tenant_id"], row["entity_id"], row["incident_id"]) for row in found["link"]),
        dead_letters=len(found["dead_letter"]),
        messages=messages,
    )


_QUERIES = {
    "event": """
      select tenant_id, event_id, subject, source, type, received_at, duplicate_of, payload::text as payload,
             pg_xact_commit_timestamp(xmin) as committed_at
        from meta.event where tenant_id = any(%(tenants)s) and received_at >= %(since)s order by event_key""",
    "incident": "select * from meta.incident where tenant_id = any(%(tenants)s) and opened_at >= %(since)s",
    "entity": "select * from meta.entity where tenant_id = any(%(tenants)s) and changed_at >= %(since)s",
    "link": """
      select l.* from meta.incident_entity l join meta.incident i using (tenant_id, incident_id)
       where l.tenant_id = any(%(tenants)s) and i.opened_at >= %(since)s""",
    "dead_letter": "select 1 from meta.dead_letter where tenant_id = any(%(tenants)s) and at >= %(since)s",
}


def _event(row: dict[str, Any]) -> StoredEvent:
    committed: datetime | None = row["committed_at"]
    return StoredEvent(
        tenant=row["tenant_id"],
        event_id=row["event_id"],
        subject=row["subject"],
        source=row["source"],
        type=row["type"],
        received_at=milliseconds(row["received_at"]),
        duplicate_of=row["duplicate_of"],
        payload=row["payload"],
        committed_at=committed.timestamp() if committed is not None else None,
    )


def _row(row: dict[str, Any], id_column: str, columns: Sequence[str]) -> StoredRow:
    values = {name: row[name] for name in columns}
    for name in _TIMES:
        if isinstance(values.get(name), datetime):
            values[name] = milliseconds(values[name])
    if "entity_ids" in values:
        values["entity_ids"] = tuple(values["entity_ids"])
    return StoredRow(
        tenant=row["tenant_id"],
        id=str(row[id_column]),
        values=values,
        revision=row["revision"],
        unconfirmed=row.get("unconfirmed", True),
    )


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


class ChangeLog:
    """Change messages by a logical slot of our own: what was committed since :meth:`listen`.

    :param dsn: a role with REPLICATION.
    """

    def __init__(self, dsn: str, slot: str) -> None:
        self._dsn, self.slot = dsn, slot

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            yield connection

    def listen(self) -> None:
        """Begins (again) here."""
        self.drop()
        with self._connection() as connection:
            connection.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", [self.slot])

    def read(self) -> list[ChangeMessage]:
        """Everything since the slot began; reading consumes nothing."""
        with self._connection() as connection:
            rows = connection.execute(
                "select substring(data from 'content:(.*)') from pg_logical_slot_peek_changes(%s, null, null)"
                " where data like 'message: %% prefix: outbox, %%'",
                [self.slot],
            )
            return [_message(text) for (text,) in rows]

    def drop(self) -> None:
        with self._connection() as connection:
            connection.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s",
                [self.slot],
            )


def _message(text: str) -> ChangeMessage:
    change = json.loads(json.loads(text)["payload"])
    return ChangeMessage(change["kind"], change["tenant_id"], change["id"], change["revision"])
