"""The database of ``MemoryLedger``, ``MemoryStore`` and ``MemoryDeliveries``: schema ``meta`` in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    LeaseLostError,
    RejectedError,
    RowsMovedError,
    TransientError,
)
from airflow_provider_atlan_meta.core.merging import BatchPlan, IncidentKey
from airflow_provider_atlan_meta.core.ports import Commit
from airflow_provider_atlan_meta.core.rows import (
    INCIDENT_FIELDS,
    DeadLetter,
    EntityRow,
    EventRow,
    IncidentRow,
    Link,
)
from airflow_provider_atlan_meta.core.stores import RowRef
from airflow_provider_atlan_meta.testing.clock import ManualClock
from airflow_provider_atlan_meta.testing.delivery_tables import DeliveryTables

LedgerKey = tuple[str, str, int, str]


@dataclass(slots=True)
class LedgerRow:
    """A row of ``meta.ingest_offset``."""

    topic_id: str
    next_offset: int
    moved_at: float
    owner: UUID | None = None
    label: str = ""
    epoch: int = 0
    expires_at: float = float("-inf")
    reach: int = 0
    write_epoch: int = 0
    write_number: int = 0


@dataclass(slots=True)
class ProjectionRow:
    """A row of ``meta.projection``."""

    projected_revision: int = 0
    content_hash: int | None = None
    external_id: str = ""
    version: int = 1
    claimed_at: float | None = None
    attempts: int = 0
    retry_at: float | None = None
    reason: str = ""


class StoredEvent(NamedTuple):
    row: EventRow
    duplicate_of: bytes | None


class StoredEntity(NamedTuple):
    row: EntityRow
    position: bytes
    revision: int


class Change(NamedTuple):
    """What a change message says: one revision of one row. ``values`` is None when the row is gone."""

    kind: str
    tenant_id: str
    id: str
    revision: int
    values: tuple[Any, ...] | None
    held: bool = False


@dataclass
class Tables:
    """Everything a transaction may write, keyed as in PostgreSQL."""

    events: dict[bytes, StoredEvent] = field(default_factory=dict)
    incidents: dict[IncidentKey, IncidentRow] = field(default_factory=dict)
    entities: dict[tuple[str, bytes], StoredEntity] = field(default_factory=dict)
    links: set[tuple[str, bytes, str]] = field(default_factory=set)
    dead_letters: dict[tuple[LedgerKey, int], DeadLetter] = field(default_factory=dict)
    published: set[tuple[LedgerKey, int]] = field(default_factory=set)
    tombstones: dict[IncidentKey, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def copy(self) -> Tables:
        return Tables(**{name: value.copy() for name, value in vars(self).items()})


class MemoryDatabase:
    """What all owners share. A statement is atomic: a call of ``apply_batch`` happens whole or not at all.

    :ivar refuses: an event for which this is true cannot be stored: RejectedError for its whole batch.
    :ivar is_up: False: every call raises TransientError and does nothing.
    :ivar mapping_revision: of the mappings; a store that was told of another one writes nothing.
    :ivar commits: every commit that moved a cursor, in order.
    """

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.ledger: dict[LedgerKey, LedgerRow] = {}
        self.tables = Tables()
        self.deliveries = DeliveryTables()
        self.mapping_revision = 0
        # by sink
        self.projections: dict[str, dict[RowRef, ProjectionRow]] = {}
        self.commits: list[Commit] = []
        # origins of dead letters, as core.ports.StoredDeadLetter begins with them
        self.redriven: set[tuple[Any, ...]] = set()
        self.refuses: Callable[[EventRow], bool] = lambda _: False
        self.is_up = True
        self.days_ensured = 0
        self._late: list[Callable[[], None]] = []

    def check_up(self) -> None:
        if not self.is_up:
            raise TransientError(
                "the database is away; nothing was lost, the ledger stands at the last commit"
            )

    # ---- what the server does ------------------------------------------------------------------------------------

    def apply_batch(
        self,
        plan: BatchPlan,
        commit: Commit | None,
        dead_letters: Sequence[DeadLetter] = (),
        *,
        held: bool = False,
    ) -> None:
        """The twin of ``meta.apply_batch``: cursor first, then rows, all or nothing."""
        if commit is not None:
            self.check_lease(commit)
        if any(self.refuses(event) for event, _ in plan.events):
            raise RejectedError("the database refuses the value")
        written = self.tables.copy()
        told = len(written.changes)
        write_rows(written, plan)
        if held:
            written.changes[told:] = [change._replace(held=True) for change in written.changes[told:]]
        if commit is not None:
            keep_letters(written, commit[:4], dead_letters)
            self.move_cursor(commit)
        self.tables = written

    def check_lease(self, commit: Commit) -> None:
        """Both conditions are needed: the epoch fences other owners, the offset this owner's own late commits."""
        row = self.ledger.get(commit[:4])
        if row is None or (row.next_offset, row.epoch) != (commit.start, commit.epoch):
            raise LeaseLostError(f"lease lost: {commit.topic}/{commit.partition} at offset {commit.start}")

    def move_cursor(self, commit: Commit) -> None:
        row = self.ledger[commit[:4]]
        row.next_offset, row.moved_at = commit.end, self.clock()
        row.expires_at = self.clock() + commit.lease_seconds
        self.commits.append(commit)

    # ---- what a test does to it ----------------------------------------------------------------------------------

    def edit_incident(self, key: IncidentKey, **fields: Any) -> None:
        """Somebody's own UPDATE: a new revision that no record of the log made."""
        row = self.tables.incidents[key]
        values = tuple(
            fields.get(name, value) for name, value in zip(INCIDENT_FIELDS, row.values, strict=True)
        )
        _put_incident(self.tables, row._replace(values=values, revision=row.revision + 1))

    def delete_incident(self, key: IncidentKey) -> None:
        row = self.tables.incidents.pop(key)
        self.tables.tombstones[key] = row.revision + 1
        self.tables.changes.append(Change("incident", *key, row.revision + 1, None))

    def later(self, statement: Callable[[], None]) -> None:
        """A statement that was sent, whose client will not wait for it."""
        self._late.append(statement)

    def run_late(self) -> None:
        """Executes what was sent and not executed yet; nobody hears how it ended."""
        late, self._late = self._late, []
        for statement in late:
            try:
                statement()
            except AtlanMetaError:
                continue


def write_rows(tables: Tables, plan: BatchPlan) -> None:
    """:raises RowsMovedError: an incident was written since the plan read it."""
    for event, duplicate_of in plan.events:
        tables.events.setdefault(event.event_key, StoredEvent(event, duplicate_of))
    for wave in plan.waves:
        for row in wave:
            known = tables.incidents.get((row.tenant_id, row.incident_id))
            if known is not None and known.revision != row.revision - 1:
                raise RowsMovedError(f"incident moved: {row.incident_id}")
            _put_incident(tables, row)
    for row in plan.quiet:
        known = tables.incidents.get((row.tenant_id, row.incident_id))
        if known is None or known.revision != row.revision:
            raise RowsMovedError(f"incident moved: {row.incident_id}")
        tables.incidents[row.tenant_id, row.incident_id] = row._replace(values=known.values)
    for entity_wave in plan.entity_waves:
        for entity, position in entity_wave:
            _put_entity(tables, entity, position)
    for link in plan.links:
        _put_link(tables, link)


def _put_incident(tables: Tables, row: IncidentRow) -> None:
    key = (row.tenant_id, row.incident_id)
    known = tables.incidents.get(key)
    if known is None and row.revision == 1:
        row = row._replace(revision=tables.tombstones.get(key, 0) + 1)
    if known is not None and known.values == row.values:
        row = row._replace(revision=known.revision)
    else:
        tables.changes.append(Change("incident", *key, row.revision, row.values))
    tables.incidents[key] = row


def _put_entity(tables: Tables, row: EntityRow, position: bytes) -> None:
    key = (row.tenant_id, row.entity_id)
    known = tables.entities.get(key)
    if known is not None and (known.row.content_hash == row.content_hash or position <= known.position):
        return
    revision = known.revision + 1 if known is not None else 1
    tables.entities[key] = StoredEntity(row, position, revision)
    values = (row.qualified_name, row.type_name, row.name, row.platform, row.database_name, row.schema_name)
    tables.changes.append(Change("entity", row.tenant_id, row.entity_id.hex(), revision, values))


def _put_link(tables: Tables, link: Link) -> None:
    key = (link.tenant_id, link.entity_id, link.incident_id)
    if link.dropped:
        tables.links.discard(key)
    else:
        tables.links.add(key)


def keep_letters(tables: Tables, key: LedgerKey, letters: Sequence[DeadLetter]) -> None:
    for letter in letters:
        tables.dead_letters.setdefault((key, letter.offset), letter)
