"""The fake store of mappings and the real one keep one contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from contract.mapping_store import MappingBench, MappingStoreContract, mapping

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig
from airflow_provider_atlan_meta.clients.postgres_mappings import PostgresMappings
from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.stored_subscriptions import AuditEntry
from airflow_provider_atlan_meta.sandbox.isolation import Database
from airflow_provider_atlan_meta.testing.memory_mappings import MemoryMappings


class MemoryBench:
    def __init__(self) -> None:
        self._store = MemoryMappings()

    def store(self) -> MemoryMappings:
        return self._store

    def audit(self) -> list[AuditEntry]:
        return list(self._store.audit)

    def store_by_hand(self, name: str, *, tenant: str, spec: Any) -> None:
        self._store.store_by_hand(name, tenant=tenant, spec=spec)


class TestMemoryMappings(MappingStoreContract):
    @pytest.fixture
    def bench(self) -> MappingBench:
        return MemoryBench()

    def test_a_store_that_is_down_says_so(self) -> None:
        store = MemoryMappings()
        store.is_down = True

        for ask in (store.load, store.rows, lambda: store.apply([], actor="dana")):
            with pytest.raises(TransientError):
                ask()


class PostgresBench:
    """The same database as a superuser sees it; emptied first."""

    def __init__(self, database: Database) -> None:
        self._config = PostgresConfig.from_connection(database.consumer)
        self._admin = psycopg.connect(database.dsn(database.admin), autocommit=True)
        self._admin.execute("truncate meta.mapping, meta.audit")

    def store(self) -> PostgresMappings:
        return PostgresMappings(self._config)

    def audit(self) -> list[AuditEntry]:
        rows = self._admin.execute(
            "select actor, action, object, tenant_id, before, after, coalesce(reason, '') from meta.audit"
            " order by number"
        )
        return [AuditEntry._make(row) for row in rows]

    def store_by_hand(self, name: str, *, tenant: str, spec: Any) -> None:
        self._admin.execute(
            "insert into meta.mapping (name, tenant_id, spec) values (%s, %s, %s)",
            (name, tenant, json.dumps(spec)),
        )

    def close(self) -> None:
        self._admin.close()


@pytest.mark.integration
class TestPostgresMappings(MappingStoreContract):
    @pytest.fixture
    def bench(self, database: Database) -> Iterator[MappingBench]:
        bench = PostgresBench(database)
        yield bench
        bench.close()

    def test_who_may_see_and_who_may_change_them(self, bench: MappingBench, database: Database) -> None:
        bench.store().apply([mapping("a"), mapping("b", tenant="globex")], actor="dana")
        reader = PostgresConfig.from_connection(database.reader)
        acme = replace(reader, parameters={"options": "-c meta.tenants=acme"})
        ingest = PostgresConfig.from_connection(database.ingest)

        seen = [[row.name for row in PostgresMappings(config).rows()] for config in (acme, ingest)]

        assert seen == [["a"], ["a", "b"]]
        for config in (acme, ingest):
            with pytest.raises(TerminalError, match="permission denied"):
                PostgresMappings(config).apply([], actor="mallory")

    def test_nobody_changes_them_while_something_is_written_under_them(
        self, bench: MappingBench, database: Database
    ) -> None:
        version = bench.store().apply([mapping("a")], actor="dana").version
        hasty = replace(
            PostgresConfig.from_connection(database.consumer), parameters={"options": "-c lock_timeout=50ms"}
        )
        hold = "select meta.hold_mapping(%s)"

        with psycopg.connect(database.dsn(database.ingest)) as writing:
            writing.execute(hold, [version])
            with pytest.raises(TransientError, match="writes under them, and has not finished"):
                PostgresMappings(hasty).apply([], actor="dana")
            writing.commit()
            bench.store().apply([], actor="dana")
            with pytest.raises(psycopg.errors.RaiseException) as caught:
                writing.execute(hold, [version])

        assert caught.value.diag.message_detail == "mapping"
