"""Real Kafka and PostgreSQL keep the contracts the fakes are written to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
from contract.event_store import EventStoreContract, Incident, StoreBench
from contract.ledger import LEASE_SECONDS, LedgerBench, LedgerContract
from contract.record_log import LogBench, RecordLogContract

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_consumer import KafkaLog
from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresStore
from airflow_provider_atlan_meta.clients.postgres_ledger import PostgresLedger, application_name
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.merging import IncidentKey
from airflow_provider_atlan_meta.core.ports import Commit, LeaseOwner, LogIdentity
from airflow_provider_atlan_meta.core.rows import DeadLetter, EventRow, LogRecord
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation, Topics

pytestmark = pytest.mark.integration

ANSWER_SECONDS = 20


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {ANSWER_SECONDS} s"
        time.sleep(0.01)


# ---- Kafka -----------------------------------------------------------------------------------------------------------


class KafkaBench:
    def __init__(self, topics: Topics) -> None:
        from confluent_kafka import Producer

        self._topic = topics.events
        self._kafka = topics.kafka
        self._producer = Producer({**topics.kafka.extra, "acks": "all"})
        self._readers: list[KafkaLog] = []
        log = self.reader()
        wait_until(lambda: self._has_leaders(log), "leaders of the new topic")

    def _has_leaders(self, log: KafkaLog) -> bool:
        try:
            return log.bounds([0, 1]) == {0: (0, 0), 1: (0, 0)}
        except TransientError:
            return False

    def append(self, partition: int, *records: LogRecord) -> None:
        _produce(self._producer, self._topic, partition, records)
        assert self._producer.flush(ANSWER_SECONDS) == 0

    def begin(self, partition: int, *records: LogRecord) -> Callable[[bool], None]:
        from confluent_kafka import Producer

        log = self.reader()
        marker = log.bounds([partition])[partition][1] + len(records)
        producer = Producer({**self._kafka.extra, "transactional.id": f"bench-{uuid4()}"})
        producer.init_transactions(ANSWER_SECONDS)
        producer.begin_transaction()
        _produce(producer, self._topic, partition, records)
        assert producer.flush(ANSWER_SECONDS) == 0

        def finish(commit: bool) -> None:
            if commit:
                producer.commit_transaction(ANSWER_SECONDS)
            else:
                producer.abort_transaction(ANSWER_SECONDS)
            # the coordinator writes the marker some time after its answer
            wait_until(lambda: log.bounds([partition])[partition][1] > marker, "the transaction's marker")

        return finish

    def delete_before(self, partition: int, offset: int) -> None:
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import AdminClient

        admin = AdminClient(dict(self._kafka.extra))
        for future in admin.delete_records([TopicPartition(self._topic, partition, offset)]).values():
            future.result(ANSWER_SECONDS)

    def reader(self) -> KafkaLog:
        log = KafkaLog(KafkaConfig.from_connection(self._kafka), self._topic, to_end=True)
        self._readers.append(log)
        return log

    def close(self) -> None:
        for log in self._readers:
            log.close()


def _produce(producer: Any, topic: str, partition: int, records: Sequence[LogRecord]) -> None:
    for record in records:
        producer.produce(
            topic, partition=partition, key=record.key, value=record.value, headers=list(record.headers)
        )


class TestKafkaLog(RecordLogContract):
    @pytest.fixture
    def bench(self, isolation: Isolation) -> Iterator[LogBench]:
        bench = KafkaBench(isolation.new_topics(2))
        yield bench
        bench.close()


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


class PostgresBench:
    """Stores with a connection each, and the same database as a superuser sees it."""

    def __init__(self, database: Database) -> None:
        self._config = PostgresConfig.from_connection(database.ingest)
        self._admin = psycopg.connect(database.dsn(database.admin), autocommit=True)
        self._stores: list[PostgresStore] = []
        self.log = LogIdentity(
            cluster_id="bench", topic=f"t-{uuid4()}", topic_id=str(uuid4()), partitions=(0, 1, 2, 3)
        )

    def store(self, name: str = "atlan-meta bench") -> PostgresStore:
        store = PostgresStore(self._config, application_name=name)
        self._stores.append(store)
        return store

    def ledger(self, owner: LeaseOwner, *, sink: str = "postgres") -> PostgresLedger:
        return PostgresLedger(
            self.store(application_name(owner)), owner, sink=sink, lease_seconds=LEASE_SECONDS
        )

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        cursor = self._admin.execute(query.encode(), arguments)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        for store in self._stores:
            store.close()
        self._admin.close()


class PostgresLedgerBench(PostgresBench):
    def pass_time(self, seconds: float) -> None:
        """As if it had passed: the database's clock cannot be set, what it is compared with can."""
        self.rows(
            "update meta.ingest_offset set expires_at = expires_at - make_interval(secs => %s),"
            " moved_at = moved_at - make_interval(secs => %s) where topic like %s",
            *(seconds, seconds, f"{self.log.topic}%"),
        )


class TestPostgresLedger(LedgerContract):
    @pytest.fixture
    def bench(self, database: Database) -> Iterator[LedgerBench]:
        bench = PostgresLedgerBench(database)
        yield bench
        bench.close()


class PostgresStoreBench(PostgresBench):
    def __init__(self, database: Database) -> None:
        super().__init__(database)
        owner = LeaseOwner(id=uuid4(), label="bench")
        (lease,) = self.ledger(owner).take(self.log, {0: 0}, 1).leases
        self.commit = Commit(
            self.log.cluster_id, self.log.topic, 0, "postgres", lease.epoch, 0, 0, LEASE_SECONDS
        )
        self._slot = database.name

    def outbox(self) -> PostgresStore:
        return self.store()

    def cursor(self) -> int:
        ((cursor,),) = self.rows(
            "select next_offset from meta.ingest_offset where topic = %s", self.log.topic
        )
        return int(cursor)

    def events(self, tenant: str) -> dict[bytes, tuple[str, bytes, bytes | None, bytes]]:
        rows = self.rows(
            "select event_key, subject, event_id, duplicate_of, payload::text from meta.event where tenant_id = %s",
            tenant,
        )
        return {
            key.bytes: (subject, event_id.bytes, duplicate and duplicate.bytes, payload.encode())
            for key, subject, event_id, duplicate, payload in rows
        }

    def incident(self, key: IncidentKey) -> Incident | None:
        rows = self.rows(
            "select revision, status, owner, log_position, unconfirmed from meta.incident"
            " where tenant_id = %s and incident_id = %s",
            *key,
        )
        return Incident(*rows[0]) if rows else None

    def entities(self, tenant: str) -> dict[str, tuple[str | None, int]]:
        rows = self.rows(
            "select qualified_name, name, revision from meta.entity where tenant_id = %s", tenant
        )
        return {qualified_name: (name, revision) for qualified_name, name, revision in rows}

    def links(self, tenant: str) -> set[tuple[bytes, str]]:
        rows = self.rows(
            "select entity_id, incident_id from meta.incident_entity where tenant_id = %s", tenant
        )
        return {(entity.bytes, incident) for entity, incident in rows}

    def dead_letters(self) -> dict[int, DeadLetter]:
        rows = self.rows(
            'select "offset", tenant_id, key, headers, value, stage, reason, fingerprint'
            " from meta.dead_letter where topic = %s",
            self.log.topic,
        )
        return {row[0]: DeadLetter(*(*row[:3], _headers(row[3]), *row[4:])) for row in rows}

    def changes(self, tenant: str) -> list[tuple[str, str, int]]:
        return [(one["kind"], one["op"], one["revision"]) for one in self._messages(tenant)]

    def held(self, tenant: str) -> list[tuple[str, int, bool]]:
        messages = self._messages(tenant)
        return [(one["kind"], one["revision"], one.get("held", False)) for one in messages]

    def _messages(self, tenant: str) -> list[dict[str, Any]]:
        messages = self.rows(
            "select data from pg_logical_slot_peek_changes(%s, null, null) where data like 'message%%'",
            self._slot,
        )
        payloads = [json.loads(json.loads(text.split(" content:", 1)[1])["payload"]) for (text,) in messages]
        return [payload for payload in payloads if payload["tenant_id"] == tenant]

    def edit_incident(self, key: IncidentKey, status: str) -> None:
        self.rows(
            "update meta.incident set status = %s where tenant_id = %s and incident_id = %s", status, *key
        )

    def delete_incident(self, key: IncidentKey) -> None:
        # the trigger that buries the row writes as the schema's owner, whom row level security binds as well
        self.rows("select set_config('meta.tenants', %s, false)", key[0])
        self.rows("delete from meta.incident where tenant_id = %s and incident_id = %s", *key)

    def refused(self, event: EventRow) -> EventRow:
        return msgspec.structs.replace(event, payload=b"{")


def _headers(pairs: list[tuple[str, str | None]]) -> tuple[tuple[str, bytes | None], ...]:
    return tuple((name, None if value is None else value.encode("latin-1")) for name, value in pairs)


@pytest.fixture(scope="module")
def slot(database: Database) -> Iterator[Database]:
    """The database with a logical slot that sees every change message from now on."""
    with psycopg.connect(database.dsn(database.admin), autocommit=True) as admin:
        admin.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", (database.name,))
        yield database
        admin.execute("select pg_drop_replication_slot(%s)", (database.name,))


class TestPostgresStore(EventStoreContract):
    @pytest.fixture
    def bench(self, slot: Database) -> Iterator[StoreBench]:
        bench = PostgresStoreBench(slot)
        yield bench
        bench.close()
