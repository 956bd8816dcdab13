"""Every metric of the services, declared once: the names, their kinds, help texts and labels.

A name that is not declared here does not type-check; docs and dashboards are held to this list by tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

MetricName = Literal[
    "atlan_meta_producer_requests_total",
    "atlan_meta_producer_request_seconds",
    "atlan_meta_producer_events_total",
    "atlan_meta_producer_publish_seconds",
    "atlan_meta_producer_publish_failures_total",
    "atlan_meta_producer_in_flight",
    "atlan_meta_producer_draining",
    "atlan_meta_ingest_records_total",
    "atlan_meta_ingest_changes_total",
    "atlan_meta_ingest_batches_total",
    "atlan_meta_ingest_restarts_total",
    "atlan_meta_ingest_owned_partitions",
    "atlan_meta_ingest_questions_total",
    "atlan_meta_follow_rows_total",
    "atlan_meta_follow_restarts_total",
    "atlan_meta_consumer_changes_total",
    "atlan_meta_consumer_superseded_total",
    "atlan_meta_consumer_skipped_revisions_total",
    "atlan_meta_consumer_dead_letters_total",
    "atlan_meta_consumer_deliveries_total",
    "atlan_meta_consumer_batches_total",
    "atlan_meta_consumer_restarts_total",
    "atlan_meta_consumer_owned_partitions",
    "atlan_meta_consumer_breaker_open",
]
MetricKind = Literal["counter", "gauge", "histogram"]

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


@dataclass(frozen=True)
class MetricDefinition:
    """:param labels: bounded sets only: statuses, stages, tenants that authenticated; never ids."""

    name: MetricName
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


DEFINITIONS: tuple[MetricDefinition, ...] = (
    MetricDefinition(
        "atlan_meta_producer_requests_total", "counter", "Requests answered, by HTTP status.", ("status",)
    ),
    MetricDefinition(
        "atlan_meta_producer_request_seconds",
        "histogram",
        "From a request's first byte to its answer.",
        buckets=_LATENCY_BUCKETS,
    ),
    MetricDefinition(
        "atlan_meta_producer_events_total",
        "counter",
        "Events accepted: acknowledged by Kafka and answered with 202.",
        ("tenant", "source"),
    ),
    MetricDefinition(
        "atlan_meta_producer_publish_seconds",
        "histogram",
        "From handing a record to Kafka to the acknowledgement of all in-sync replicas.",
        buckets=_LATENCY_BUCKETS,
    ),
    MetricDefinition(
        "atlan_meta_producer_publish_failures_total",
        "counter",
        "Records Kafka did not acknowledge; their senders were told 503.",
        ("error",),
    ),
    MetricDefinition(
        "atlan_meta_producer_in_flight", "gauge", "Events handed to Kafka and not yet acknowledged."
    ),
    MetricDefinition("atlan_meta_producer_draining", "gauge", "1 from SIGTERM to the end of the process."),
    MetricDefinition(
        "atlan_meta_ingest_records_total",
        "counter",
        "Records committed, by outcome: stored, duplicate or rejected (a dead letter).",
        ("outcome",),
    ),
    MetricDefinition("atlan_meta_ingest_changes_total", "counter", "Effective changes of incidents."),
    MetricDefinition("atlan_meta_ingest_batches_total", "counter", "Transactions: rows and cursor together."),
    MetricDefinition(
        "atlan_meta_ingest_restarts_total",
        "counter",
        "Times the service read everything from the ledger anew.",
    ),
    MetricDefinition("atlan_meta_ingest_owned_partitions", "gauge", "Partitions this process has leased."),
    MetricDefinition(
        "atlan_meta_ingest_questions_total",
        "counter",
        "Questions to Monte Carlo's API about a batch's incidents, by outcome: answered, failed, or skipped (after a "
        "failure, for a backlog, or with too little of the lease left).",
        ("outcome",),
    ),
    MetricDefinition(
        "atlan_meta_follow_rows_total",
        "counter",
        "Rows a store that follows was told, by outcome: written, unchanged, rejected (a dead letter) or waiting.",
        ("sink", "outcome"),
    ),
    MetricDefinition(
        "atlan_meta_follow_restarts_total",
        "counter",
        "Times a follower began anew, because its store or PostgreSQL was away or refused it.",
        ("sink",),
    ),
    MetricDefinition("atlan_meta_consumer_changes_total", "counter", "Changes the cursor has passed."),
    MetricDefinition(
        "atlan_meta_consumer_superseded_total",
        "counter",
        "Changes that were told to nobody: the highest revision seen of their row was not below theirs.",
    ),
    MetricDefinition(
        "atlan_meta_consumer_skipped_revisions_total",
        "counter",
        "Revisions that never came as a change of their own.",
    ),
    MetricDefinition(
        "atlan_meta_consumer_dead_letters_total", "counter", "Records of the topic that are no changes."
    ),
    MetricDefinition(
        "atlan_meta_consumer_deliveries_total",
        "counter",
        "Deliveries written to the ledger, by type of destination and state; one that is parked is written again.",
        ("type", "state"),
    ),
    MetricDefinition(
        "atlan_meta_consumer_batches_total", "counter", "Transactions: deliveries, lanes and cursor together."
    ),
    MetricDefinition(
        "atlan_meta_consumer_restarts_total",
        "counter",
        "Times the service read everything from the ledger anew.",
    ),
    MetricDefinition("atlan_meta_consumer_owned_partitions", "gauge", "Partitions this process has leased."),
    MetricDefinition(
        "atlan_meta_consumer_breaker_open",
        "gauge",
        "1 while nobody calls this connection, because of what it answered.",
        ("conn_id",),
    ),
)


class Metrics(Protocol):
    """Where numbers go. Labels are given in the order of the definition; unknown names never arrive here."""

    def count(self, name: MetricName, *labels: str, by: float = 1) -> None: ...

    def set(self, name: MetricName, value: float, *labels: str) -> None: ...

    def observe(self, name: MetricName, value: float, *labels: str) -> None: ...


class NoopMetrics:
    """Counts nothing."""

    def count(self, name: MetricName, *labels: str, by: float = 1) -> None:
        del name, labels, by

    def set(self, name: MetricName, value: float, *labels: str) -> None:
        del name, value, labels

    def observe(self, name: MetricName, value: float, *labels: str) -> None:
        del name, value, labels
