"""The fake store of dead letters and the real one keep one contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import uuid4

import psycopg
import pytest
from contract.dead_letter_store import DeadLetterBench, DeadLetterStoreContract

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresStore
from airflow_provider_atlan_meta.clients.postgres_dead_letters import PostgresDeadLetters
from airflow_provider_atlan_meta.clients.postgres_ledger import PostgresLedger
from airflow_provider_atlan_meta.core.merging import BatchPlan
from airflow_provider_atlan_meta.core.ports import Commit, EventStore, Lease, LeaseOwner, LogIdentity
from airflow_provider_atlan_meta.core.rows import DeadLetter
from airflow_provider_atlan_meta.sandbox.isolation import Database
from airflow_provider_atlan_meta.testing.memory import MemoryLane, MemoryStore
from airflow_provider_atlan_meta.testing.memory_dead_letters import MemoryDeadLetters


def set_aside(
    store: EventStore, log: LogIdentity, lease: Lease, letters: Sequence[DeadLetter], end: int
) -> None:
    commit = Commit(log.cluster_id, log.topic, 0, "postgres", lease.epoch, 0, end, 30.0)
    store.apply(BatchPlan(), commit=commit, dead_letters=letters)


class MemoryBench:
    def __init__(self) -> None:
        self._lane = MemoryLane()
        self._log = self._lane.topic.identity
        self._letters = MemoryDeadLetters(self._lane.database)
        self.topic = self._log.topic

    def letters(self) -> MemoryDeadLetters:
        return self._letters

    def set_aside(self, letters: Sequence[DeadLetter], *, end: int) -> None:
        (lease,) = self._lane.ledger(self._lane.owner()).take(self._log, {0: 0}, 1).leases
        set_aside(MemoryStore(self._lane.database), self._log, lease, letters, end)

    def audit(self) -> list[tuple[str, str, str, int]]:
        return self._letters.audit


class TestMemoryDeadLetters(DeadLetterStoreContract):
    @pytest.fixture
    def bench(self) -> DeadLetterBench:
        return MemoryBench()


class PostgresBench:
    """The same database as a superuser sees it; emptied first."""

    def __init__(self, database: Database) -> None:
        self._config = PostgresConfig.from_connection(database.ingest)
        self._admin = psycopg.connect(database.dsn(database.admin), autocommit=True)
        self._admin.execute("truncate meta.dead_letter, meta.audit")
        self._store = PostgresStore(self._config, application_name="bench")
        self._letters = PostgresDeadLetters(self._config, application_name="bench")
        self.topic = f"t-{uuid4().hex[:12]}"

    def letters(self) -> PostgresDeadLetters:
        return self._letters

    def set_aside(self, letters: Sequence[DeadLetter], *, end: int) -> None:
        log = LogIdentity(cluster_id="bench", topic=self.topic, topic_id="1", partitions=(0,))
        owner = LeaseOwner(id=uuid4(), label="bench")
        ledger = PostgresLedger(self._store, owner, sink="postgres", lease_seconds=30.0)
        (lease,) = ledger.take(log, {0: 0}, 1).leases
        set_aside(self._store, log, lease, letters, end)

    def audit(self) -> list[tuple[str, str, str, int]]:
        rows = self._admin.execute(
            "select actor, reason, object, after from meta.audit where action = 'redrive' order by number"
        )
        return [
            (actor, reason, what.rpartition(" ")[2], after["letters"]) for actor, reason, what, after in rows
        ]

    def close(self) -> None:
        self._letters.close()
        self._store.close()
        self._admin.close()


@pytest.mark.integration
class TestPostgresDeadLetters(DeadLetterStoreContract):
    @pytest.fixture
    def bench(self, database: Database) -> Iterator[DeadLetterBench]:
        bench = PostgresBench(database)
        yield bench
        bench.close()
