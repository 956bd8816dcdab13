"""The fake ledger of projections and the real one keep the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from contract.projection_ledger import (
    OPENED,
    TABLE,
    ProjectionBench,
    ProjectionLedgerContract,
    Standing,
    incident,
    project,
    swept,
)

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresSession
from airflow_provider_atlan_meta.clients.postgres_projection import PostgresProjection
from airflow_provider_atlan_meta.core.projection import ProjectionLedger
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS, EntityRow, IncidentRow
from airflow_provider_atlan_meta.core.stores import RowRef
from airflow_provider_atlan_meta.sandbox.isolation import Database
from airflow_provider_atlan_meta.testing.memory_database import MemoryDatabase, StoredEntity
from airflow_provider_atlan_meta.testing.memory_projection import MemoryProjection


class MemoryBench:
    def __init__(self) -> None:
        self.database = MemoryDatabase()

    def ledger(self, sink: str = "atlas") -> ProjectionLedger:
        return MemoryProjection(self.database, sink=sink)

    def put_incident(self, ref: RowRef, title: str) -> int:
        tables, key = self.database.tables, (ref.tenant_id, ref.id)
        if key in tables.incidents:
            self.database.edit_incident(key, title=title)
        else:
            named = {
                "title": title,
                "opened_at": int(OPENED.timestamp() * 1_000_000),
                "entity_ids": (TABLE.bytes,),
            }
            values = tuple(named.get(name) for name in INCIDENT_FIELDS)
            revision = tables.tombstones.get(key, 0) + 1
            tables.incidents[key] = IncidentRow(*key, values, (), -1, None, False, revision)
        return tables.incidents[key].revision

    def delete_incident(self, ref: RowRef) -> None:
        self.database.delete_incident((ref.tenant_id, ref.id))

    def put_entity(self, ref: RowRef, name: str) -> int:
        key = UUID(ref.id).bytes
        row = EntityRow(ref.tenant_id, key, f"q.{name}", "table", name, "p", None, None, 1)
        self.database.tables.entities[ref.tenant_id, key] = StoredEntity(row, b"", 1)
        return 1

    def pass_time(self, seconds: float) -> None:
        self.database.clock.advance(seconds)

    def standing(self, ref: RowRef, sink: str = "atlas") -> Standing | None:
        row = self.database.projections[sink].get(ref)
        if row is None:
            return None
        told = (row.projected_revision, row.external_id, row.attempts)
        return Standing(*told, row.retry_at is not None, row.claimed_at is not None, row.reason)

    def letters(self) -> list[tuple[str, str, str, str, bytes]]:
        return [
            (key[1], key[3], letter.tenant_id or "", letter.reason, letter.value or b"")
            for (key, _), letter in self.database.tables.dead_letters.items()
        ]


class TestMemoryProjection(ProjectionLedgerContract):
    @pytest.fixture
    def bench(self) -> ProjectionBench:
        return MemoryBench()


class PostgresBench:
    """The same database as a superuser sees it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._config = PostgresConfig.from_connection(database.ingest)
        self._sessions: list[PostgresSession] = []
        self.admin = psycopg.connect(database.dsn(database.admin), autocommit=True)
        self.rows(
            "truncate meta.incident, meta.entity, meta.tombstone, meta.projection, meta.projection_sweep,"
            " meta.dead_letter"
        )

    def ledger(self, sink: str = "atlas") -> ProjectionLedger:
        self._sessions.append(PostgresSession(self._config))
        return PostgresProjection(self._sessions[-1], sink=sink)

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        cursor = self.admin.execute(query.encode(), arguments)
        return cursor.fetchall() if cursor.description else []

    def put_incident(self, ref: RowRef, title: str) -> int:
        return self.put(
            "insert into meta.incident (tenant_id, incident_id, title, opened_at, entity_ids)"
            " values (%s, %s, %s, %s, %s)"
            " on conflict (tenant_id, incident_id) do update set title = excluded.title returning revision",
            *(ref.tenant_id, ref.id, title, OPENED, [TABLE]),
        )

    def delete_incident(self, ref: RowRef) -> None:
        self.rows(
            "delete from meta.incident where tenant_id = %s and incident_id = %s", ref.tenant_id, ref.id
        )

    def put_entity(self, ref: RowRef, name: str) -> int:
        return self.put(
            "insert into meta.entity (tenant_id, entity_id, qualified_name, type_name, name, platform, position,"
            " content_hash) values (%s, %s, %s, 'table', %s, 'p', %s, 1)"
            " on conflict (tenant_id, entity_id) do update set name = excluded.name returning revision",
            *(ref.tenant_id, ref.id, f"q.{name}", name, uuid4()),
        )

    def put(self, query: str, *arguments: Any) -> int:
        ((revision,),) = self.rows(query, *arguments)
        return int(revision)

    def pass_time(self, seconds: float) -> None:
        """As if it had passed: the database's clock cannot be set, what it is compared with can."""
        self.rows(
            "update meta.projection set claimed_at = claimed_at - make_interval(secs => %s),"
            " retry_at = retry_at - make_interval(secs => %s)",
            *(seconds, seconds),
        )

    def standing(self, ref: RowRef, sink: str = "atlas") -> Standing | None:
        rows = self.rows(
            "select projected_revision, coalesce(external_id, ''), attempts, retry_at is not null,"
            " claimed_at is not null, coalesce(reason, '') from meta.projection"
            " where tenant_id = %s and kind = %s and id = %s and sink = %s",
            *(*ref, sink),
        )
        return Standing(*rows[0]) if rows else None

    def letters(self) -> list[tuple[str, str, str, str, bytes]]:
        return [
            (*row[:4], bytes(row[4]))
            for row in self.rows("select topic, sink, tenant_id, reason, value from meta.dead_letter")
        ]

    def close(self) -> None:
        for session in self._sessions:
            session.close()
        self.admin.close()


@pytest.mark.integration
class TestPostgresProjection(ProjectionLedgerContract):
    @pytest.fixture
    def bench(self, database: Database) -> Iterator[PostgresBench]:
        bench = PostgresBench(database)
        yield bench
        bench.close()

    def test_a_complete_sweep_is_followed_by_one_of_what_changed_since(self, bench: PostgresBench) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(1), "a")
        project(ledger, *swept(ledger))

        assert swept(ledger) == []

        sweep = ledger.begin_sweep()
        assert sweep.since is not None
        # stamped long before the watermark, as nothing is that follows the rules
        bench.rows("update meta.incident set changed_at = now() - interval '1 day'")
        bench.rows("update meta.projection set projected_revision = 0")
        assert swept(ledger) == []
        bench.rows("delete from meta.projection_sweep")
        assert swept(ledger) == [incident(1)]

    def test_the_watermark_waits_for_transactions_that_are_older_than_it(
        self, bench: PostgresBench, database: Database
    ) -> None:
        ledger = bench.ledger()
        swept(ledger)
        with psycopg.connect(database.dsn(database.admin)) as slow:
            stamped = slow.execute(
                "insert into meta.incident (tenant_id, incident_id) values ('acme', 'inc-0001') returning changed_at"
            ).fetchone()
            for _ in range(3):
                assert swept(ledger) == []
            ((swept_to,),) = bench.rows("select swept_to from meta.projection_sweep")
            slow.commit()

        assert stamped is not None
        assert swept_to <= stamped[0]
        assert swept(ledger) == [incident(1)]
        assert swept(ledger) == [incident(1)]
        ((swept_to,),) = bench.rows("select swept_to from meta.projection_sweep")
        assert swept_to > stamped[0]

    def test_a_sweep_that_was_broken_off_is_made_again(self, bench: PostgresBench) -> None:
        ledger = bench.ledger()
        for number in range(4):
            bench.put_incident(incident(number), "a")
        for _ in range(3):
            pages = ledger.dirty(ledger.begin_sweep(), 2)
            assert next(pages) == [incident(0), incident(1)]

        assert len(swept(ledger)) == 4

    def test_updates_beside_the_index_of_changes_stay_heap_only(self, bench: PostgresBench) -> None:
        if bench.admin.info.server_version < 160000:
            pytest.skip("before PostgreSQL 16 there is no such index")
        bench.rows(
            "insert into meta.incident (tenant_id, incident_id) select 'acme', 'i' || n from generate_series(1, 300) n"
        )
        with bench.admin.transaction():
            for title in "abc":
                bench.rows("update meta.incident set title = %s where right(incident_id, 1) = '7'", title)
            ((updated, heap_only),) = bench.rows(
                "select pg_stat_get_xact_tuples_updated(c), pg_stat_get_xact_tuples_hot_updated(c)"
                " from (select 'meta.incident'::regclass::oid c) t"
            )

        assert updated == heap_only == 90

    def test_two_workers_at_the_same_rows_never_wait_for_each_other_for_ever(
        self, bench: PostgresBench
    ) -> None:
        refs = [incident(number) for number in range(50)]
        for ref in refs:
            bench.put_incident(ref, "a")
        go, troubles = Event(), list[Exception]()

        def work(order: list[RowRef]) -> None:
            ledger = bench.ledger()
            go.wait()
            try:
                for _ in range(20):
                    ledger.claim(ledger.read(order))
                    ledger.mark_dirty(order)
                    ledger.defer([(ref, 1.0) for ref in order])
            except Exception as error:
                troubles.append(error)

        workers = [Thread(target=work, args=(order,)) for order in (refs, refs[::-1])]
        for worker in workers:
            worker.start()
        go.set()
        for worker in workers:
            worker.join()

        assert troubles == []

    def test_one_tenant_s_reader_sees_its_own_standings_only(
        self, bench: PostgresBench, database: Database
    ) -> None:
        for tenant in ("acme", "globex"):
            bench.put_incident(incident(1, tenant), "a")
            project(bench.ledger(), incident(1, tenant))
        with psycopg.connect(database.dsn(database.reader), autocommit=True) as reader:
            assert reader.execute("select count(*) from meta.projection").fetchone() == (0,)
            reader.execute("select set_config('meta.tenants', 'acme', false)")
            assert reader.execute("select tenant_id from meta.projection").fetchall() == [("acme",)]
