"""The ingest engine wired to Kafka and PostgreSQL: once for a micro-batch, for ever for the service."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_consumer import KafkaLog
from airflow_provider_atlan_meta.clients.kafka_sender import KafkaSender
from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresStore
from airflow_provider_atlan_meta.clients.postgres_adopt import Adopted, adopt_log
from airflow_provider_atlan_meta.clients.postgres_ledger import PostgresLedger, application_name
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError, TransientError
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.pipeline.dead_letters import publish_dead_letters
from airflow_provider_atlan_meta.pipeline.enrichment import Enrichment
from airflow_provider_atlan_meta.pipeline.ingest import SINK, DrainLimits, Ingest, IngestPolicy, Listener
from airflow_provider_atlan_meta.pipeline.outcomes import IngestOutcome, PartitionRange
from airflow_provider_atlan_meta.services.following import FollowingService, OnTrouble
from airflow_provider_atlan_meta.services.mappings import derivation

__all__ = [
    "IngestOutcome",
    "IngestRequest",
    "IngestService",
    "LeaseOwner",
    "Listener",
    "PartitionRange",
    "ingest_once",
    "service_owner",
]

MAX_BATCH_RECORDS = 1000
# Well inside the lease: the loop that publishes is the one that renews.
_DEAD_LETTER_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class IngestRequest:
    """One bounded micro-batch.

    :param dead_letter_topic: where dead letters are published; empty: they stay in PostgreSQL.
    """

    topic: str
    dead_letter_topic: str = ""
    max_records: int = 10_000
    max_seconds: float = 60.0
    dry_run: bool = False
    batch_records: int = MAX_BATCH_RECORDS
    lease_seconds: float = 30.0

    @classmethod
    def from_settings(
        cls, settings: Settings, *, max_records: int = 10_000, dry_run: bool = False
    ) -> IngestRequest:
        return cls(
            topic=settings.topic("events"),
            dead_letter_topic=settings.topic("dead-letter"),
            max_records=max_records,
            dry_run=dry_run,
            batch_records=settings.integer("batch_records"),
            lease_seconds=settings.number("lease_seconds"),
        )


def service_owner(name: str) -> LeaseOwner:
    """A process of the service lane; new at every start."""
    return LeaseOwner(id=uuid4(), label=f"{name} {socket.gethostname()}:{os.getpid()}")


def ingest_once(
    *,
    kafka: ConnectionInfo,
    postgres: ConnectionInfo,
    request: IngestRequest,
    owner: LeaseOwner,
    report: Callable[[PartitionRange], None] | None = None,
) -> IngestOutcome:
    """From the ledger to the log's end at the start of the call, within the request's limits.

    Rows and cursor commit together: the call may die anywhere, be repeated, and run beside others.

    :param report: hears of every committed range, as it happens.
    :raises TransientError: repeat the call; ``retry_after`` says when, if it is known.
    :raises TerminalError: repeating does not help; the text names the cure.
    """
    if request.max_records < 1:
        raise ConfigurationError(f"max_records = {request.max_records}: a run reads at least 1")
    lane = _Lane(
        kafka=KafkaConfig.from_connection(kafka),
        postgres=PostgresConfig.from_connection(postgres),
        topic=request.topic,
        dead_letter_topic=request.dead_letter_topic,
        owner=owner,
        policy=_policy(request.batch_records, request.lease_seconds, None),
        listener=Listener() if report is None else Listener(batch=report),
    )
    with lane.engine() as engine:
        if request.dry_run:
            return engine.look()
        return engine.drain(DrainLimits(max_records=request.max_records, max_seconds=request.max_seconds))


def adopt_topic(*, kafka: ConnectionInfo, admin: ConnectionInfo, topic: str, dry_run: bool) -> Adopted:
    """Makes the ledger go on with ``topic`` as it is now, from its first record; see ``clients.postgres_adopt``.

    :raises TransientError: somebody still works on the old one.
    """
    log = KafkaLog(KafkaConfig.from_connection(kafka), topic, to_end=True)
    try:
        identity = log.identify()
        first = {partition: bounds[0] for partition, bounds in log.bounds(identity.partitions).items()}
    finally:
        log.close()
    return adopt_log(PostgresConfig.from_connection(admin), identity, first, sink=SINK, dry_run=dry_run)


class IngestService(FollowingService[Ingest]):
    """The service lane: stores records until told to stop.

    :param enrichment: asks the source's API about incidents; None: webhooks are all there is.
    """

    def __init__(
        self,
        *,
        kafka: ConnectionInfo,
        postgres: ConnectionInfo,
        settings: Settings,
        owner: LeaseOwner,
        listener: Listener | None = None,
        on_trouble: OnTrouble | None = None,
        enrichment: Enrichment | None = None,
    ) -> None:
        lane = _Lane(
            kafka=KafkaConfig.from_connection(kafka),
            postgres=PostgresConfig.from_connection(postgres),
            topic=settings.topic("events"),
            dead_letter_topic=settings.topic("dead-letter"),
            owner=owner,
            policy=_policy(
                settings.integer("batch_records"),
                settings.number("lease_seconds"),
                settings.integer("max_partitions") or None,
            ),
            listener=listener or Listener(),
            enrichment=enrichment,
        )
        super().__init__(lane.engine, lambda engine, stopped: engine.follow(stopped), on_trouble)


def _policy(batch_records: int, lease_seconds: float, max_partitions: int | None) -> IngestPolicy:
    if not 1 <= batch_records <= MAX_BATCH_RECORDS:
        raise ConfigurationError(
            f"batch_records = {batch_records}: a batch is one statement of 1 to {MAX_BATCH_RECORDS} records"
        )
    if lease_seconds <= 0:
        raise ConfigurationError(f"lease_seconds = {lease_seconds} must be positive")
    return IngestPolicy(
        batch_records=batch_records, lease_seconds=lease_seconds, max_partitions=max_partitions
    )


@dataclass(frozen=True, kw_only=True)
class _Lane:
    """What one engine is built from, every time anew."""

    kafka: KafkaConfig
    postgres: PostgresConfig
    topic: str
    dead_letter_topic: str
    owner: LeaseOwner
    policy: IngestPolicy
    listener: Listener
    enrichment: Enrichment | None = None

    @contextmanager
    def engine(self) -> Iterator[Ingest]:
        store = PostgresStore(self.postgres, application_name=application_name(self.owner))
        log = KafkaLog(self.kafka, self.topic, to_end=True)
        ledger = PostgresLedger(store, self.owner, sink=SINK, lease_seconds=self.policy.lease_seconds)
        listener = self.listener
        if self.dead_letter_topic:
            listener = _DeadLetters(listener, store, self.kafka, self.dead_letter_topic).listener()
        try:
            yield Ingest(
                log=log,
                ledger=ledger,
                store=store,
                owner=self.owner,
                policy=self.policy,
                listener=listener,
                derivation=derivation(store, self.postgres, self.enrichment),
            )
        finally:
            log.close()
            store.close()


class _DeadLetters:
    """Publishes after the commits that set records aside. Kafka away: after a later commit, or the next engine.

    What Kafka will not take stays in PostgreSQL and stops nobody.
    """

    def __init__(self, told: Listener, store: PostgresStore, kafka: KafkaConfig, topic: str) -> None:
        self._told = told
        self._store = store
        self._sender = KafkaSender(kafka, delivery_timeout_seconds=_DEAD_LETTER_SECONDS)
        self._topic = topic
        # what an earlier process left goes with the first commit
        self._waiting = True

    def listener(self) -> Listener:
        return Listener(self._batch, self._told.event)

    def _batch(self, part: PartitionRange) -> None:
        self._told.batch(part)
        self._waiting = self._waiting or part.rejected > 0
        if self._waiting:
            with suppress(TransientError, RejectedError):
                publish_dead_letters(self._store, self._sender, self._topic)
                self._waiting = False
