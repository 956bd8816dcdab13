"""One bounded micro-batch from the log into the store, as an Airflow task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.sdk import BaseOperator

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import AtlanMetaError, ConfigurationError
from airflow_provider_atlan_meta.operators import task_values
from airflow_provider_atlan_meta.operators.micro_batch import MicroBatch
from airflow_provider_atlan_meta.operators.task_try import task_defaults

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_atlan_meta.core.ports import LeaseOwner
    from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange
    from airflow_provider_atlan_meta.services.ingest import IngestOutcome, IngestRequest

RUNNERS = ("local",)
# PostgreSQL is the record; the others follow it
SINKS = ("postgres", "cassandra", "atlas")


class IngestOperator(BaseOperator):
    """Drains a topic up to its end at the start of the task; the ledger in the store says what is left.

    Exactly once: rows and ledger commit together, under a lease; a retry, a kill or a second run can neither
    lose nor double anything. Partitions that another live process drains are left to it: the task ends green
    and says who owns them. Values are checked when the task runs, not at parse.

    :param topic: default ``<[atlan_meta] topic_prefix>.events.v1``.
    :param max_records: stop after so many records; the rest is the next run's.
    :param dry_run: read and count, write nothing, move nothing.
    :param runner: ``local``: in this task's process.
    :param sinks: the stores to write: ``postgres``, and of ``cassandra`` and ``atlas`` those that are to follow it:
        they are brought to where PostgreSQL is, whoever changed it. One that is away keeps no other waiting; the task
        is then tried again.
    :param tenants: whom this set of DAGs serves; names the alert. The topic decides which records there are.
    """

    template_fields: Sequence[str] = (
        "kafka_conn_id",
        "postgres_conn_id",
        "topic",
        "max_records",
        "is_dry_run",
        "runner",
        "sinks",
    )
    _told_to_stop = False

    def __init__(
        self,
        *,
        kafka_conn_id: str = KAFKA,
        postgres_conn_id: str = POSTGRES,
        topic: str | None = None,
        max_records: int | str = 10_000,
        dry_run: bool | str = False,
        runner: str = "local",
        sinks: Sequence[str] | str = SINKS[:1],
        tenants: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**task_defaults() | kwargs)
        self.kafka_conn_id = kafka_conn_id
        self.postgres_conn_id = postgres_conn_id
        self.topic = topic
        self.max_records = max_records
        self.is_dry_run = dry_run  # BaseOperator has a method dry_run
        self.runner = runner
        self.sinks = sinks
        self.tenants = tenants

    def execute(self, context: Context) -> dict[str, Any]:
        """:raises TransientError, TerminalError: see ``operators.retry`` for what Airflow does with them."""
        batch = MicroBatch(
            self, context, tenants=self.tenants, told=_told, is_stopping=lambda: self._told_to_stop
        )
        outcome = batch.run(lambda owner: self._work(owner, batch))
        self.log.info(
            "%s %s: %d records, %d duplicates, %d rejected, lag %d",
            "dry run of" if outcome.dry_run else "ingested",
            outcome.topic,
            outcome.records,
            outcome.duplicates,
            outcome.rejected,
            outcome.lag,
        )
        return outcome.to_dict()

    def on_kill(self) -> None:
        """Airflow calls it from a signal handler: the task stops after the commit it is in."""
        self._told_to_stop = True

    def _work(self, owner: LeaseOwner, batch: MicroBatch) -> IngestOutcome:
        sinks = self._sinks()
        outcome = self._ingest(owner, batch)
        if not outcome.dry_run:
            self._follow(sinks, owner, batch)
        return outcome

    def _sinks(self) -> list[str]:
        """Those that follow PostgreSQL."""
        sinks = task_values.names("sinks", self.sinks)
        for sink in sinks:
            task_values.one_of("sinks", sink, SINKS)
        if SINKS[0] not in sinks:
            raise ConfigurationError(f"sinks = {sinks!r}; {SINKS[0]} is the record, the others follow it")
        return [sink for sink in sinks if sink != SINKS[0]]

    def _follow(self, sinks: Sequence[str], owner: LeaseOwner, batch: MicroBatch) -> None:
        from airflow_provider_atlan_meta.hooks.connections import connection_info
        from airflow_provider_atlan_meta.services.follow import SINKS as STORES
        from airflow_provider_atlan_meta.services.follow import FollowRequest, follow_once

        failed: AtlanMetaError | None = None
        for sink in sinks:
            try:
                outcome = follow_once(
                    postgres=connection_info(self.postgres_conn_id),
                    store=connection_info(STORES[sink].conn_id),
                    request=FollowRequest(sink=sink),
                    # a session that has to be ended must not be another store's
                    owner=replace(owner, id=uuid4()),
                    told=lambda _: batch.check_stopping(),
                )
            except AtlanMetaError as error:
                self.log.warning("%s does not follow: %s", sink, error)
                failed = failed or error
                batch.check_stopping()
            else:
                self.log.info("%s follows: %s", sink, outcome.describe())
        if failed is not None:
            raise failed

    def _ingest(self, owner: LeaseOwner, batch: MicroBatch) -> IngestOutcome:
        from airflow_provider_atlan_meta.hooks.connections import connection_info
        from airflow_provider_atlan_meta.services.ingest import ingest_once

        return ingest_once(
            request=self._request(),
            kafka=connection_info(self.kafka_conn_id),
            postgres=connection_info(self.postgres_conn_id),
            owner=owner,
            report=batch.report,
        )

    def _request(self) -> IngestRequest:
        from airflow_provider_atlan_meta.services.ingest import IngestRequest

        task_values.one_of("runner", self.runner, RUNNERS)
        request = IngestRequest.from_settings(
            Settings(),
            max_records=task_values.positive("max_records", self.max_records),
            dry_run=task_values.flag("dry_run", self.is_dry_run),
        )
        return replace(request, topic=self.topic or request.topic)


def _told(part: PartitionRange) -> str:
    return f"{part.records} records"
