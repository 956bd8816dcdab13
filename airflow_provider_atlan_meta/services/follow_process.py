"""The followers of the ingest service: which stores follow, and what is said of their work."""

from __future__ import annotations

from airflow_provider_atlan_meta.config.connections import POSTGRES, ConnectionLookup, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.metrics import Metrics
from airflow_provider_atlan_meta.services.follow import SINKS, Followers, FollowOutcome
from airflow_provider_atlan_meta.services.ingest import service_owner
from airflow_provider_atlan_meta.services.logs import get_logger


class _Telling:
    """One line and a few numbers per batch."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = get_logger("atlan_meta.follow")

    def followed(self, outcome: FollowOutcome) -> None:
        counts = {
            "written": outcome.written,
            "unchanged": outcome.unchanged,
            "rejected": outcome.rejected,
            "waiting": outcome.waiting,
        }
        for name, number in counts.items():
            if number:
                self._metrics.count("atlan_meta_follow_rows_total", outcome.sink, name, by=number)
        self._log.info("rows followed", stage="follow", sink=outcome.sink, outcome="stored", **counts)

    def follow_trouble(self, sink: str, error: Exception, wait_seconds: float) -> None:
        self._metrics.count("atlan_meta_follow_restarts_total", sink)
        self._log.warning(
            "following again",
            stage="follow",
            sink=sink,
            error=str(error),
            in_seconds=round(wait_seconds, 1),
            outcome="retried",
        )


def followers(
    settings: Settings, connections: Connections, lookup: ConnectionLookup, metrics: Metrics
) -> Followers:
    """Every store that has a connection. :param lookup: masks what it finds."""
    wanted = {sink: kind.conn_id for sink, kind in SINKS.items() if connections.find(kind.conn_id)}
    return Followers(
        {sink: lookup(conn_id) for sink, conn_id in wanted.items()},
        postgres=lookup(POSTGRES),
        owner=service_owner,
        lease_seconds=settings.number("lease_seconds"),
        telling=_Telling(metrics),
    )
