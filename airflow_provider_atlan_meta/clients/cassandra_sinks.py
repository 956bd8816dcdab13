"""The two ways into Cassandra: incidents as they are now, and the history of entities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn
from uuid import UUID

from cassandra import InvalidRequest
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, BoundStatement

from airflow_provider_atlan_meta.clients.cassandra import CassandraConfig, CassandraSession
from airflow_provider_atlan_meta.core.cassandra import (
    Place,
    clearing,
    first_seen_day,
    month,
    received_at_ms,
    timestamp,
    write_time,
)
from airflow_provider_atlan_meta.core.errors import AtlanMetaError, RejectedError, TransientError
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS, EventRow
from airflow_provider_atlan_meta.core.stores import INCIDENT, Landed, Landing, StateRow

# Cassandra warns of larger batches (batch_size_warn_threshold) and slows down with larger rows
BATCH_BYTES = 5 * 1024
ROW_BYTES = 1024 * 1024
# write time, deletion time and length, beside every value
_CELL_BYTES = 20
_GONE = "unconfigured table", "does not exist"

_FIELDS = ", ".join(INCIDENT_FIELDS)
_MARKS = ", ".join("?" * len(INCIDENT_FIELDS))
_PUT_INCIDENT = (
    "insert into {keyspace}.incident_by_day"  # noqa: S608 - column names of our own
    f" (tenant_id, first_seen_day, incident_id, {_FIELDS}, revision, content_hash)"
    f" values (?, ?, ?, {_MARKS}, ?, ?) using timestamp ?"
)
_DELETE_INCIDENT = (
    "delete from {keyspace}.incident_by_day using timestamp ?"
    " where tenant_id = ? and first_seen_day = ? and incident_id = ?"
)
_ANNOUNCE = (
    "insert into {keyspace}.day_by_incident (tenant_id, incident_id, first_seen_day, current_day, revision)"
    " values (?, ?, ?, ?, ?) using timestamp ?"
)
_ANNOUNCE_DELETED = (
    "update {keyspace}.day_by_incident using timestamp ? set current_day = null, revision = ?"
    " where tenant_id = ? and incident_id = ?"
)
_DAYS = (
    "select first_seen_day, current_day, revision from {keyspace}.day_by_incident"
    " where tenant_id = ? and incident_id = ?"
)
_PUT_EVENT = (
    "insert into {keyspace}.event_by_entity (tenant_id, entity_id, month, event_key,"
    " event_id, source, type, subject, occurred_at, received_at, payload)"
    " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) using timestamp ?"
)


class CassandraStateSink:
    """Incidents under the day they were first seen. Implements ``core.stores.StateSink``.

    Entities have no row of their own here: what is told of one is done at once.
    """

    name = "cassandra"

    def __init__(self, config: CassandraConfig) -> None:
        self._session = CassandraSession(config)

    def close(self) -> None:
        self._session.close()

    def write(self, rows: Sequence[StateRow]) -> list[Landed]:
        """See ``StateSink``. No answer is LATER, not UNKNOWN: a late write is as harmless as a second one."""
        landed = _Landed(self._session, rows)
        incidents = [number for number, row in enumerate(rows) if row.ref.kind == INCIDENT]
        announced = [number for number, _ in landed.run(incidents, self._announcement)]
        there = [number for number in announced if rows[number].values is not None]
        written = {number for number, _ in landed.run(there, self._row)}
        done = [number for number in announced if number in written or rows[number].values is None]
        found = landed.run(done, self._question)
        landed.run_all(
            (number, statement) for number, days in found for statement in self._clearing(rows[number], days)
        )
        return landed.answers(len(incidents))

    def _announcement(self, row: StateRow) -> BoundStatement:
        tenant, _, id = row.ref
        day = first_seen_day(row.values)
        if day is None:
            return self._bound(_ANNOUNCE_DELETED, row.revision, row.revision, tenant, id)
        # bound before anything is sent: a row that can never be written announces nothing
        self._row(row)
        return self._bound(_ANNOUNCE, tenant, id, day, day, row.revision, row.revision)

    def _row(self, row: StateRow) -> BoundStatement:
        tenant, _, id = row.ref
        values = row.values or {}
        bound = self._bound(
            _PUT_INCIDENT,
            *(tenant, first_seen_day(values), id),
            *(values.get(field) for field in INCIDENT_FIELDS),
            *(row.revision, row.content_hash, row.revision),
        )
        if _size(bound) > ROW_BYTES:
            raise RejectedError("the row is larger than 1 MiB")
        return bound

    def _question(self, row: StateRow) -> BoundStatement:
        return self._bound(_DAYS, row.ref.tenant_id, row.ref.id)

    def _clearing(self, row: StateRow, found: Iterable[Any]) -> Iterator[BoundStatement]:
        mine = Place(row.revision, first_seen_day(row.values))
        places = [(one.first_seen_day, one.current_day, one.revision) for one in found]
        days = {day.date() for day, _, _ in places if day is not None}
        # static columns: the same in every row; none of them is older than what was announced just now
        newest = next((Place(revision, day.date() if day else None) for _, day, revision in places), mine)
        clear = clearing(mine, newest, days)
        for day in clear.days:
            yield self._bound(_DELETE_INCIDENT, clear.write_time, row.ref.tenant_id, day, row.ref.id)

    def _bound(self, query: str, *values: Any) -> BoundStatement:
        statement = self._session.prepare(query)
        try:
            return statement.bind(values)
        except (TypeError, ValueError, OverflowError) as error:
            raise RejectedError("the row holds a value Cassandra has no form for") from error


class _Landed:
    """How far each row has come; a row that failed takes part in no further step."""

    def __init__(self, session: CassandraSession, rows: Sequence[StateRow]) -> None:
        self._session = session
        self._rows = rows
        self._failed: dict[int, Landed] = {}
        self._first: AtlanMetaError | None = None

    def run(
        self, numbers: Iterable[int], make: Callable[[StateRow], BoundStatement]
    ) -> list[tuple[int, Any]]:
        """One statement per row.

        :return: the results of those that are in.
        """
        made = []
        for number in numbers:
            try:
                made.append((number, make(self._rows[number])))
            except RejectedError as error:
                self._fail(number, Landing.REJECTED, error.reason)
        return self.run_all(made)

    def run_all(self, statements: Iterable[tuple[int, BoundStatement]]) -> list[tuple[int, Any]]:
        listed = list(statements)
        results = self._session.run([statement for _, statement in listed])
        succeeded = []
        for (number, _), result in zip(listed, results, strict=True):
            if not isinstance(result, BaseException):
                succeeded.append((number, result))
            elif _is_refused(result):
                self._fail(number, Landing.REJECTED, "Cassandra refuses the row")
            else:
                error = self._session.error_of(result, "writing")
                if not isinstance(error, TransientError):
                    raise error from result
                self._first = self._first or error
                self._fail(number, Landing.LATER, type(result).__name__)
        return succeeded

    def answers(self, incidents: int) -> list[Landed]:
        """:raises TransientError: not one incident is in or rejected: the store is away."""
        later = [one for one in self._failed.values() if one.landing is Landing.LATER]
        if self._first is not None and len(later) == incidents:
            raise self._first
        return [
            self._failed.get(number) or Landed(row.ref, row.revision, Landing.DONE)
            for number, row in enumerate(self._rows)
        ]

    def _fail(self, number: int, landing: Landing, reason: str) -> None:
        row = self._rows[number]
        self._failed.setdefault(number, Landed(row.ref, row.revision, landing, reason))


class CassandraHistorySink:
    """Every event under each entity it names, by month. Implements ``core.stores.HistorySink``."""

    def __init__(self, config: CassandraConfig) -> None:
        self._session = CassandraSession(config)

    def close(self) -> None:
        self._session.close()

    def append(self, events: Sequence[EventRow]) -> None:
        """See ``HistorySink``. Rows of one partition travel together as long as Cassandra does not warn."""
        for result in self._session.run(self.batches(events)):
            if isinstance(result, BaseException):
                self._raise(result)

    def batches(self, events: Sequence[EventRow]) -> list[BoundStatement | BatchStatement]:
        """What ``append`` sends: a statement, or a batch of one partition of at most ``BATCH_BYTES``."""
        put = self._session.prepare(_PUT_EVENT)
        partitions: dict[tuple[str, bytes, int], list[BoundStatement]] = {}
        for event in events:
            when = month(event.event_key)
            # one payload under all its entities
            common = _event_values(event)
            for id in dict.fromkeys(entity.entity_id for entity in event.entities):
                bound = put.bind((event.tenant_id, UUID(bytes=id), when, *common))
                partitions.setdefault((event.tenant_id, id, when), []).append(bound)
        return [statement for rows in partitions.values() for statement in _packed(rows)]

    def _raise(self, error: BaseException) -> NoReturn:
        raise self._session.error_of(error, "writing history") from error


def _event_values(event: EventRow) -> tuple[Any, ...]:
    occurred_at = timestamp(event.occurred_at)
    return (
        event.event_key,
        UUID(bytes=event.event_id),
        *(event.source, event.type, event.subject),
        # unset, not null: a null is a tombstone
        UNSET_VALUE if occurred_at is None else occurred_at,
        timestamp(received_at_ms(event.event_key) * 1000),
        event.payload.decode(errors="replace"),
        write_time(event.event_key),
    )


def _packed(rows: Iterable[BoundStatement]) -> Iterator[BoundStatement | BatchStatement]:
    """Rows of one partition, as many together as may be."""
    waiting: list[BoundStatement] = []
    total = 0
    for row in rows:
        size = _size(row)
        if waiting and total + size > BATCH_BYTES:
            yield _together(waiting)
            waiting, total = [], 0
        waiting.append(row)
        total += size
    if waiting:
        yield _together(waiting)


def _together(rows: Sequence[BoundStatement]) -> BoundStatement | BatchStatement:
    if len(rows) == 1:
        return rows[0]
    batch = BatchStatement(BatchType.UNLOGGED)
    batch.is_idempotent = True
    for row in rows:
        batch.add(row)
    return batch


def _size(bound: BoundStatement) -> int:
    """At least what Cassandra counts of it for its warning."""
    return sum(_CELL_BYTES + (len(value) if isinstance(value, bytes) else 0) for value in bound.values)


def _is_refused(error: BaseException) -> bool:
    """This row, for ever; a table that is gone is no fault of the row."""
    return isinstance(error, InvalidRequest) and not any(text in str(error) for text in _GONE)
