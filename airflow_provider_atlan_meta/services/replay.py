"""Replay wired to Kafka and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_consumer import KafkaLog
from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresStore
from airflow_provider_atlan_meta.clients.postgres_ledger import PostgresLedger, application_name
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.ports import LeaseOwner, LogIdentity
from airflow_provider_atlan_meta.pipeline.ingest import SINK
from airflow_provider_atlan_meta.pipeline.replay import Mode, Replay, Replayed, ReplayWriter
from airflow_provider_atlan_meta.services.mappings import derivation


@dataclass(frozen=True, kw_only=True)
class ReplayRequest:
    """:param since, until: times of receipt by Kafka, timezone-aware; None: all that is kept, up to the cursor.
    :param notify: subscribers hear of what changes.
    """

    topic: str
    since: datetime | None = None
    until: datetime | None = None
    mode: Mode = "verify"
    batch_records: int = 1000
    notify: bool = False

    def __post_init__(self) -> None:
        for moment in (self.since, self.until):
            if moment is not None and moment.tzinfo is None:
                raise ConfigurationError(
                    f"{moment.isoformat()} has no time zone; write it as 2026-11-24T10:00:00Z"
                )


def replay_once(
    *,
    kafka: ConnectionInfo,
    postgres: ConnectionInfo,
    request: ReplayRequest,
    owner: LeaseOwner,
    report: Callable[[Replayed], None] | None = None,
) -> Replayed:
    """Reads the range again; runs beside the live lane, may be repeated and interrupted at any point.

    :param report: hears of the sums so far, after every batch.
    """
    config = PostgresConfig.from_connection(postgres)
    store = PostgresStore(config, application_name=application_name(owner))
    mapped = derivation(store, config)
    log = KafkaLog(KafkaConfig.from_connection(kafka), request.topic, to_end=True)
    try:
        ledger = PostgresLedger(store, owner, sink=SINK, lease_seconds=0.0)
        identity = log.identify()
        ranges = _ranges(log, identity, ledger.look(identity)[0], request)
        replay = Replay(
            log=log,
            writer=ReplayWriter(store, notify=request.notify, decode=mapped.derive, refresh=mapped.refresh),
            batch_records=request.batch_records,
            report=report or (lambda _: None),
        )
        return replay.run(ranges, mode=request.mode)
    finally:
        log.close()
        store.close()


def _ranges(
    log: KafkaLog, identity: LogIdentity, cursors: dict[int, int], request: ReplayRequest
) -> dict[int, tuple[int, int]]:
    """Never past the live cursor: what it has not read yet is not a replay."""
    bounds = log.bounds(identity.partitions)
    starts = log.offsets_at(identity.partitions, request.since) if request.since else {}
    ends = log.offsets_at(identity.partitions, request.until) if request.until else {}
    ranges = {}
    for partition, (first, last) in bounds.items():
        start = max(first, starts.get(partition, first))
        end = min(last, cursors.get(partition, 0), ends.get(partition, last))
        ranges[partition] = (start, end)
    return ranges
