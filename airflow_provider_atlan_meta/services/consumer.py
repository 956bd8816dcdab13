"""The consumption engine wired to Kafka, PostgreSQL and destinations: for a micro-batch, and for the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_consumer import KafkaLog
from airflow_provider_atlan_meta.clients.postgres import PostgresConfig
from airflow_provider_atlan_meta.clients.postgres_deliveries import PostgresDeliveries
from airflow_provider_atlan_meta.clients.postgres_ledger import PostgresLedger
from airflow_provider_atlan_meta.clients.postgres_subscriptions import PostgresSubscriptions
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.core.routing import DestinationSpec
from airflow_provider_atlan_meta.core.sending import Capabilities, Destination
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits
from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange, PropagateOutcome
from airflow_provider_atlan_meta.pipeline.propagate import SINK, Listener, Propagation
from airflow_provider_atlan_meta.pipeline.propagation_run import Ports, PropagatePolicy
from airflow_provider_atlan_meta.services.destinations import DESTINATIONS, open_destination
from airflow_provider_atlan_meta.services.following import FollowingService, OnTrouble

__all__ = [
    "ConsumerService",
    "Listener",
    "PartitionRange",
    "PropagateOutcome",
    "PropagateRequest",
    "propagate_once",
]

T = TypeVar("T")
ConnectionLookup = Callable[[str], ConnectionInfo]


@dataclass(frozen=True, kw_only=True)
class PropagateRequest:
    """One bounded micro-batch."""

    topic: str
    max_records: int = 10_000
    max_seconds: float = 60.0
    dry_run: bool = False
    lease_seconds: float = 30.0

    @classmethod
    def from_settings(
        cls, settings: Settings, *, max_records: int = 10_000, dry_run: bool = False
    ) -> PropagateRequest:
        return cls(
            topic=settings.topic("changes"),
            max_records=max_records,
            dry_run=dry_run,
            lease_seconds=settings.number("lease_seconds"),
        )


def propagate_once(
    *,
    kafka: ConnectionInfo,
    postgres: ConnectionInfo,
    connections: ConnectionLookup,
    request: PropagateRequest,
    owner: LeaseOwner,
    report: Callable[[PartitionRange], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> PropagateOutcome:
    """From the ledger to the topic's end at the start of the call, and what is parked and due, within the limits.

    Outcomes and cursor are written together: the call may die anywhere, be repeated, and run beside others. Must not
    be called where an event loop runs.

    :param postgres: as role meta_consumer. :param connections: id -> connection of a destination.
    :param report: hears of every written range, as it happens.
    :param stopped: ends the call early, with everything that was sent written down.
    :raises TransientError: repeat the call; ``retry_after`` says when, if it is known.
    :raises TerminalError: repeating does not help; the text names the cure.
    """
    if request.max_records < 1:
        raise ConfigurationError(f"max_records = {request.max_records}: a run reads at least 1")
    lane = _Lane(
        kafka=KafkaConfig.from_connection(kafka),
        postgres=PostgresConfig.from_connection(postgres),
        connections=connections,
        topic=request.topic,
        owner=owner,
        policy=_policy(request.lease_seconds, None),
        listener=Listener() if report is None else Listener(batch=report),
    )
    with lane.engine(follows=False) as engine:
        if request.dry_run:
            return engine.look()
        limits = DrainLimits(max_records=request.max_records, max_seconds=request.max_seconds)
        return _run(engine.drain(limits, stopped))


class ConsumerService(FollowingService[Propagation]):
    """The service lane: tells subscribers of changes until told to stop."""

    def __init__(
        self,
        *,
        kafka: ConnectionInfo,
        postgres: ConnectionInfo,
        connections: ConnectionLookup,
        settings: Settings,
        owner: LeaseOwner,
        listener: Listener | None = None,
        on_trouble: OnTrouble | None = None,
    ) -> None:
        lane = _Lane(
            kafka=KafkaConfig.from_connection(kafka),
            postgres=PostgresConfig.from_connection(postgres),
            connections=connections,
            topic=settings.topic("changes"),
            owner=owner,
            policy=_policy(settings.number("lease_seconds"), settings.integer("max_partitions") or None),
            listener=listener or Listener(),
        )
        super().__init__(
            lambda: lane.engine(follows=True),
            lambda engine, stopped: _run(engine.follow(stopped)),
            on_trouble,
        )

    @property
    def open_breakers(self) -> tuple[str, ...]:
        """Connections that nobody calls at the moment, as they do not answer."""
        return self._engine.open_breakers if self._engine is not None else ()

    def destination_type(self, subscription: str) -> str:
        """Of a subscription as it was read last."""
        return self._engine.destination_type(subscription) if self._engine is not None else "unknown"


def _run(work: Coroutine[Any, Any, T]) -> T:
    """With uvloop where it is installed: a delivery costs a third less there."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def _policy(lease_seconds: float, max_partitions: int | None) -> PropagatePolicy:
    if lease_seconds <= 0:
        raise ConfigurationError(f"lease_seconds = {lease_seconds} must be positive")
    return PropagatePolicy(lease_seconds=lease_seconds, max_partitions=max_partitions)


@dataclass(frozen=True)
class _Destinations:
    """Of the package, over the caller's connections."""

    connections: ConnectionLookup

    def capabilities(self, kind: str) -> Capabilities | None:
        return DESTINATIONS.get(kind)

    def open(self, spec: DestinationSpec) -> Destination:
        return open_destination(spec, self.connections(spec.conn_id))


@dataclass(frozen=True, kw_only=True)
class _Lane:
    """What one engine is built from, every time anew."""

    kafka: KafkaConfig
    postgres: PostgresConfig
    connections: ConnectionLookup
    topic: str
    owner: LeaseOwner
    policy: PropagatePolicy
    listener: Listener

    @contextmanager
    def engine(self, *, follows: bool) -> Iterator[Propagation]:
        # ends are told in any case: the cursor has to pass the markers of Debezium's transactions
        log = KafkaLog(self.kafka, self.topic, to_end=True, follows=follows)
        deliveries = PostgresDeliveries(
            self.postgres, sink=SINK, owner=self.owner, lease_seconds=self.policy.lease_seconds
        )
        leases = PostgresLedger(
            deliveries.session, self.owner, sink=SINK, lease_seconds=self.policy.lease_seconds
        )
        actor = f"atlan-meta {self.owner.label}"[:63]
        subscriptions = PostgresSubscriptions(self.postgres, application_name=actor)
        ports = Ports(log, leases, deliveries, subscriptions, _Destinations(self.connections))
        engine = Propagation(ports=ports, owner=self.owner, policy=self.policy, listener=self.listener)
        try:
            yield engine
        finally:
            engine.close()
            log.close()
            deliveries.close()
