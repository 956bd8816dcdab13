"""One bounded micro-batch from the changes topic to the systems that subscribed, as an Airflow task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES_CONSUMER
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.operators import task_values
from airflow_provider_atlan_meta.operators.micro_batch import MicroBatch
from airflow_provider_atlan_meta.operators.task_try import task_defaults

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_atlan_meta.core.ports import LeaseOwner
    from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange, PropagateOutcome
    from airflow_provider_atlan_meta.services.consumer import PropagateRequest


class PropagateOperator(BaseOperator):
    """Tells every subscription of the changes up to the topic's end at the start of the task, and of what is due.

    What was sent is in the ledger before the cursor passes it: a retry, a kill or a second run loses nothing. A
    receiver that is away parks its deliveries and fails no run. Partitions that another live process works on are
    left to it: the task ends green and says who owns them. Receivers' connections are asked for when something is
    sent to them. Values are checked when the task runs, not at parse.

    :param postgres_conn_id: the store, role meta_consumer.
    :param topic: default ``<[atlan_meta] topic_prefix>.changes.v1``.
    :param max_records: stop after so many changes; the rest is the next run's.
    :param dry_run: read and count, send and write nothing, move nothing.
    :param tenants: whom this set of DAGs serves; names the alert. The topic decides which changes there are.
    """

    template_fields: Sequence[str] = (
        "kafka_conn_id",
        "postgres_conn_id",
        "topic",
        "max_records",
        "is_dry_run",
    )
    _told_to_stop = False

    def __init__(
        self,
        *,
        kafka_conn_id: str = KAFKA,
        postgres_conn_id: str = POSTGRES_CONSUMER,
        topic: str | None = None,
        max_records: int | str = 10_000,
        dry_run: bool | str = False,
        tenants: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**task_defaults() | kwargs)
        self.kafka_conn_id = kafka_conn_id
        self.postgres_conn_id = postgres_conn_id
        self.topic = topic
        self.max_records = max_records
        self.is_dry_run = dry_run  # BaseOperator has a method dry_run
        self.tenants = tenants

    def execute(self, context: Context) -> dict[str, Any]:
        """:raises TransientError, TerminalError: see ``operators.retry`` for what Airflow does with them."""
        from airflow_provider_atlan_meta.core.messages import counted

        batch = MicroBatch(
            self, context, tenants=self.tenants, told=_told, is_stopping=lambda: self._told_to_stop
        )
        outcome = batch.run(lambda owner: self._propagate(owner, batch))
        self.log.info(
            "%s %s: %d changes, deliveries: %s; parked lanes %d, lag %d",
            "dry run of" if outcome.dry_run else "propagated",
            outcome.topic,
            outcome.records,
            counted(outcome.deliveries),
            outcome.parked_lanes,
            outcome.lag,
        )
        return outcome.to_dict()

    def on_kill(self) -> None:
        """Airflow calls it from a signal handler: the task stops after the write it is in."""
        self._told_to_stop = True

    def _propagate(self, owner: LeaseOwner, batch: MicroBatch) -> PropagateOutcome:
        from airflow_provider_atlan_meta.hooks.connections import connection_info
        from airflow_provider_atlan_meta.services.consumer import propagate_once

        return propagate_once(
            request=self._request(),
            kafka=connection_info(self.kafka_conn_id),
            postgres=connection_info(self.postgres_conn_id),
            connections=connection_info,
            owner=owner,
            report=batch.note,
            stopped=lambda: self._told_to_stop,
        )

    def _request(self) -> PropagateRequest:
        from airflow_provider_atlan_meta.services.consumer import PropagateRequest

        request = PropagateRequest.from_settings(
            Settings(),
            max_records=task_values.positive("max_records", self.max_records),
            dry_run=task_values.flag("dry_run", self.is_dry_run),
        )
        return replace(request, topic=self.topic or request.topic)


def _told(part: PartitionRange) -> str:
    from airflow_provider_atlan_meta.core.messages import counted

    told = f", deliveries: {counted(part.deliveries)}" if part.deliveries else ""
    return f"{part.records} changes{told}"
