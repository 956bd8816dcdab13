"""A mapping on real PostgreSQL: nothing is written under another than the stored one, and reapplying moves what is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from integration.waiting import wait_until

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresStore
from airflow_provider_atlan_meta.clients.postgres_mappings import PostgresMappings
from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.errors import MappingMovedError
from airflow_provider_atlan_meta.core.mapping import WarehouseMapping
from airflow_provider_atlan_meta.core.merging import incident_keys, plan_batch
from airflow_provider_atlan_meta.core.templates import Case
from airflow_provider_atlan_meta.pipeline.replay import Replayed, ReplayWriter
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation
from airflow_provider_atlan_meta.services.mappings import derivation
from airflow_provider_atlan_meta.testing.records import ACCOUNT, webhook_record

pytestmark = pytest.mark.integration

RECORDS = [webhook_record(f"inc-{number}", offset=number) for number in range(50)]


class World:
    """Fifty incidents of one table, written and written again as a replay does."""

    def __init__(self, database: Database) -> None:
        self._config = PostgresConfig.from_connection(database.ingest)
        self.store = PostgresStore(self._config)
        self.mappings = PostgresMappings(PostgresConfig.from_connection(database.consumer))
        mapped = derivation(self.store, self._config)
        self._writer = ReplayWriter(self.store, decode=mapped.derive, refresh=mapped.refresh)
        self.admin = psycopg.connect(database.dsn(database.admin), autocommit=True)

    def close(self) -> None:
        self.store.close()
        self.admin.close()

    def apply(self, case: Case) -> int:
        return self.mappings.apply([rule(case)], actor="dana").version

    def write(self, *, reapply: bool) -> Replayed:
        return self._writer.write(RECORDS, reapply=reapply)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.admin.execute(query.encode()).fetchall()

    @property
    def names(self) -> list[tuple[str, int]]:
        """What incidents' tables are called, and of how many incidents."""
        return self.rows(
            "select e.qualified_name, count(*) from meta.incident i, meta.entity e"
            " where e.entity_id = any (i.entity_ids) group by 1 order by 1"
        )

    def versions(self) -> list[tuple[Any, ...]]:
        """Which version of which row there is."""
        tables = ("event", "incident", "entity", "incident_entity")
        return [
            row
            for name in tables
            for row in self.rows(f"select xmin::text, ctid::text from meta.{name} order by 2")
        ]


@pytest.fixture
def world(isolation: Isolation) -> Iterator[World]:
    world = World(isolation.new_database())
    yield world
    world.close()


def rule(case: Case = "keep") -> WarehouseMapping:
    return WarehouseMapping(
        name="snow",
        tenant="acme",
        account=ACCOUNT,
        groups=("analytics:*",),
        platform="snowflake",
        case=case,
        values=(("cluster", "prod"),),
    )


def test_reapplying_a_mapping_moves_every_incident_once_and_a_second_time_writes_nothing(
    world: World,
) -> None:
    assert world.write(reapply=False).stored == 50
    assert world.names == [(f"mc:{ACCOUNT}:analytics:sales.orders", 50)]
    events = world.rows("select *, xmin::text from meta.event order by event_key")
    world.apply("upper")

    assert world.write(reapply=True).changes == 50

    assert world.names == [("ANALYTICS.SALES.ORDERS@prod", 50)]
    assert world.rows("select *, xmin::text from meta.event order by event_key") == events
    assert world.rows("select count(*) from meta.incident where title like '%ORDERS%'") == [(0,)]
    linked = "select distinct e.platform from meta.incident_entity l join meta.entity e using (tenant_id, entity_id)"
    assert world.rows(linked) == [("snowflake",)]
    before = world.versions()
    assert world.write(reapply=True).changes == 0
    assert world.versions() == before


def test_what_was_derived_before_a_mapping_was_applied_is_not_written_after_it(world: World) -> None:
    world.store.mapping_revision = world.apply("keep")
    events = [enrich(record, world.mappings.load().mappings) for record in RECORDS]
    plan = plan_batch(events, world.store.read_incidents(incident_keys(events)))
    world.apply("upper")

    with pytest.raises(MappingMovedError, match="nothing of this batch was written"):
        world.store.apply(plan, commit=None)

    assert world.rows("select count(*) from meta.event") == [(0,)]
    assert world.write(reapply=False).stored == 50
    assert world.names == [("ANALYTICS.SALES.ORDERS@prod", 50)]


def test_an_apply_waits_for_what_is_written_and_what_comes_behind_it_waits_for_the_apply(
    world: World, isolation: Isolation
) -> None:
    """Batches that overlap without end must not keep an apply out for ever."""
    version = world.apply("keep")
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted and database ="
    waiting += " (select oid from pg_database where datname = current_database())"

    with (
        ThreadPoolExecutor(2) as threads,
        psycopg.connect(world.admin.info.dsn, password=world.admin.info.password) as writing,
    ):
        writing.execute("select meta.hold_mapping(%s)", [version])
        applying = threads.submit(world.apply, "upper")
        wait_until(lambda: world.rows(waiting) == [(1,)], 10, "an apply that waits for a batch")
        behind = threads.submit(world.write, reapply=False)
        wait_until(lambda: world.rows(waiting) == [(2,)], 10, "a batch that waits for the apply")
        writing.rollback()
        assert applying.result(20) > version
        assert behind.result(20).stored == 50

    assert world.names == [("ANALYTICS.SALES.ORDERS@prod", 50)]
