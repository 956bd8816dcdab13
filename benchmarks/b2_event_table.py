"""B2: events into ``meta.event``, against COPY into a bare table of the same columns and Airflow's own upsert."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from uuid import UUID

import psycopg
from msgspec import structs

from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.merging import plan_batch
from airflow_provider_atlan_meta.core.rows import EventRow
from airflow_provider_atlan_meta.sandbox.isolation import Database
from benchmarks import corpus, stage
from benchmarks.airflow_peers import postgres_hook
from benchmarks.measure import Cost, cost_of, median_ratio, rates, take_turns
from benchmarks.results import Row, row

ID = "B2"
OF_COPY = 0.7
OF_HOOK = 2.0
_BATCH = 1000
_COLUMNS = (
    "event_key",
    "tenant_id",
    "event_id",
    "source",
    "type",
    "subject",
    "occurred_at",
    "received_at",
    "duplicate_of",
    "payload",
)
_TYPES = ("uuid", "text", "uuid", "text", "text", "text", "timestamptz", "timestamptz", "uuid", "json")

Tuples = list[tuple[Any, ...]]


def run(rounds: int, quick: bool) -> list[Row]:
    count = 20_000 if quick else 50_000
    records = corpus.records(count, start_ms=stage.today_ms())
    # the events alone: what they say of incidents is B2''s part
    events = [structs.replace(enrich(record), statement=None, entities=()) for record in records]
    rows = [_as_tuple(event) for event in events]
    with stage.isolation(["postgres"]) as made:
        database = made.new_database()
        with stage.superuser(database) as admin:
            _bare_table(admin)
            contenders: dict[str, Callable[[], Cost]] = {
                "ours": lambda: _ours(database, admin, events),
                "copy": lambda: _copy(database, admin, rows),
                "hook": lambda: _hook(database, admin, rows),
            }
            costs = take_turns(contenders, rounds)
    return _rows(costs, count, rounds)


def _rows(costs: dict[str, list[Cost]], count: int, rounds: int) -> list[Row]:
    measured = {name: rates(all_, count) for name, all_ in costs.items()}
    ours = measured["ours"]
    made = []
    for peer, what, gate in (
        ("copy", "binary COPY into a bare table with the same primary key", OF_COPY),
        ("hook", "PostgresHook.upsert_rows into meta.event", OF_HOOK),
    ):
        theirs = measured[peer]
        cpu = median_ratio([c.cpu for c in costs[peer]], [c.cpu for c in costs["ours"]])
        wall = median_ratio([c.wall for c in costs[peer]], [c.wall for c in costs["ours"]])
        details: dict[str, Any] = {
            "rounds": rounds,
            "ours_server_us": ours.server_us,
            "peer_server_us": theirs.server_us,
            "ours_slowest": ours.slowest,
            "ours_fastest": ours.fastest,
        }
        made += [
            row(
                ID,
                f"events into meta.event / {what}",
                ours=ours.cpu_us,
                peer=theirs.cpu_us,
                unit="µs CPU per event",
                ratio=cpu,
                target=gate,
                **details,
            ),
            row(
                ID,
                f"events into meta.event, wall / {what}",
                ours=ours.per_second,
                peer=theirs.per_second,
                unit="events/s",
                ratio=wall,
            ),
        ]
    return made


def _ours(database: Database, admin: psycopg.Connection[Any], events: Sequence[EventRow]) -> Cost:
    admin.execute("truncate meta.event, meta.ingest_offset")
    seat = stage.Seat(database)

    def work() -> None:
        for start in range(0, len(events), _BATCH):
            plan = plan_batch(events[start : start + _BATCH], {})
            seat.store.apply(plan, commit=seat.commit_to(min(start + _BATCH, len(events))))

    with contextlib.closing(seat):
        cost = cost_of(work, backend=seat.backend)
    _check(admin, "meta.event", len(events))
    return cost


def _copy(database: Database, admin: psycopg.Connection[Any], rows: Tuples) -> Cost:
    """psycopg's compiled COPY writer, values already in its favourite types, one transaction per batch."""
    admin.execute("truncate bare_event")
    # json travels like bytea; psycopg's own json writer would quote the text once more
    types = ["bytea" if kind == "json" else kind for kind in _TYPES]
    rows = [(*values[:-1], values[-1].encode()) for values in rows]
    statement = f"copy bare_event ({', '.join(_COLUMNS)}) from stdin (format binary)"
    with psycopg.connect(database.dsn(database.ingest)) as connection:

        def work() -> None:
            for start in range(0, len(rows), _BATCH):
                with connection.cursor().copy(statement) as copy:
                    copy.set_types(types)
                    for values in rows[start : start + _BATCH]:
                        copy.write_row(values)
                connection.commit()

        cost = cost_of(work, backend=connection.info.backend_pid)
    _check(admin, "bare_event", len(rows))
    return cost


def _hook(database: Database, admin: psycopg.Connection[Any], rows: Tuples) -> Cost:
    """As a DAG would: ON CONFLICT DO NOTHING in transactions of 1,000 rows."""
    admin.execute("truncate meta.event")
    hook = postgres_hook(database.ingest)
    connection = hook.get_conn()

    def work() -> None:
        hook.upsert_rows("meta.event", rows, list(_COLUMNS), ["event_key"], [], commit_every=_BATCH)

    with contextlib.closing(connection), contextlib.ExitStack() as patched:
        # the hook closes its connection after every call: this one is kept open, so that its backend can be measured
        for target, name, value in (
            (hook, "get_conn", lambda: connection),
            (connection, "close", lambda: None),
        ):
            patched.enter_context(mock.patch.object(target, name, value))
        cost = cost_of(work, backend=connection.info.backend_pid)
    _check(admin, "meta.event", len(rows))
    return cost


def _bare_table(admin: psycopg.Connection[Any]) -> None:
    columns = ", ".join(
        f"{name} {kind}{' primary key' if name == 'event_key' else ''}"
        for name, kind in zip(_COLUMNS, _TYPES, strict=True)
    )
    admin.execute(f"create table bare_event ({columns})")
    admin.execute("grant all on bare_event to meta_ingest")


def _check(admin: psycopg.Connection[Any], table: str, count: int) -> None:
    found = admin.execute(f"select count(*) from {table}").fetchone()
    if found is None or found[0] != count:
        raise RuntimeError(f"{table} holds {found} instead of {count} events")


def _as_tuple(event: EventRow) -> tuple[Any, ...]:
    return (
        UUID(bytes=event.event_key),
        event.tenant_id,
        UUID(bytes=event.event_id),
        event.source,
        event.type,
        event.subject,
        None,
        datetime.fromtimestamp(event.received_at / 1e6, UTC),
        None,
        event.payload.decode(),
    )
