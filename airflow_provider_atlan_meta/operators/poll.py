"""Alerts that Monte Carlo's API knows and no webhook told of, as an Airflow task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.operators import task_values
from airflow_provider_atlan_meta.operators.task_try import TaskTry, task_defaults

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_atlan_meta.services.poll import PollOutcome, PollRequest


class PollMonteCarloOperator(BaseOperator):
    """Asks Monte Carlo what changed since the last run, and for every incident that only webhooks told of, and puts
    what the store does not know yet onto the events topic.

    How far it has read is an Airflow Variable per DAG and tenant; it moves when Kafka has everything up to there. A
    retry, a kill or a second run loses nothing and asks a few alerts again. What fails for one tenant fails the run
    after the others had their turn.

    :param topic: default ``<[atlan_meta] topic_prefix>.events.v1``.
    :param poll_tenants: whom to ask for, each with the API key in its connection
        ``atlan_meta_montecarlo_tenant_<tenant>``; empty: ``tenants``.
    :param since, until: ISO 8601: only alerts last updated in between, whatever was read before; empty: what is new.
    :param tenants: whom this set of DAGs serves; names the alert.
    """

    template_fields: Sequence[str] = (
        "kafka_conn_id",
        "postgres_conn_id",
        "topic",
        "poll_tenants",
        "since",
        "until",
    )
    _told_to_stop = False

    def __init__(
        self,
        *,
        kafka_conn_id: str = KAFKA,
        postgres_conn_id: str = POSTGRES,
        topic: str | None = None,
        poll_tenants: Sequence[str] | str = (),
        since: str = "",
        until: str = "",
        tenants: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**task_defaults() | kwargs)
        self.kafka_conn_id = kafka_conn_id
        self.postgres_conn_id = postgres_conn_id
        self.topic = topic
        self.poll_tenants = poll_tenants
        self.since = since
        self.until = until
        self.tenants = tenants

    def execute(self, context: Context) -> dict[str, Any]:
        """:raises TransientError, TerminalError: see ``operators.retry`` for what Airflow does with them."""
        task_try = TaskTry(self, context, tenants=self.tenants, is_stopping=lambda: self._told_to_stop)
        dag_id = str(context["ti"].dag_id)
        done = task_try.attempt(lambda _: self._poll(dag_id))
        for polled in done.tenants:
            self.log.info(
                "%s: %d alerts changed, %d published, %d of them known from webhooks only",
                polled.tenant,
                polled.found,
                polled.published,
                polled.unconfirmed,
            )
            if polled.rejected:
                self.log.warning(
                    "%s: %d alerts are larger than an event may be", polled.tenant, polled.rejected
                )
        task_try.resolve_alert()
        return done.to_dict()

    def on_kill(self) -> None:
        """Airflow calls it from a signal handler: the task stops behind a tenant."""
        self._told_to_stop = True

    def _poll(self, dag_id: str) -> PollOutcome:
        from airflow_provider_atlan_meta.hooks import poll_cursors
        from airflow_provider_atlan_meta.hooks.connections import connection_info, find_connection
        from airflow_provider_atlan_meta.services.poll import poll_once

        request = self._request()
        cursors = {tenant: poll_cursors.read_cursor(dag_id, tenant) for tenant in request.tenants}

        return poll_once(
            find=find_connection,
            kafka=connection_info(self.kafka_conn_id),
            postgres=connection_info(self.postgres_conn_id),
            request=request,
            cursors={tenant: cursor for tenant, cursor in cursors.items() if cursor is not None},
            moved=lambda tenant, updated_at: poll_cursors.write_cursor(dag_id, tenant, updated_at),
            stopped=lambda: self._told_to_stop,
        )

    def _request(self) -> PollRequest:
        from airflow_provider_atlan_meta.services.poll import PollRequest

        settings = Settings()
        asked = self.poll_tenants or self.tenants
        return PollRequest(
            topic=self.topic or settings.topic("events"),
            tenants=tuple(dict.fromkeys(task_values.names("tenants", asked))) if asked else (),
            since=task_values.moment("from", self.since),
            until=task_values.moment("to", self.until),
            delivery_timeout_seconds=settings.number("delivery_timeout_seconds"),
        )
