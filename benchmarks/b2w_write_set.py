"""B2': events with incidents, entities, links, triggers and policies, against hand-written SQL that merges too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import psycopg

from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.rows import EventRow, LogRecord
from airflow_provider_atlan_meta.pipeline.batches import BatchWriter
from airflow_provider_atlan_meta.sandbox.isolation import Database
from benchmarks import corpus, stage
from benchmarks.measure import Cost, cost_of, median_ratio, rates, take_turns
from benchmarks.merging_sql import MergingSql, Prepared, prepare
from benchmarks.results import Row, row

ID = "B2'"
PER_SECOND = 5_000.0
# At most 1.1 times the CPU of the peer.
OF_SQL = round(1 / 1.1, 3)
_BATCH = 1000
# Written before the measuring starts: most incidents are known, as on any day but the first.
_KNOWN = 10_000

# What both must leave behind, whoever wrote it.
_STATES = (
    "select tenant_id, incident_id, source, type, title, severity, priority, status, owner, url, opened_at, updated_at,"
    " resolved_at, entity_ids, positions, log_position, last_event_id, unconfirmed, revision from meta.incident",
    "select tenant_id, entity_id, qualified_name, type_name, name, platform, database_name, schema_name, content_hash,"
    " revision from meta.entity",
    "select tenant_id, entity_id, incident_id from meta.incident_entity",
    "select event_key, tenant_id, event_id, type, subject, received_at, duplicate_of, payload::text from meta.event",
)


def run(rounds: int, quick: bool) -> list[Row]:
    count = 6_000 if quick else 20_000
    records = list(corpus.records(_KNOWN + rounds * count, start_ms=stage.today_ms()))
    with stage.isolation(["postgres"]) as made, contextlib.ExitStack() as stack:
        databases = [made.new_database() for _ in range(3)]
        product = _Ours(databases[0], records, enrich)
        decoded = [enrich(record) for record in records]
        ours = _Ours(databases[1], cast("list[LogRecord]", decoded), _as_it_is)
        peer = _Peer(databases[2], [prepare(event) for event in decoded])
        contenders: dict[str, Callable[[], Cost]] = {}
        for name, contender in (("product", product), ("ours", ours), ("sql", peer)):
            stack.callback(contender.close)
            contender.write(_KNOWN)
            contenders[name] = lambda contender=contender: contender.write(count)  # type: ignore[misc]
        for database in databases:
            with stage.superuser(database) as admin:
                admin.execute("vacuum analyze")
                admin.execute("checkpoint")
        costs = take_turns(contenders, rounds)
        _check_equal(databases)
    return _rows(costs, count, rounds)


def _rows(costs: dict[str, list[Cost]], count: int, rounds: int) -> list[Row]:
    product, ours, sql = (rates(costs[name], count) for name in ("product", "ours", "sql"))
    return [
        row(
            ID,
            "whole write set from the record on, 1,000 per batch",
            ours=product.per_second,
            peer=None,
            unit="events/s",
            ratio=product.per_second,
            target=PER_SECOND,
            rounds=rounds,
            cpu_us=product.cpu_us,
            server_us=product.server_us,
            slowest=product.slowest,
            fastest=product.fastest,
        ),
        row(
            ID,
            "whole write set from decoded events / hand-written SQL that merges too",
            ours=ours.cpu_us,
            peer=sql.cpu_us,
            unit="µs CPU per event",
            ratio=median_ratio([c.cpu for c in costs["sql"]], [c.cpu for c in costs["ours"]]),
            target=OF_SQL,
            rounds=rounds,
            ours_server_us=ours.server_us,
            peer_server_us=sql.server_us,
            ours_per_second=ours.per_second,
            peer_per_second=sql.per_second,
        ),
    ]


class _Ours:
    """The product's batch writer, over records or over what is decoded already."""

    def __init__(
        self, database: Database, records: Sequence[LogRecord], decode: Callable[[LogRecord], EventRow]
    ) -> None:
        self._seat = stage.Seat(database)
        self._writer = BatchWriter(self._seat.store, sink=stage.SINK, lease_seconds=600.0, decode=decode)
        self._records = records
        self._next = 0

    def write(self, count: int) -> Cost:
        return cost_of(lambda: self._write(count), backend=self._seat.backend)

    def _write(self, count: int) -> None:
        seat, end = self._seat, self._next + count
        for start in range(self._next, end, _BATCH):
            batch = self._records[start : start + _BATCH]
            written = self._writer.write(seat.log, seat.lease, batch, batch[-1].offset + 1)
            seat.lease = written.lease
        self._next = end

    def close(self) -> None:
        self._seat.close()


class _Peer:
    def __init__(self, database: Database, events: Sequence[Prepared]) -> None:
        self._seat = stage.Seat(database)
        self._sql = MergingSql(psycopg.connect(database.dsn(database.ingest)))
        self._events = events
        self._next = 0

    def write(self, count: int) -> Cost:
        return cost_of(lambda: self._write(count), backend=self._sql.backend)

    def _write(self, count: int) -> None:
        end = self._next + count
        for start in range(self._next, end, _BATCH):
            batch = self._events[start : start + _BATCH]
            self._sql.write(batch, self._seat.commit_to(batch[-1][0].offset + 1))
        self._next = end

    def close(self) -> None:
        self._sql.close()
        self._seat.close()


def _as_it_is(record: LogRecord) -> EventRow:
    return cast("EventRow", record)


def _check_equal(databases: Sequence[Database]) -> None:
    def digest(database: Database, query: str) -> Any:
        with stage.superuser(database) as admin:
            text = f"select count(*), md5(string_agg(r::text, '|' order by r::text)) from ({query}) r"
            return admin.execute(text).fetchone()

    for query in _STATES:
        if len({digest(database, query) for database in databases}) > 1:
            raise RuntimeError(f"the contenders do not leave the same rows behind: {query}")
