"""B3: reading a range again that is stored already: nothing is written, nothing is said, and it is quick."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from airflow_provider_atlan_meta.core.rows import LogRecord
from airflow_provider_atlan_meta.pipeline.batches import BatchWriter
from airflow_provider_atlan_meta.pipeline.replay import ReplayWriter
from airflow_provider_atlan_meta.sandbox.isolation import Database
from benchmarks import corpus, stage
from benchmarks.measure import Cost, cost_of, median_ratio, rates
from benchmarks.results import Row, row

ID = "B3"
OF_FRESH = 5.0
_BATCH = 1000
_KNOWN = 10_000


def run(rounds: int, quick: bool) -> list[Row]:
    count = 6_000 if quick else 20_000
    records = list(corpus.records(_KNOWN + rounds * count, start_ms=stage.today_ms()))
    fresh: list[Cost] = []
    again: list[Cost] = []
    versions = messages = 0
    with stage.isolation(["postgres"]) as made:
        database = made.new_database()
        with stage.superuser(database) as admin:
            _write(database, records[:_KNOWN])
            admin.execute("vacuum analyze")
            for number in range(rounds):
                part = records[_KNOWN + number * count :][:count]
                fresh.append(_write(database, part))
                with _listening(admin, database.name) as heard:
                    before = _row_versions(admin)
                    again.append(_replay(database, part))
                    versions += _row_versions(admin) - before
                    messages += heard()
            _check_ears(database, admin, records)
    return _rows(fresh, again, count, rounds, versions, messages)


def _check_ears(database: Database, admin: psycopg.Connection[Any], records: list[LogRecord]) -> None:
    """What counts nothing must be able to count: one batch nobody has seen."""
    new = list(corpus.records(_BATCH, seed=99, first_offset=len(records), start_ms=stage.today_ms()))
    with _listening(admin, database.name) as heard:
        before = _row_versions(admin)
        _write(database, new)
        if _row_versions(admin) - before < _BATCH or heard() == 0:
            raise RuntimeError("row versions or change messages are not counted")


def _rows(
    fresh: list[Cost], again: list[Cost], count: int, rounds: int, versions: int, messages: int
) -> list[Row]:
    first, second = rates(fresh, count), rates(again, count)
    details: dict[str, Any] = {"rounds": rounds, "records": rounds * count}
    nothing: dict[str, Any] = {"target": 0, "at_most": True, **details}
    return [
        row(
            ID,
            "exact replay / the same records fresh, 1,000 per batch",
            ours=second.cpu_us,
            peer=first.cpu_us,
            unit="µs CPU per event",
            ratio=median_ratio([cost.cpu for cost in fresh], [cost.cpu for cost in again]),
            target=OF_FRESH,
            server_us=second.server_us,
            **details,
        ),
        row(
            ID,
            "exact replay / the same records fresh, wall",
            ours=second.per_second,
            peer=first.per_second,
            unit="events/s",
            ratio=median_ratio([cost.wall for cost in fresh], [cost.wall for cost in again]),
            slowest=second.slowest,
            fastest=second.fastest,
            **details,
        ),
        row(
            ID, "row versions an exact replay makes", ours=versions, peer=None, unit="rows", ratio=versions, **nothing
        ),
        row(
            ID,
            "change messages an exact replay makes",
            ours=messages,
            peer=None,
            unit="messages",
            ratio=messages,
            **nothing,
        ),
    ]  # fmt: skip


def _write(database: Database, records: Sequence[LogRecord]) -> Cost:
    """The live lane, on a connection of its own: counters are complete once it is closed."""
    with contextlib.closing(stage.Seat(database)) as seat:
        writer = BatchWriter(seat.store, sink=stage.SINK, lease_seconds=600.0)

        def work() -> None:
            for start in range(0, len(records), _BATCH):
                batch = records[start : start + _BATCH]
                seat.lease = writer.write(seat.log, seat.lease, batch, batch[-1].offset + 1).lease

        cost = cost_of(work, backend=seat.backend)
        seat.release()
        return cost


def _replay(database: Database, records: Sequence[LogRecord]) -> Cost:
    with contextlib.closing(stage.Seat(database, partition=None)) as seat:
        writer = ReplayWriter(seat.store)

        def work() -> None:
            for start in range(0, len(records), _BATCH):
                found = writer.write(records[start : start + _BATCH], reapply=False)
                if found.known != found.records:
                    raise RuntimeError(f"of {found.records} stored records only {found.known} were known")

        return cost_of(work, backend=seat.backend)


def _row_versions(admin: psycopg.Connection[Any]) -> int:
    """Inserted, updated and deleted so far; a session's share is counted when it ends."""
    _wait_for_sessions_to_end(admin)
    found = admin.execute(
        "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint from pg_stat_user_tables"
        " where schemaname = 'meta'"
    ).fetchone()
    return int(found[0]) if found else 0


def _wait_for_sessions_to_end(admin: psycopg.Connection[Any]) -> None:
    stage.wait_until(
        lambda: (
            admin.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and usename = 'meta_ingest'"
            ).fetchone()
            == (0,)
        ),
        what="the writers' sessions end",
    )


@contextlib.contextmanager
def _listening(admin: psycopg.Connection[Any], name: str) -> Iterator[Any]:
    """Yields a function that counts the change messages since."""
    admin.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", [name])
    query = "select count(*) from pg_logical_slot_peek_changes(%s, null, null) where data like 'message%%'"

    def heard() -> int:
        found = admin.execute(query, [name]).fetchone()
        return int(found[0]) if found else 0

    try:
        yield heard
    finally:
        admin.execute("select pg_drop_replication_slot(%s)", [name])
