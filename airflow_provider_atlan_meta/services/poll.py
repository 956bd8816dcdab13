"""The poll of Monte Carlo wired to its API, Kafka and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_sender import KafkaSender
from airflow_provider_atlan_meta.clients.montecarlo import MonteCarloClient, MonteCarloConfig
from airflow_provider_atlan_meta.clients.postgres import PostgresConfig
from airflow_provider_atlan_meta.clients.postgres_poll import PostgresPolledRows
from airflow_provider_atlan_meta.core.alert_poll import PollPolicy, poll_window
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    TerminalError,
    TransientError,
)
from airflow_provider_atlan_meta.core.tenancy import parse_tenant
from airflow_provider_atlan_meta.pipeline.poll import AlertPoll, Polled
from airflow_provider_atlan_meta.services.montecarlo_access import FindConnection, api_connection


@dataclass(frozen=True, kw_only=True)
class PollRequest:
    """:param tenants: whom to ask for, each with the key in its own connection.
    :param since, until: times of update, instead of what the cursor says; timezone-aware.
    """

    topic: str
    tenants: tuple[str, ...]
    since: datetime | None = None
    until: datetime | None = None
    delivery_timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.tenants:
            raise ConfigurationError(
                "no tenant to ask Monte Carlo for; set [atlan_meta] poll_tenants or the Param `tenants`"
            )
        for tenant in self.tenants:
            parse_tenant(tenant)
        for moment in (self.since, self.until):
            if moment is not None and moment.tzinfo is None:
                raise ConfigurationError(
                    f"{moment.isoformat()} has no time zone; write it as 2026-11-24T10:00:00Z"
                )


@dataclass(frozen=True, kw_only=True)
class PollOutcome:
    tenants: tuple[Polled, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"tenants": [polled.to_dict() for polled in self.tenants]}


def poll_once(
    *,
    find: FindConnection,
    kafka: ConnectionInfo,
    postgres: ConnectionInfo,
    request: PollRequest,
    cursors: Mapping[str, int],
    moved: Callable[[str, int], None],
    stopped: Callable[[], bool] = lambda: False,
) -> PollOutcome:
    """Asks for every tenant; what fails for one is raised after the others had their turn.

    :param cursors: per tenant how far the last poll read; none: it is the first.
    :param moved: called with a tenant's new cursor once everything up to it is on the log; not where ``since`` or
        ``until`` were given.
    :param stopped: asked between tenants; the rest is the next run's.
    """
    done: list[Polled] = []
    failed: list[tuple[str, AtlanMetaError]] = []
    with ExitStack() as stack:
        desk = _Desk(stack, kafka, postgres, request)
        for tenant in request.tenants:
            if stopped():
                break
            try:
                poll = desk.poll_of(tenant, api_connection(tenant, find))
                _read_window(poll, tenant, request, cursors.get(tenant), moved)
                poll.confirm(PollPolicy().unconfirmed)
                done.append(poll.outcome())
            except AtlanMetaError as error:
                failed.append((tenant, error))
    if failed:
        raise _together(failed)
    return PollOutcome(tenants=tuple(done))


class _Desk:
    """What the tenants of one run share: the store and the log."""

    def __init__(
        self, stack: ExitStack, kafka: ConnectionInfo, postgres: ConnectionInfo, request: PollRequest
    ) -> None:
        self._stack = stack
        self._topic = request.topic
        self._sender = KafkaSender(
            KafkaConfig.from_connection(kafka), delivery_timeout_seconds=request.delivery_timeout_seconds
        )
        config = PostgresConfig.from_connection(postgres)
        self._rows = stack.enter_context(
            closing(PostgresPolledRows(config, application_name="atlan-meta poll"))
        )

    def poll_of(self, tenant: str, info: ConnectionInfo) -> AlertPoll:
        client = self._stack.enter_context(MonteCarloClient(MonteCarloConfig.from_connection(info)))
        return AlertPoll(
            tenant,
            api=client,
            rows=self._rows,
            sender=self._sender,
            topic=self._topic,
            now_ms=lambda: time.time_ns() // 1_000_000,
        )


def _read_window(
    poll: AlertPoll,
    tenant: str,
    request: PollRequest,
    cursor: int | None,
    moved: Callable[[str, int], None],
) -> None:
    is_asked_for = request.since is not None or request.until is not None
    window = poll_window(cursor, now=datetime.now(UTC), since=request.since, until=request.until)
    newest = cursor

    def note(updated_at: int) -> None:
        nonlocal newest
        if not is_asked_for and (newest is None or updated_at > newest):
            newest = updated_at
            moved(tenant, updated_at)

    poll.read_window(window, note)


def _together(failed: Sequence[tuple[str, AtlanMetaError]]) -> AtlanMetaError:
    """One error for all; it is final where one of them is: the next run asks for the others again."""
    if len(failed) == 1 and isinstance(failed[0][1], (TransientError, TerminalError)):
        return failed[0][1]
    text = "; ".join(f"tenant {tenant}: {error}" for tenant, error in failed)
    if all(isinstance(error, TransientError) for _, error in failed):
        waits = [
            error.retry_after
            for _, error in failed
            if isinstance(error, TransientError) and error.retry_after
        ]
        return TransientError(text, retry_after=max(waits, default=None))
    return TerminalError(text)
