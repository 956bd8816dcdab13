"""A service that follows a topic, as a process: masked logs, signals, health and metrics."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

from airflow_provider_atlan_meta.clients.prometheus import PrometheusMetrics
from airflow_provider_atlan_meta.config.connections import ConnectionLookup
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.services.following import FollowingService
from airflow_provider_atlan_meta.services.health import health_server
from airflow_provider_atlan_meta.services.logs import SecretMask, configure_logs, get_logger


def masked_logs(settings: Settings, lookup: ConnectionLookup) -> ConnectionLookup:
    """Starts the logs. What the returned look-up finds is masked in them before anybody has it."""
    mask, adding = SecretMask(), threading.Lock()
    configure_logs(settings.text("log_level"), mask)

    def masked(conn_id: str) -> ConnectionInfo:
        info = lookup(conn_id)
        with adding:
            mask.add(info.secrets())
        return info

    return masked


def run_process(
    service: FollowingService[Any],
    *,
    name: str,
    topic: str,
    owner: LeaseOwner,
    settings: Settings,
    metrics: PrometheusMetrics,
    before_scrape: Callable[[], None],
) -> None:
    """Until SIGTERM or SIGINT, and what the service still does then.

    :param name: begins the settings' names: ``<name>_metrics_port``.
    :param before_scrape: sets the gauges.
    :raises TerminalError: no retry helps; the text names the cure.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())

    def exposition(accept: str) -> tuple[bytes, str]:
        before_scrape()
        return metrics.exposition(accept)

    log = get_logger(f"atlan_meta.{name}")
    setting = f"{name}_metrics_port"
    host, port = settings.text(f"{name}_metrics_host"), settings.integer(setting)
    with health_server(host, port, is_ready=lambda: service.is_ready, exposition=exposition, setting=setting):
        log.info("started", stage=name, owner=owner.label, topic=topic, metrics=f"{host}:{port}")
        service.run()
        log.info("stopped", stage=name, owner=owner.label)
