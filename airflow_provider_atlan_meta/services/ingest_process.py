"""``atlan-meta serve ingest``: the ingest service as a process, with signals, logs, health and metrics."""

from __future__ import annotations

from contextlib import closing

from airflow_provider_atlan_meta.clients.prometheus import PrometheusMetrics
from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import AtlanMetaError, TransientError
from airflow_provider_atlan_meta.core.rows import EventRow
from airflow_provider_atlan_meta.pipeline.enrichment import Enrichment
from airflow_provider_atlan_meta.services.alert_sources import AlertSources
from airflow_provider_atlan_meta.services.follow import Followers
from airflow_provider_atlan_meta.services.follow_process import followers
from airflow_provider_atlan_meta.services.ingest import IngestService, Listener, PartitionRange, service_owner
from airflow_provider_atlan_meta.services.logs import get_logger
from airflow_provider_atlan_meta.services.process import masked_logs, run_process


class _Telling:
    """What the service says of its work: one line and a few numbers per batch; the followers hear of it too."""

    def __init__(self, metrics: PrometheusMetrics, following: Followers) -> None:
        self._metrics = metrics
        self._following = following
        self._log = get_logger("atlan_meta.ingest")

    def batch(self, part: PartitionRange) -> None:
        self._following.wake()
        stored = part.records - part.duplicates - part.rejected
        for outcome, number in (
            ("stored", stored),
            ("duplicate", part.duplicates),
            ("rejected", part.rejected),
        ):
            if number:
                self._metrics.count("atlan_meta_ingest_records_total", outcome, by=number)
        self._metrics.count("atlan_meta_ingest_changes_total", by=part.changes)
        self._metrics.count("atlan_meta_ingest_batches_total")
        self._log.info(
            "batch committed",
            stage="ingest",
            outcome="stored",
            topic=part.topic,
            partition=part.partition,
            start=part.start,
            end=part.end,
            records=part.records,
            duplicates=part.duplicates,
            rejected=part.rejected,
            changes=part.changes,
        )

    def event(self, event: EventRow, partition: int) -> None:
        self._log.debug(
            "event stored",
            stage="ingest",
            tenant=event.tenant_id,
            event_key=event.event_key.hex(),
            event_id=event.event_id.hex(),
            subject=event.subject,
            partition=partition,
            offset=event.offset,
        )

    def asked(self, tenant: str, outcome: str, error: AtlanMetaError | None) -> None:
        self._metrics.count("atlan_meta_ingest_questions_total", outcome)
        if error is not None:
            self._log.warning(
                "Monte Carlo did not say what happened; the webhooks are believed",
                stage="enrich",
                tenant=tenant,
                outcome=outcome,
                error=str(error),
            )

    def trouble(self, error: TransientError, wait_seconds: float) -> None:
        self._metrics.count("atlan_meta_ingest_restarts_total")
        self._log.warning(
            "starting again", error=str(error), in_seconds=round(wait_seconds, 1), outcome="retried"
        )


def run_ingest(settings: Settings, connections: Connections) -> int:
    """Until SIGTERM or SIGINT, then lets go of its partitions. Stores that have a connection follow meanwhile.

    :return: the exit code.
    :raises TerminalError: no retry helps; the text names the cure.
    """
    lookup = masked_logs(settings, connections.get)
    metrics = PrometheusMetrics()
    following = followers(settings, connections, lookup, metrics)
    telling = _Telling(metrics, following)
    owner = service_owner("ingest")
    is_debug = settings.text("log_level").upper() == "DEBUG"
    sources = AlertSources(lambda conn_id: lookup(conn_id) if connections.find(conn_id) else None)
    service = IngestService(
        kafka=lookup(KAFKA),
        postgres=lookup(POSTGRES),
        settings=settings,
        owner=owner,
        listener=Listener(telling.batch, telling.event if is_debug else None),
        on_trouble=telling.trouble,
        enrichment=Enrichment(sources, told=telling.asked),
    )
    with following, closing(sources):
        run_process(
            service,
            name="ingest",
            topic=settings.topic("events"),
            owner=owner,
            settings=settings,
            metrics=metrics,
            before_scrape=lambda: metrics.set("atlan_meta_ingest_owned_partitions", len(service.owned)),
        )
    return 0
