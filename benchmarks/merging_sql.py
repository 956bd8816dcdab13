"""B2's second peer: the whole write set as a careful SQL author would write it by hand.

The same tables, triggers, policies and lease. A batch is one COPY into a staging table; then SQL merges: wave n holds
the n-th event of each incident, MERGE takes the fields an event states (a bit mask) and keeps the positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from msgspec import UNSET

from airflow_provider_atlan_meta.core.ports import Commit
from airflow_provider_atlan_meta.core.rows import (
    OWNER,
    RESOLVED_AT,
    SEVERITY,
    STATUS,
    TITLE,
    TYPE,
    URL,
    EventRow,
)
from benchmarks.corpus import TENANTS

_STAGED = {
    "event_key": "uuid",
    "tenant_id": "text",
    "incident_id": "text",
    "event_id": "uuid",
    "source": "text",
    "event_type": "text",
    "received_at": "timestamptz",
    "payload": "json",
    "position": "int8",
    "mask": "int4",
    "type": "text",
    "title": "text",
    "severity": "text",
    "status": "text",
    "owner": "text",
    "url": "text",
    "resolved_at": "timestamptz",
    "entity_ids": "uuid[]",
    "previous": "uuid",
    "wave": "int4",
}
_ENTITY = {
    "tenant_id": "text",
    "entity_id": "uuid",
    "qualified_name": "text",
    "type_name": "text",
    "name": "text",
    "platform": "text",
    "database_name": "text",
    "schema_name": "text",
    "content_hash": "int8",
    "position": "uuid",
}
# Which fields an event may leave unsaid; the others are said by every webhook of the corpus.
_SEVERITY, _STATUS, _OWNER = 1, 2, 4

_EVENTS = """
insert into meta.event (event_key, tenant_id, event_id, source, type, subject, received_at, duplicate_of, payload)
select s.event_key, s.tenant_id, s.event_id, s.source, s.event_type, s.incident_id, s.received_at,
       case when coalesce(s.previous, i.last_event_id) = s.event_id then s.event_id end, s.payload
  from staged s
  left join meta.incident i on i.tenant_id = s.tenant_id and i.incident_id = s.incident_id and s.previous is null
on conflict (event_key) do nothing"""

_WAVE = f"""
merge into meta.incident t using (select * from staged where wave = %s order by tenant_id, incident_id) s
   on t.tenant_id = s.tenant_id and t.incident_id = s.incident_id
when matched and t.log_position < s.position and t.last_event_id is distinct from s.event_id then update set
  type = s.type, title = s.title, url = s.url, entity_ids = s.entity_ids,
  severity = case when s.mask & {_SEVERITY} <> 0 then s.severity else t.severity end,
  status = case when s.mask & {_STATUS} <> 0 then s.status else t.status end,
  resolved_at = case when s.mask & {_STATUS} <> 0 then s.resolved_at else t.resolved_at end,
  owner = case when s.mask & {_OWNER} <> 0 then s.owner else t.owner end,
  positions = array[s.position, s.position, s.position,
    case when s.mask & {_SEVERITY} <> 0 then s.position else t.positions[4] end, t.positions[5],
    case when s.mask & {_STATUS} <> 0 then s.position else t.positions[6] end,
    case when s.mask & {_OWNER} <> 0 then s.position else t.positions[7] end,
    s.position, t.positions[9], t.positions[10],
    case when s.mask & {_STATUS} <> 0 then s.position else t.positions[11] end, s.position],
  log_position = s.position, last_event_id = s.event_id, unconfirmed = true
when not matched then insert (tenant_id, incident_id, source, type, title, severity, status, owner, url, opened_at,
    resolved_at, entity_ids, positions, log_position, last_event_id, unconfirmed)
  values (s.tenant_id, s.incident_id, s.source, s.type, s.title, s.severity, s.status, s.owner, s.url, s.received_at,
    s.resolved_at, s.entity_ids,
    array[s.position, s.position, s.position, case when s.mask & {_SEVERITY} <> 0 then s.position else -1 end, -1,
      case when s.mask & {_STATUS} <> 0 then s.position else -1 end,
      case when s.mask & {_OWNER} <> 0 then s.position else -1 end, s.position, s.position, -1,
      case when s.mask & {_STATUS} <> 0 then s.position else -1 end, s.position],
    s.position, s.event_id, true)"""

_ENTITIES = f"""
insert into meta.entity as t ({", ".join(_ENTITY)})
select {", ".join(_ENTITY)} from staged_entity order by tenant_id, entity_id
on conflict (tenant_id, entity_id) do update
  set (qualified_name, type_name, name, platform, database_name, schema_name, position, content_hash)
    = (excluded.qualified_name, excluded.type_name, excluded.name, excluded.platform, excluded.database_name,
       excluded.schema_name, excluded.position, excluded.content_hash)
  where excluded.position > t.position and excluded.content_hash <> t.content_hash"""

# the corpus never drops a table from an incident, so links are only added
_LINKS = """
insert into meta.incident_entity (tenant_id, entity_id, incident_id)
select distinct s.tenant_id, e, s.incident_id from staged s, unnest(s.entity_ids) e where s.previous is null
on conflict do nothing"""

_CURSOR = """
update meta.ingest_offset set next_offset = %s, moved_at = clock_timestamp(), renewed_at = clock_timestamp(),
       expires_at = clock_timestamp() + make_interval(secs => %s)
 where cluster_id = %s and topic = %s and partition = %s and sink = %s and next_offset = %s and epoch = %s"""

Prepared = tuple[EventRow, tuple[Any, ...], list[tuple[Any, ...]]]


def prepare(event: EventRow) -> Prepared:
    """Values in the types psycopg writes fastest; not part of what is measured."""
    said = event.statement
    if said is None:
        raise ValueError("the peer is written for events of incidents")
    entities = [UUID(bytes=entity.entity_id) for entity in event.entities]
    mask = sum(
        bit
        for bit, field in ((_SEVERITY, SEVERITY), (_STATUS, STATUS), (_OWNER, OWNER))
        if said[field] is not UNSET
    )
    resolved = said[RESOLVED_AT]
    columns = (
        UUID(bytes=event.event_key),
        event.tenant_id,
        event.subject,
        UUID(bytes=event.event_id),
        event.source,
        event.type,
        _time(event.received_at),
        event.payload,
        event.offset,
        mask,
        *(
            None if said[field] is UNSET else said[field]
            for field in (TYPE, TITLE, SEVERITY, STATUS, OWNER, URL)
        ),
        _time(resolved) if isinstance(resolved, int) else None,
        sorted(entities),
    )
    position = UUID(bytes=event.event_key)
    rows = [
        (e.tenant_id, key, e.qualified_name, e.type_name, e.name, e.platform, e.database_name, e.schema_name,
         e.content_hash, position)
        for e, key in zip(event.entities, entities, strict=True)
    ]  # fmt: skip
    return event, columns, rows


class MergingSql:
    """One connection of role meta_ingest that writes batches."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.backend = connection.info.backend_pid
        connection.prepare_threshold = 1
        for table, columns in (("staged", _STAGED), ("staged_entity", _ENTITY)):
            listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            connection.execute(f"create temp table {table} ({listed}) on commit delete rows")
        connection.execute("create index on staged (wave)")
        connection.commit()

    def write(self, batch: Sequence[Prepared], commit: Commit) -> None:
        execute = self._connection.execute
        execute("select set_config('meta.tenants', %s, true)", (",".join(TENANTS),))
        waves = self._stage(batch)
        execute(_EVENTS)
        for wave in range(1, waves + 1):
            execute(_WAVE, (wave,))
        execute(_ENTITIES)
        execute(_LINKS)
        moved = execute(
            _CURSOR,
            (commit.end, commit.lease_seconds, *commit[:4], commit.start, commit.epoch),
        )
        if moved.rowcount != 1:
            raise RuntimeError("the lease is lost")
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()

    def _stage(self, batch: Sequence[Prepared]) -> int:
        previous: dict[tuple[str, str], bytes] = {}
        nth: dict[tuple[str, str], int] = {}
        entities: dict[tuple[str, UUID], tuple[Any, ...]] = {}
        rows = []
        for event, columns, named in batch:
            incident = (event.tenant_id, event.subject)
            before = previous.get(incident)
            wave = None
            if before != event.event_id:
                wave = nth[incident] = nth.get(incident, 0) + 1
            previous[incident] = event.event_id
            rows.append((*columns, None if before is None else UUID(bytes=before), wave))
            for entity in named:
                entities[entity[0], entity[1]] = entity
        self._copy("staged", _STAGED, rows)
        self._copy("staged_entity", _ENTITY, list(entities.values()))
        return max(nth.values(), default=0)

    def _copy(self, table: str, columns: dict[str, str], rows: list[tuple[Any, ...]]) -> None:
        statement = f"copy {table} ({', '.join(columns)}) from stdin (format binary)"
        with self._connection.cursor().copy(statement) as copy:
            # json travels like bytea; psycopg's own json writer would quote the text once more
            copy.set_types(["bytea" if kind == "json" else kind for kind in columns.values()])
            for row in rows:
                copy.write_row(row)


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
