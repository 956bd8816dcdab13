"""One bounded micro-batch from the log into the store, as an Airflow task."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, RetryAction

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.operators.retry import (
    RETRIES,
    RETRY_DELAY_AFTER_KILL,
    AtlanMetaRetryPolicy,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_atlan_meta.services.ingest import (
        IngestOutcome,
        IngestRequest,
        LeaseOwner,
        PartitionRange,
    )

RUNNERS = ("local",)
SINKS = ("postgres",)


class IngestOperator(BaseOperator):
    """Drains a topic up to its end at the start of the task; the ledger in the store says what is left.

    Exactly once: rows and ledger commit together, under a lease; a retry, a kill or a second run can neither
    lose nor double anything. Partitions that another live process drains are left to it: the task ends green
    and says who owns them. Values are checked when the task runs, not at parse.

    :param topic: default ``<[atlan_meta] topic_prefix>.events.v1``.
    :param max_records: stop after so many records; the rest is the next run's.
    :param dry_run: read and count, write nothing, move nothing.
    :param runner: ``local``: in this task's process.
    :param sinks: the stores to write: ``postgres``.
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
        sinks: Sequence[str] | str = SINKS,
        tenants: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", RETRIES)
        kwargs.setdefault("retry_delay", RETRY_DELAY_AFTER_KILL)
        kwargs.setdefault("retry_policy", AtlanMetaRetryPolicy())
        kwargs.setdefault("render_template_as_native_obj", True)
        super().__init__(**kwargs)
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
        try:
            _refuse_unknown_params(context)
            outcome = self._ingest(self._request(), _lease_owner(context))
        except BaseException as error:
            self._leave_reason(context, error)
            raise
        if not outcome.dry_run:
            self._resolve_alert(context)
        return outcome.to_dict()

    def on_kill(self) -> None:
        """Airflow calls it from a signal handler: the task stops after the commit it is in."""
        self._told_to_stop = True

    def _request(self) -> IngestRequest:
        from airflow_provider_atlan_meta.services.ingest import IngestRequest

        settings = Settings()
        _one_of("runner", self.runner, RUNNERS)
        for sink in _names("sinks", self.sinks):
            _one_of("sinks", sink, SINKS)
        return IngestRequest(
            topic=self.topic or settings.topic("events"),
            dead_letter_topic=settings.topic("dead-letter"),
            max_records=_positive("max_records", self.max_records),
            dry_run=_flag("dry_run", self.is_dry_run),
            batch_records=settings.integer("batch_records"),
            lease_seconds=settings.number("lease_seconds"),
        )

    def _ingest(self, request: IngestRequest, owner: LeaseOwner) -> IngestOutcome:
        from airflow_provider_atlan_meta.hooks.connections import connection_info
        from airflow_provider_atlan_meta.services.ingest import ingest_once

        outcome = ingest_once(
            kafka=connection_info(self.kafka_conn_id),
            postgres=connection_info(self.postgres_conn_id),
            request=request,
            owner=owner,
            report=self._report,
        )
        for part in outcome.ranges if outcome.dry_run else ():
            self._log_range("would read", part)
        for label, partitions in _by_label(outcome.owned_by).items():
            self.log.info("partitions %s of %s: owned by %s", partitions, outcome.topic, label)
        self.log.info(
            "%s %s: %d records, %d duplicates, %d rejected, lag %d",
            "dry run of" if outcome.dry_run else "ingested",
            outcome.topic,
            outcome.records,
            outcome.duplicates,
            outcome.rejected,
            outcome.lag,
        )
        return outcome

    def _report(self, part: PartitionRange) -> None:
        """Called after each commit: what the log says happened has happened."""
        self._log_range("committed", part)
        if self._told_to_stop:
            raise TransientError("Airflow told the task to stop; everything committed so far is kept")

    def _log_range(self, verb: str, part: PartitionRange) -> None:
        text = "%s topic %s partition %d offsets [%d, %d): %d records"
        self.log.info(text, verb, part.topic, part.partition, part.start, part.end, part.records)

    def _leave_reason(self, context: Context, error: BaseException) -> None:
        """The alert is told by another process that has no exception: what is final is written for it."""
        if not self._fails_for_good(context, error):
            return
        from airflow_provider_atlan_meta.core.alerts import FailureReason
        from airflow_provider_atlan_meta.core.messages import describe_error
        from airflow_provider_atlan_meta.hooks import alerts

        ti = context["ti"]
        reason = FailureReason(run_id=str(ti.run_id), text=describe_error(error))
        try:
            alerts.write_reason(ti.dag_id, ",".join(self.tenants), reason)
        except Exception as failure:  # the run's own error is the one to raise
            self.log.warning("the reason for the alert was not kept: %s", describe_error(failure))

    def _fails_for_good(self, context: Context, error: BaseException) -> bool:
        ti: Any = context["ti"]
        if ti.try_number > ti.max_tries or self.retry_policy is None:
            return bool(ti.try_number > ti.max_tries)
        decision = self.retry_policy.evaluate(error, ti.try_number, ti.max_tries, context)
        return decision.action is RetryAction.FAIL

    def _resolve_alert(self, context: Context) -> None:
        """One read of an Airflow Variable when no alert is open. Slack away: the next success tries again."""
        from airflow_provider_atlan_meta.core.messages import describe_error
        from airflow_provider_atlan_meta.hooks import alerts

        ti = context["ti"]
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        try:
            if alerts.resolve(ti.dag_id, tenant=",".join(self.tenants), run_id=str(ti.run_id), at=now):
                self.log.info("resolved the open alert of %s", ti.dag_id)
        except (
            Exception
        ) as error:  # the batch is committed; an alert that stays open is closed by the next run
            self.log.warning("the open alert was not resolved: %s", describe_error(error))


def _lease_owner(context: Context) -> LeaseOwner:
    """New per try; ``task`` lets a retry know the lease of its own dead predecessor."""
    from airflow_provider_atlan_meta.services.ingest import LeaseOwner

    ti: Any = context["ti"]
    mapped = ti.map_index is not None and ti.map_index >= 0
    task_id = f"{ti.task_id}[{ti.map_index}]" if mapped else ti.task_id
    task = f"{ti.dag_id}/{ti.run_id}/{task_id}"
    return LeaseOwner(id=uuid.uuid4(), label=f"{task}#{ti.try_number}", task=task)


def _refuse_unknown_params(context: Context) -> None:
    """Airflow takes any key; a misspelled one would run with the default, which nobody asked for."""
    conf: Mapping[str, Any] = getattr(context.get("dag_run"), "conf", None) or {}
    known = set(context["dag"].params)
    unknown = sorted(set(conf) - known)
    if unknown:
        raise ConfigurationError(
            f"unknown Params {', '.join(unknown)}; {context['dag'].dag_id} has {', '.join(sorted(known))}. "
            "Nothing was read or written"
        )


def _one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigurationError(f"{name} = {value!r}; it may be {', '.join(allowed)}")


def _names(name: str, value: object) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if isinstance(value, (list, tuple)) and value:
        return [str(part) for part in value]
    raise ConfigurationError(f"{name} = {value!r}; give at least one name")


def _positive(name: str, value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigurationError(f"{name} = {value!r}; it must be a whole number of at least 1")
    return number


def _flag(name: str, value: object) -> bool:
    known = {"true": True, "false": False}
    text = str(value).lower()
    if text not in known:
        raise ConfigurationError(f"{name} = {value!r}; it must be true or false")
    return known[text]


def _by_label(owned_by: Mapping[int, str]) -> dict[str, list[int]]:
    labels: dict[str, list[int]] = {}
    for partition, label in sorted(owned_by.items()):
        labels.setdefault(label, []).append(partition)
    return labels
