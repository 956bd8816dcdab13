"""A range of the log read again, as an Airflow task."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.operators import task_values
from airflow_provider_atlan_meta.operators.task_try import TaskTry, task_defaults

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_atlan_meta.core.ports import LeaseOwner
    from airflow_provider_atlan_meta.pipeline.replay import Replayed

MODES = ("verify", "reapply")


class ReplayOperator(BaseOperator):
    """Reads records again that were ingested before; the live cursor neither moves nor is passed.

    ``verify`` stores what is missing and changes nothing that is already so; ``reapply`` also derives again with
    today's code and mapping, and writes what differs. May run beside the live lanes, be killed and be repeated.

    :param topic: default ``<[atlan_meta] topic_prefix>.events.v1``.
    :param since, until: times of receipt by Kafka (ISO 8601 with zone); empty: all that is kept, up to the cursor.
    :param mode: ``verify`` or ``reapply``.
    :param notify: subscribers hear of what changes; else nobody does.
    :param tenants: whom this set of DAGs serves; names the alert. The topic decides which records there are.
    """

    template_fields: Sequence[str] = (
        "kafka_conn_id",
        "postgres_conn_id",
        "topic",
        "since",
        "until",
        "mode",
        "notify",
    )
    _told_to_stop = False

    def __init__(
        self,
        *,
        kafka_conn_id: str = KAFKA,
        postgres_conn_id: str = POSTGRES,
        topic: str | None = None,
        since: datetime | str = "",
        until: datetime | str = "",
        mode: str = "verify",
        notify: bool | str = False,
        tenants: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**task_defaults() | kwargs)
        self.kafka_conn_id = kafka_conn_id
        self.postgres_conn_id = postgres_conn_id
        self.topic = topic
        self.since = since
        self.until = until
        self.mode = mode
        self.notify = notify
        self.tenants = tenants

    def execute(self, context: Context) -> dict[str, Any]:
        """:raises TransientError, TerminalError: see ``operators.retry`` for what Airflow does with them."""
        task_try = TaskTry(self, context, tenants=self.tenants, is_stopping=lambda: self._told_to_stop)
        done = task_try.attempt(lambda owner: self._replay(owner, task_try))
        self._log("replayed", done)
        task_try.resolve_alert()
        return done.to_dict()

    def on_kill(self) -> None:
        """Airflow calls it from a signal handler: the task stops after the batch it is in."""
        self._told_to_stop = True

    def _replay(self, owner: LeaseOwner, task_try: TaskTry) -> Replayed:
        from airflow_provider_atlan_meta.hooks.connections import connection_info
        from airflow_provider_atlan_meta.services.replay import ReplayRequest, replay_once

        task_values.one_of("mode", self.mode, MODES)
        settings = Settings()
        request = ReplayRequest(
            topic=self.topic or settings.topic("events"),
            since=task_values.moment("since", self.since),
            until=task_values.moment("until", self.until),
            mode="reapply" if self.mode == "reapply" else "verify",
            batch_records=settings.integer("batch_records"),
            notify=task_values.flag("notify", self.notify),
        )

        def report(sums: Replayed) -> None:
            self._log("so far", sums)
            task_try.check_stopping()

        return replay_once(
            kafka=connection_info(self.kafka_conn_id),
            postgres=connection_info(self.postgres_conn_id),
            request=request,
            owner=owner,
            report=report,
        )

    def _log(self, said: str, sums: Replayed) -> None:
        self.log.info(
            "%s: %d records, %d were stored, %d were missing and are stored now, %d changes, %d are no events",
            said,
            sums.records,
            sums.known,
            sums.stored,
            sums.changes,
            sums.rejected,
        )
