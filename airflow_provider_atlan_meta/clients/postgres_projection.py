"""How rows stand in the stores that follow: ``meta.projection``, as role meta_ingest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from airflow_provider_atlan_meta.clients.postgres import PostgresSession
from airflow_provider_atlan_meta.core import projection
from airflow_provider_atlan_meta.core.projection import (
    CLAIM_SECONDS,
    Candidate,
    Settlement,
    Standing,
    Sweep,
    content_hash,
)
from airflow_provider_atlan_meta.core.stores import RowRef, StateRow

# what others refer to comes first
_TABLES = ("entity", "incident", "tombstone")

_BEGIN = "select since::text, settled::text from meta.begin_sweep(%s)"
_FINISH = """
update meta.projection_sweep set swept_to = greatest(swept_to, %s::timestamptz) where sink = %s returning true"""
_DIRTY = "select * from meta.dirty_rows(%s, %s, %s::timestamptz, %s, %s, %s, %s)"
# now(), not clock_timestamp(): only what stands still during a statement can be looked up in an index
_DUE = """
select tenant_id, kind, id from meta.projection
 where sink = %s and retry_at <= now() order by retry_at limit %s"""
_READ = "select * from meta.read_projected(%s, %s, %s, %s::text[], %s::text[], %s::text[])"

# Ordered, as all that write several rows are: two workers cannot lock each other out.
_CLAIM = """
insert into meta.projection as p (tenant_id, kind, id, sink, version, claimed_at)
select k.tenant_id, k.kind, k.id, %(sink)s, k.version + 1, clock_timestamp()
  from unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[], %(versions)s::bigint[])
         k (tenant_id, kind, id, version)
 order by k.tenant_id, k.kind, k.id
on conflict (tenant_id, kind, id, sink) do update
  set version = excluded.version, claimed_at = excluded.claimed_at, content_hash = null
  where p.version = excluded.version - 1
returning tenant_id, kind, id"""

_SETTLE = """
with k as materialized (
  select * from unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[], %(versions)s::bigint[],
                       %(revisions)s::bigint[], %(hashes)s::bigint[], %(externals)s::text[], %(attempts)s::int[],
                       %(retries)s::float8[], %(reasons)s::text[])
       k (tenant_id, kind, id, version, revision, hash, external, attempts, retry, reason)),
letters as (
  insert into meta.dead_letter (cluster_id, topic, partition, "offset", sink, tenant_id, key, headers, value, stage,
                                reason, fingerprint)
  select 'postgresql', l.topic, 0, l."offset", %(sink)s, l.tenant_id, l.key, '[]', l.value, 'project', l.reason,
         l.fingerprint
    from unnest(%(l_topics)s::text[], %(l_offsets)s::bigint[], %(l_tenants)s::text[], %(l_keys)s::bytea[],
                %(l_values)s::bytea[], %(l_reasons)s::text[], %(l_fingerprints)s::text[])
         l (topic, "offset", tenant_id, key, value, reason, fingerprint)
  on conflict do nothing)
insert into meta.projection as p (tenant_id, kind, id, sink, projected_revision, content_hash, external_id, version,
                                  attempts, retry_at, reason)
select tenant_id, kind, id, %(sink)s, revision, hash, nullif(external, ''), version + 1, attempts,
       clock_timestamp() + make_interval(secs => retry), nullif(reason, '')
  from k order by tenant_id, kind, id
on conflict (tenant_id, kind, id, sink) do update
  set (projected_revision, content_hash, external_id, version, claimed_at, attempts, retry_at, reason) =
   (select case when same then greatest(p.projected_revision, excluded.projected_revision) else 0 end,
           case when same then excluded.content_hash end,
           coalesce(excluded.external_id, p.external_id),
           p.version + 1,
           case when not same then p.claimed_at end,
           case when same then excluded.attempts else p.attempts end,
           case when same then excluded.retry_at
                else greatest(coalesce(p.retry_at, clock_timestamp()), excluded.retry_at) end,
           case when same then excluded.reason else p.reason end
      from (select p.version = excluded.version - 1) c (same))
returning true"""

_DEFER = """
with k as materialized (
  select p.tenant_id, p.kind, p.id, p.sink, d.seconds
    from meta.projection p
    join unnest(%s::text[], %s::text[], %s::text[], %s::float8[]) d (tenant_id, kind, id, seconds)
      on p.tenant_id = d.tenant_id and p.kind = d.kind and p.id = d.id
   where p.sink = %s order by p.tenant_id, p.kind, p.id for no key update of p)
update meta.projection p
   set retry_at = case when p.retry_at > clock_timestamp() then p.retry_at
                       else clock_timestamp() + make_interval(secs => k.seconds) end
  from k where p.tenant_id = k.tenant_id and p.kind = k.kind and p.id = k.id and p.sink = k.sink
returning true"""

_MARK_DIRTY = """
insert into meta.projection as p (tenant_id, kind, id, sink, retry_at)
select k.tenant_id, k.kind, k.id, %s, clock_timestamp()
  from unnest(%s::text[], %s::text[], %s::text[]) k (tenant_id, kind, id) order by k.tenant_id, k.kind, k.id
on conflict (tenant_id, kind, id, sink) do update
  set projected_revision = 0, content_hash = null, version = p.version + 1, attempts = 0,
      retry_at = coalesce(p.retry_at, excluded.retry_at)
returning true"""


class PostgresProjection:
    """Implements ``core.projection.ProjectionLedger``; shares session and thread with the lease it works under."""

    def __init__(self, session: PostgresSession, *, sink: str, claim_seconds: float = CLAIM_SECONDS) -> None:
        self._session = session
        self._sink = sink
        self._claim_seconds = claim_seconds

    def begin_sweep(self) -> Sweep:
        return Sweep(*self._session.fetch(_BEGIN, (self._sink,))[0])

    def dirty(self, sweep: Sweep, size: int) -> Iterator[list[RowRef]]:
        for table in _TABLES:
            last = RowRef("", "", "")
            while page := self._refs(_DIRTY, (self._sink, table, sweep.since, *last, size)):
                yield page
                if len(page) < size:
                    break
                last = page[-1]

    def finish_sweep(self, sweep: Sweep) -> None:
        if sweep.settled is not None:
            self._session.fetch(_FINISH, (sweep.settled, self._sink))

    def due(self, limit: int) -> list[RowRef]:
        return self._refs(_DUE, (self._sink, limit))

    def read(self, refs: Sequence[RowRef]) -> list[Candidate]:
        if not refs:
            return []
        tenants = ",".join(sorted({ref.tenant_id for ref in refs}))
        rows = self._session.fetch(_READ, (tenants, self._sink, self._claim_seconds, *_columns(refs)))
        found = {RowRef(*row[:3]): row[3:] for row in rows}
        return [_candidate(ref, found[ref]) for ref in refs]

    def claim(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        refs = [candidate.row.ref for candidate in candidates]
        tenants, kinds, ids = _columns(refs)
        claimed = self._refs(
            _CLAIM,
            {
                "sink": self._sink,
                "tenants": tenants,
                "kinds": kinds,
                "ids": ids,
                "versions": [candidate.standing.version for candidate in candidates],
            },
        )
        mine = set(claimed)
        return [
            candidate._replace(standing=candidate.standing._replace(version=candidate.standing.version + 1))
            for candidate in candidates
            if candidate.row.ref in mine
        ]

    def settle(self, settlements: Sequence[Settlement]) -> None:
        if not settlements:
            return
        tenants, kinds, ids = _columns([one.ref for one in settlements])
        letters = [projection.dead_letter(self._sink, one) for one in settlements if one.is_rejected]
        self._session.fetch(
            _SETTLE,
            {
                "sink": self._sink,
                "tenants": tenants,
                "kinds": kinds,
                "ids": ids,
                "versions": [one.version for one in settlements],
                "revisions": [one.projected_revision for one in settlements],
                "hashes": [one.content_hash for one in settlements],
                "externals": [one.external_id for one in settlements],
                "attempts": [one.attempts for one in settlements],
                "retries": [one.retry_seconds for one in settlements],
                "reasons": [one.reason for one in settlements],
                "l_topics": [topic for topic, _ in letters],
                "l_offsets": [letter.offset for _, letter in letters],
                "l_tenants": [letter.tenant_id for _, letter in letters],
                "l_keys": [letter.key for _, letter in letters],
                "l_values": [letter.value for _, letter in letters],
                "l_reasons": [letter.reason for _, letter in letters],
                "l_fingerprints": [letter.fingerprint for _, letter in letters],
            },
        )

    def defer(self, rows: Sequence[tuple[RowRef, float]]) -> None:
        if rows:
            columns = _columns([ref for ref, _ in rows])
            self._session.fetch(_DEFER, (*columns, [seconds for _, seconds in rows], self._sink))

    def mark_dirty(self, refs: Sequence[RowRef]) -> None:
        if refs:
            self._session.fetch(_MARK_DIRTY, (self._sink, *_columns(sorted(set(refs)))))

    def close(self) -> None:
        self._session.close()

    def _refs(self, query: str, arguments: Any) -> list[RowRef]:
        return [RowRef(*row) for row in self._session.fetch(query, arguments)]


def _columns(refs: Sequence[RowRef]) -> tuple[list[str], list[str], list[str]]:
    return [ref.tenant_id for ref in refs], [ref.kind for ref in refs], [ref.id for ref in refs]


def _candidate(ref: RowRef, found: tuple[Any, ...]) -> Candidate:
    revision, columns, *standing = found
    values = None if columns is None else _values(json.loads(columns))
    return Candidate(StateRow(ref, revision, values, content_hash(values)), Standing(*standing))


# what JSON spells as text
_TYPES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("opened_at", "updated_at", "resolved_at"), datetime.fromisoformat),
    "entity_ids": lambda ids: [UUID(one) for one in ids],
}


def _values(columns: dict[str, Any]) -> dict[str, Any]:
    for name, load in _TYPES.items():
        if columns.get(name) is not None:
            columns[name] = load(columns[name])
    return columns
