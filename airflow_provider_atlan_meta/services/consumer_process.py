"""``atlan-meta serve consumer``: the consumer service as a process, with signals, logs, health and metrics."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from airflow_provider_atlan_meta.clients.prometheus import PrometheusMetrics
from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES_CONSUMER, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.deliveries import DeliveryEntry
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.pipeline.change_intake import Gate
from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange
from airflow_provider_atlan_meta.services.consumer import ConsumerService, Listener
from airflow_provider_atlan_meta.services.ingest import service_owner
from airflow_provider_atlan_meta.services.logs import get_logger
from airflow_provider_atlan_meta.services.process import masked_logs, run_process


class _Telling:
    """What the service says of its work: a few numbers per range, one line per write, at DEBUG each delivery.

    :param type_of: name of a subscription -> type of its destination.
    """

    def __init__(self, metrics: PrometheusMetrics, type_of: Callable[[str], str]) -> None:
        self._metrics = metrics
        self._type_of = type_of
        self._log = get_logger("atlan_meta.consumer")
        # not asked of structlog: its answer costs more than the sending of a webhook
        self._is_loud = logging.getLogger("atlan_meta.consumer").isEnabledFor(logging.DEBUG)
        self._open: set[str] = set()

    def batch(self, part: PartitionRange) -> None:
        self._metrics.count("atlan_meta_consumer_changes_total", by=part.records)
        self._metrics.count("atlan_meta_consumer_dead_letters_total", by=part.rejected)
        self._metrics.count("atlan_meta_consumer_batches_total")

    def written(self, parts: Sequence[PartitionRange]) -> None:
        """One transaction: usually a line for a few changes, under load one for many partitions."""
        deliveries: Counter[str] = Counter()
        for part in parts:
            deliveries.update(part.deliveries)
        self._log.info(
            "batch written",
            stage="consumer",
            outcome="stored",
            topic=parts[0].topic,
            ranges={str(part.partition): [part.start, part.end] for part in parts},
            changes=sum(part.records for part in parts),
            dead_letters=sum(part.rejected for part in parts),
            deliveries=dict(deliveries),
        )

    def delivered(self, entry: DeliveryEntry) -> None:
        key = entry.key
        if entry.state != "claimed":
            self._metrics.count(
                "atlan_meta_consumer_deliveries_total", self._type_of(key.subscription), entry.state
            )
        if not self._is_loud:
            return
        self._log.debug(
            "delivery written",
            stage="consumer",
            outcome=entry.state,
            tenant=key.tenant_id,
            change_id=entry.change_id,
            delivery_id=str(entry.delivery_id),
            subscription=key.subscription,
            part=key.part,
            kind=key.kind,
            id=key.id,
            revision=entry.revision,
            attempts=entry.attempts,
            status=entry.status,
            detail=entry.detail,
        )

    def gated(self, gate: Gate) -> None:
        self._metrics.count("atlan_meta_consumer_superseded_total", by=gate.superseded)
        self._metrics.count("atlan_meta_consumer_skipped_revisions_total", by=gate.skipped)

    def trouble(self, error: TransientError, wait_seconds: float) -> None:
        self._metrics.count("atlan_meta_consumer_restarts_total")
        self._log.warning(
            "starting again", error=str(error), in_seconds=round(wait_seconds, 1), outcome="retried"
        )

    def gauges(self, owned: int, open_breakers: Iterable[str]) -> None:
        """A breaker that was ever open stays on the page, with 0."""
        self._metrics.set("atlan_meta_consumer_owned_partitions", owned)
        now_open = set(open_breakers)
        self._open |= now_open
        for conn_id in self._open:
            self._metrics.set("atlan_meta_consumer_breaker_open", conn_id in now_open, conn_id)


def run_consumer(settings: Settings, connections: Connections) -> int:
    """Until SIGTERM or SIGINT; then calls under way end and it lets go of its partitions.

    :return: the exit code.
    :raises TerminalError: no retry helps; the text names the cure.
    """
    lookup = masked_logs(settings, connections.get)
    metrics = PrometheusMetrics()
    owner = service_owner("consumer")
    telling = _Telling(metrics, lambda subscription: service.destination_type(subscription))
    service = ConsumerService(
        kafka=lookup(KAFKA),
        postgres=lookup(POSTGRES_CONSUMER),
        connections=lookup,
        settings=settings,
        owner=owner,
        listener=Listener(
            batch=telling.batch,
            delivered=telling.delivered,
            gated=telling.gated,
            written=telling.written,
        ),
        on_trouble=telling.trouble,
    )
    run_process(
        service,
        name="consumer",
        topic=settings.topic("changes"),
        owner=owner,
        settings=settings,
        metrics=metrics,
        before_scrape=lambda: telling.gauges(len(service.owned), service.open_breakers),
    )
    return 0
