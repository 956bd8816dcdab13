"""``atlan-meta serve ingest``: the ingest service as a process, with signals, logs, health and metrics."""

from __future__ import annotations

import signal

from airflow_provider_atlan_meta.clients.prometheus import PrometheusMetrics
from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.rows import EventRow
from airflow_provider_atlan_meta.services.health import health_server
from airflow_provider_atlan_meta.services.ingest import IngestService, Listener, PartitionRange, service_owner
from airflow_provider_atlan_meta.services.logs import SecretMask, configure_logs, get_logger


class _Telling:
    """What the service says of its work: one line and a few numbers per batch."""

    def __init__(self, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics
        self._log = get_logger("atlan_meta.ingest")

    def batch(self, part: PartitionRange) -> None:
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
            partition=partition,
            offset=event.offset,
        )

    def life(self, event: str, **fields: str) -> None:
        self._log.info(event, stage="ingest", **fields)

    def trouble(self, error: TransientError, wait_seconds: float) -> None:
        self._metrics.count("atlan_meta_ingest_restarts_total")
        self._log.warning(
            "starting again", error=str(error), in_seconds=round(wait_seconds, 1), outcome="retried"
        )


def run_ingest(settings: Settings, connections: Connections) -> int:
    """Until SIGTERM or SIGINT, then lets go of its partitions.

    :return: the exit code.
    :raises TerminalError: no retry helps; the text names the cure.
    """
    kafka, postgres = connections.get(KAFKA), connections.get(POSTGRES)
    mask = SecretMask()
    mask.add((*kafka.secrets(), *postgres.secrets()))
    configure_logs(settings.text("log_level"), mask)
    metrics = PrometheusMetrics()
    telling = _Telling(metrics)
    owner = service_owner("ingest")
    is_debug = settings.text("log_level").upper() == "DEBUG"
    service = IngestService(
        kafka=kafka,
        postgres=postgres,
        settings=settings,
        owner=owner,
        listener=Listener(telling.batch, telling.event if is_debug else None),
        on_trouble=telling.trouble,
    )

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())

    def exposition(accept: str) -> tuple[bytes, str]:
        metrics.set("atlan_meta_ingest_owned_partitions", len(service.owned))
        return metrics.exposition(accept)

    host, port = settings.text("ingest_metrics_host"), settings.integer("ingest_metrics_port")
    with health_server(host, port, is_ready=lambda: service.is_ready, exposition=exposition):
        telling.life("started", owner=owner.label, topic=settings.topic("events"), metrics=f"{host}:{port}")
        service.run()
        telling.life("stopped", owner=owner.label)
    return 0
