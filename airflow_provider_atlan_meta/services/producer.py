"""The producer as a process: settings and connections become clients, and serve until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_health import TopicProbe
from airflow_provider_atlan_meta.clients.kafka_producer import KafkaPublisher
from airflow_provider_atlan_meta.clients.prometheus import PrometheusMetrics
from airflow_provider_atlan_meta.config.connections import KAFKA, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.services.atlan_receiver import AtlanReceiver
from airflow_provider_atlan_meta.services.bearer_tenants import BearerTenants
from airflow_provider_atlan_meta.services.event_receiver import EventReceiver
from airflow_provider_atlan_meta.services.http_server import HttpServer, listen, run_on_fast_loop
from airflow_provider_atlan_meta.services.intake import Intake
from airflow_provider_atlan_meta.services.logs import SecretMask, configure_logs, get_logger
from airflow_provider_atlan_meta.services.producer_app import ProducerApp, Readiness, Receiver
from airflow_provider_atlan_meta.services.tenant_secrets import TenantSecrets
from airflow_provider_atlan_meta.services.webhook_receiver import WebhookReceiver

_SUMMARY_SECONDS = 10.0
_FLUSH_SECONDS = 0.5
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.25, 5.0

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProducerConfig:
    """What the process needs to know; ``from_settings`` reads it once at the start."""

    host: str
    port: int
    topic: str
    max_in_flight: int
    delivery_timeout_seconds: float
    drain_seconds: float
    log_level: str = "INFO"

    @classmethod
    def from_settings(
        cls, settings: Settings, *, host: str | None = None, port: int | None = None
    ) -> ProducerConfig:
        """:raises ConfigurationError: a number that is none, or not positive."""
        config = cls(
            host=settings.text("producer_host") if host is None else host,
            port=settings.integer("producer_port") if port is None else port,
            topic=settings.topic("events"),
            max_in_flight=settings.integer("producer_max_in_flight"),
            delivery_timeout_seconds=settings.number("delivery_timeout_seconds"),
            drain_seconds=settings.number("drain_seconds"),
            log_level=settings.text("log_level"),
        )
        for name in ("max_in_flight", "delivery_timeout_seconds", "drain_seconds"):
            if getattr(config, name) <= 0:
                raise ConfigurationError(f"{name} must be more than 0")
        return config


@dataclass(frozen=True)
class ProducerOutcome:
    """What a process has answered, by status, and how many webhooks it left without an answer."""

    answers: Mapping[str, int]
    unanswered: int

    def __str__(self) -> str:
        answers = ", ".join(f"{count} x {status}" for status, count in self.answers.items()) or "none"
        return f"producer stopped; answers: {answers}; unanswered: {self.unanswered}"


def run_producer(config: ProducerConfig, connections: Connections) -> ProducerOutcome:
    """Serves until SIGTERM or SIGINT, then drains.

    :raises ConfigurationError: the Kafka connection or the address is not usable.
    """
    mask = SecretMask()
    configure_logs(config.log_level, mask)
    info = connections.get(KAFKA)
    mask.add(info.secrets())
    kafka = KafkaConfig.from_connection(info)
    outcome = run_on_fast_loop(_serve(config, kafka, connections, mask))
    # the loop's handlers are gone with it; a late second signal must not turn a clean end into a failure
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    return outcome


async def _serve(
    config: ProducerConfig, kafka: KafkaConfig, connections: Connections, mask: SecretMask
) -> ProducerOutcome:
    loop = asyncio.get_running_loop()
    sock = listen(config.host, config.port)
    publisher = KafkaPublisher(kafka, delivery_timeout_seconds=config.delivery_timeout_seconds)
    readiness = Readiness(TopicProbe(kafka, config.topic).look)
    metrics = PrometheusMetrics()
    intake = _intake(config, publisher, metrics, readiness)
    app = ProducerApp(_receivers(intake, connections, mask), intake, readiness, metrics)
    server = HttpServer(app, sock, drain_seconds=config.drain_seconds)
    url = f"http://{config.host}:{sock.getsockname()[1]}"
    _log.info("listening", stage="producer", url=url, topic=config.topic)
    stopped_at = loop.time()

    def on_stop() -> None:
        nonlocal stopped_at
        if not intake.draining:
            intake.draining, stopped_at = True, loop.time()
            _log.info("draining", stage="producer", in_flight=intake.in_flight)

    background = [asyncio.create_task(_await_topic(readiness)), asyncio.create_task(_summarise(intake))]
    try:
        await server.serve(on_stop=on_stop)
    finally:
        for task in background:
            task.cancel()
        left_seconds = config.drain_seconds - (loop.time() - stopped_at)
        unanswered = await publisher.close(max(_FLUSH_SECONDS, left_seconds))
    outcome = ProducerOutcome(_by_status(intake.answers), unanswered)
    _log.info("stopped", stage="producer", answers=outcome.answers, unanswered=unanswered)
    return outcome


def _intake(
    config: ProducerConfig, publisher: KafkaPublisher, metrics: PrometheusMetrics, readiness: Readiness
) -> Intake:
    return Intake(
        publisher=publisher,
        topic=config.topic,
        max_in_flight=config.max_in_flight,
        metrics=metrics,
        now_ms=lambda: time.time_ns() // 1_000_000,
        ready=lambda: readiness.has_been_ready,
    )


def _receivers(intake: Intake, connections: Connections, mask: SecretMask) -> dict[str, Receiver]:
    """The endpoints by their names in a path."""

    def secrets_of(system: str) -> TenantSecrets:
        return TenantSecrets(connections.find, now=time.monotonic, on_secrets=mask.add, system=system)

    montecarlo = secrets_of("montecarlo")
    bearers = BearerTenants(connections.find, now=time.monotonic, on_secrets=mask.add)
    return {
        "montecarlo": WebhookReceiver(intake, montecarlo),
        "events": EventReceiver(intake, bearers, montecarlo),
        "atlan": AtlanReceiver(intake, secrets_of("atlan")),
    }


async def _await_topic(readiness: Readiness) -> None:
    """Looks until the topic is there; a new reason is logged once."""
    pause, told = _FIRST_LOOK_SECONDS, ""
    while True:
        health, reason = await readiness.check()
        if health is not None:
            break
        if reason != told:
            _log.warning("not ready", stage="producer", reason=reason)
            told = reason
        await asyncio.sleep(pause)
        pause = min(_LAST_LOOK_SECONDS, pause * 2)
    _log.info("ready", stage="producer", topic=health.topic, partitions=health.partitions)
    for warning in health.warnings():
        _log.warning("below production values", stage="producer", warning=warning)


async def _summarise(intake: Intake) -> None:
    """One INFO line for all requests of ten seconds; none while none come."""
    before: Counter[int] = Counter()
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(_SUMMARY_SECONDS)
            answers = intake.answers - before
            if answers:
                _log.info(
                    "webhooks", stage="producer", answers=_by_status(answers), in_flight=intake.in_flight
                )
            before = intake.answers.copy()


def _by_status(answers: Counter[int]) -> dict[str, int]:
    return {str(status): answers[status] for status in sorted(answers)}
