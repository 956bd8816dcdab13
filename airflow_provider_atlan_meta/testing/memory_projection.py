"""How rows stand in a store, in memory: ``core.projection.ProjectionLedger`` over the database all workers share.

    database = MemoryDatabase(clock)
    ledger = MemoryProjection(database, sink="atlas")

A sweep here looks at every row: what PostgreSQL finds by its watermark is a matter of cost. Held to the same contract
suite as the real one (``tests/contract/projection_ledger.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from airflow_provider_atlan_meta.core import projection
from airflow_provider_atlan_meta.core.projection import (
    CLAIM_SECONDS,
    Candidate,
    Settlement,
    Standing,
    Sweep,
    content_hash,
)
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS
from airflow_provider_atlan_meta.core.stores import ENTITY, INCIDENT, RowRef, StateRow
from airflow_provider_atlan_meta.testing.memory_database import MemoryDatabase, ProjectionRow, keep_letters

_ENTITY_FIELDS = ("qualified_name", "type_name", "name", "platform", "database_name", "schema_name")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MemoryProjection:
    """Implements ``core.projection.ProjectionLedger`` on the database's clock."""

    def __init__(self, database: MemoryDatabase, *, sink: str, claim_seconds: float = CLAIM_SECONDS) -> None:
        self._database = database
        self._sink = sink
        self._claim_seconds = claim_seconds

    def begin_sweep(self) -> Sweep:
        self._database.check_up()
        return Sweep()

    def dirty(self, sweep: Sweep, size: int) -> Iterator[list[RowRef]]:  # noqa: ARG002 - it looks at every row
        last: RowRef | None = None
        while page := self._page(last, size):
            yield page
            last = page[-1]

    def finish_sweep(self, sweep: Sweep) -> None:  # noqa: ARG002 - the next one looks at every row
        self._database.check_up()

    def due(self, limit: int) -> list[RowRef]:
        self._database.check_up()
        now = self._database.clock()
        due = [(row.retry_at, ref) for ref, row in self._rows.items() if row.retry_at is not None]
        return [ref for at, ref in sorted(due) if at <= now][:limit]

    def read(self, refs: Sequence[RowRef]) -> list[Candidate]:
        self._database.check_up()
        return [Candidate(state_row(self._database, ref), self._standing(ref)) for ref in refs]

    def claim(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        self._database.check_up()
        claimed = []
        for row, standing in candidates:
            stored = self._rows.get(row.ref)
            if (stored.version if stored else 0) != standing.version:
                continue
            standing = standing._replace(version=standing.version + 1)
            stored = self._rows.setdefault(row.ref, ProjectionRow())
            stored.version, stored.claimed_at = standing.version, self._database.clock()
            stored.content_hash = None
            claimed.append(Candidate(row, standing))
        return claimed

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self._database.check_up()
        for one in settlements:
            if one.is_rejected:
                topic, letter = projection.dead_letter(self._sink, one)
                keep_letters(self._database.tables, ("postgresql", topic, 0, self._sink), [letter])
            self._rows[one.ref] = self._settled(self._rows.get(one.ref), one)

    def defer(self, rows: Sequence[tuple[RowRef, float]]) -> None:
        self._database.check_up()
        now = self._database.clock()
        for ref, seconds in rows:
            stored = self._rows.get(ref)
            if stored and (stored.retry_at is None or stored.retry_at <= now):
                stored.retry_at = now + seconds

    def mark_dirty(self, refs: Sequence[RowRef]) -> None:
        self._database.check_up()
        for ref in refs:
            stored = self._rows.setdefault(ref, ProjectionRow(version=0))
            stored.projected_revision, stored.content_hash, stored.attempts = 0, None, 0
            stored.version += 1
            if stored.retry_at is None:
                stored.retry_at = self._database.clock()

    def close(self) -> None:
        return

    @property
    def _rows(self) -> dict[RowRef, ProjectionRow]:
        return self._database.projections.setdefault(self._sink, {})

    def _standing(self, ref: RowRef) -> Standing:
        stored = self._rows.get(ref)
        if stored is None:
            return Standing()
        left = 0.0
        if stored.claimed_at is not None:
            left = max(0.0, stored.claimed_at + self._claim_seconds - self._database.clock())
        return Standing(stored.projected_revision, stored.content_hash, stored.version, stored.attempts, left)

    def _page(self, last: RowRef | None, size: int) -> list[RowRef]:
        self._database.check_up()
        found = []
        for ref in sorted(_refs(self._database)):
            if last is not None and ref <= last:
                continue
            stored = self._rows.get(ref)
            revision = state_row(self._database, ref).revision
            if stored is None or (stored.projected_revision < revision and stored.retry_at is None):
                found.append(ref)
        return found[:size]

    def _settled(self, stored: ProjectionRow | None, one: Settlement) -> ProjectionRow:
        now = self._database.clock()
        if stored is not None and stored.version != one.version:
            return replace(
                stored,
                projected_revision=0,
                content_hash=None,
                external_id=one.external_id or stored.external_id,
                version=stored.version + 1,
                retry_at=max(
                    now if stored.retry_at is None else stored.retry_at, now + (one.retry_seconds or 0)
                ),
            )
        before = stored or ProjectionRow()
        return ProjectionRow(
            projected_revision=max(before.projected_revision, one.projected_revision),
            content_hash=one.content_hash,
            external_id=one.external_id or before.external_id,
            version=one.version + 1,
            attempts=one.attempts,
            retry_at=None if one.retry_seconds is None else now + one.retry_seconds,
            reason=one.reason,
        )


def state_row(database: MemoryDatabase, ref: RowRef) -> StateRow:
    """As PostgreSQL would give it: revision 0: neither there nor buried."""
    tables = database.tables
    values: dict[str, Any] | None = None
    revision = 0
    if ref.kind == INCIDENT and (incident := tables.incidents.get((ref.tenant_id, ref.id))):
        revision, values = incident.revision, _incident_values(incident.values)
    elif ref.kind == ENTITY and (entity := tables.entities.get((ref.tenant_id, UUID(ref.id).bytes))):
        revision, values = entity.revision, {name: getattr(entity.row, name) for name in _ENTITY_FIELDS}
    elif ref.kind == INCIDENT:
        revision = tables.tombstones.get((ref.tenant_id, ref.id), 0)
    return StateRow(ref, revision, values, content_hash(values))


def _refs(database: MemoryDatabase) -> set[RowRef]:
    tables = database.tables
    return {
        *(RowRef(tenant, INCIDENT, incident) for tenant, incident in (*tables.incidents, *tables.tombstones)),
        *(RowRef(tenant, ENTITY, str(UUID(bytes=entity))) for tenant, entity in tables.entities),
    }


def _incident_values(values: Sequence[Any]) -> dict[str, Any]:
    named = dict(zip(INCIDENT_FIELDS, values, strict=True))
    for name in ("opened_at", "updated_at", "resolved_at"):
        if named[name] is not None:
            named[name] = _EPOCH + timedelta(microseconds=named[name])
    named["entity_ids"] = [UUID(bytes=one) for one in named["entity_ids"] or ()]
    return named
