"""Cassandra in memory: ``StateSink`` and ``HistorySink`` over tables that any number of sinks share.

    tables = MemoryCassandra()
    sink, history = MemoryStateSink(tables), MemoryHistorySink(tables)
    tables.is_up = False          # every call is a TransientError

Held to the same contract suite as the real one (``tests/contract/wide_rows.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from airflow_provider_atlan_meta.core.cassandra import first_seen_day, month, write_time
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.rows import EventRow
from airflow_provider_atlan_meta.core.stores import INCIDENT, Landed, Landing, RowRef, StateRow

_LARGEST = 1024 * 1024


class StoredIncident(NamedTuple):
    """An incident as a reader finds it."""

    day: date
    revision: int
    content_hash: int
    values: Mapping[str, Any]


class StoredEvent(NamedTuple):
    month: int
    write_time: int
    event: EventRow


class MemoryCassandra:
    """The tables.

    :ivar is_up: False: the store is away.
    :ivar refuses: rows that are rejected whatever their size.
    :ivar writes: rows written, also those that changed nothing.
    """

    def __init__(self) -> None:
        self.is_up = True
        self.refuses: Callable[[StateRow], bool] = lambda _row: False
        self.writes = 0
        # the newest row of each incident, deleted ones included: nothing older ever comes back
        self._newest: dict[RowRef, StateRow] = {}
        self._history: dict[tuple[str, bytes], dict[bytes, EventRow]] = {}

    def incidents(self, tenant_id: str) -> dict[str, StoredIncident]:
        """Incident id -> what is stored of it."""
        return {
            ref.id: StoredIncident(day, row.revision, row.content_hash, row.values)
            for ref, row in self._newest.items()
            if ref.tenant_id == tenant_id
            and row.values is not None
            and (day := first_seen_day(row.values)) is not None
        }

    def history(self, tenant_id: str, entity_id: bytes) -> list[StoredEvent]:
        """What happened to an entity, the newest first."""
        events = self._history.get((tenant_id, entity_id), {})
        return [StoredEvent(month(key), write_time(key), events[key]) for key in sorted(events, reverse=True)]

    def check_up(self) -> None:
        """:raises TransientError: the store is away."""
        if not self.is_up:
            raise TransientError("Cassandra is away; nothing was written")

    def put(self, row: StateRow) -> None:
        self.writes += 1
        known = self._newest.get(row.ref)
        if known is None or row.revision > known.revision:
            self._newest[row.ref] = row

    def add(self, event: EventRow) -> None:
        for entity in event.entities:
            self.writes += 1
            self._history.setdefault((event.tenant_id, entity.entity_id), {})[event.event_key] = event


class MemoryStateSink:
    """Implements ``core.stores.StateSink``."""

    name = "cassandra"

    def __init__(self, tables: MemoryCassandra) -> None:
        self._tables = tables

    def close(self) -> None:
        """Nothing to close."""

    def write(self, rows: Sequence[StateRow]) -> list[Landed]:
        return [self._write(row) for row in rows]

    def _write(self, row: StateRow) -> Landed:
        if row.ref.kind != INCIDENT:
            return Landed(row.ref, row.revision, Landing.DONE)
        self._tables.check_up()
        if _size(row) > _LARGEST or self._tables.refuses(row):
            return Landed(row.ref, row.revision, Landing.REJECTED, "the row is larger than 1 MiB")
        self._tables.put(row)
        return Landed(row.ref, row.revision, Landing.DONE)


class MemoryHistorySink:
    """Implements ``core.stores.HistorySink``."""

    def __init__(self, tables: MemoryCassandra) -> None:
        self._tables = tables

    def close(self) -> None:
        """Nothing to close."""

    def append(self, events: Sequence[EventRow]) -> None:
        self._tables.check_up()
        for event in events:
            self._tables.add(event)


def _size(row: StateRow) -> int:
    values = (row.values or {}).values()
    return sum(
        len(value.encode()) if isinstance(value, str) else 16 * len(value) if isinstance(value, list) else 8
        for value in values
    )
