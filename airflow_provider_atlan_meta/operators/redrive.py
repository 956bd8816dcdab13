"""Dead letters tried again, as an Airflow task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_atlan_meta.config.connections import POSTGRES
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.operators import task_values
from airflow_provider_atlan_meta.operators.task_try import TaskTry, task_defaults

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_atlan_meta.core.ports import LeaseOwner
    from airflow_provider_atlan_meta.pipeline.redrive import Redriven


class RedriveOperator(BaseOperator):
    """Stores the dead letters of ingest that can be stored now; those that fail as before stay, and are counted.

    A redriven record keeps its partition, offset and time of receipt: it changes only what nothing newer has said.
    A retry, a kill or a second run repeats nothing. The audit names the run and the reason.

    :param topic: where the records came from; default ``<[atlan_meta] topic_prefix>.events.v1``.
    :param fingerprint: only those that fail like this; empty: all that wait.
    :param tenant: only those of this tenant; empty: of all, and those that nobody could read.
    :param reason: why, for the audit; needed unless it is a dry run.
    :param notify: subscribers hear of what changes; else nobody does.
    :param dry_run: say what could be read now, store nothing; where no letter waits the task is skipped, and with it
        what comes behind.
    :param tenants: whom this set of DAGs serves; names the alert.
    """

    template_fields: Sequence[str] = (
        "postgres_conn_id",
        "topic",
        "fingerprint",
        "tenant",
        "reason",
        "notify",
        "is_dry_run",
    )
    _told_to_stop = False

    def __init__(
        self,
        *,
        postgres_conn_id: str = POSTGRES,
        topic: str | None = None,
        fingerprint: str = "",
        tenant: str = "",
        reason: str = "",
        notify: bool | str = False,
        dry_run: bool | str = False,
        tenants: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**task_defaults() | kwargs)
        self.postgres_conn_id = postgres_conn_id
        self.topic = topic
        self.fingerprint = fingerprint
        self.tenant = tenant
        self.reason = reason
        self.notify = notify
        self.is_dry_run = dry_run  # BaseOperator has a method dry_run
        self.tenants = tenants

    def execute(self, context: Context) -> dict[str, Any]:
        """:raises TransientError, TerminalError: see ``operators.retry`` for what Airflow does with them."""
        task_try = TaskTry(self, context, tenants=self.tenants, is_stopping=lambda: self._told_to_stop)
        done = task_try.attempt(lambda owner: self._redrive(owner, task_try))
        self.log.info(
            "%s %d of %d dead letters: %d changes, %d still fail",
            "could redrive" if done.dry_run else "redrove",
            done.redriven,
            done.letters,
            done.changes,
            done.rejected,
        )
        for reason, number in done.reasons:
            self.log.info("%d still fail: %s", number, reason)
        if not done.dry_run:
            task_try.resolve_alert()
        elif not done.letters:
            raise AirflowSkipException("no dead letter waits")
        return done.to_dict()

    def on_kill(self) -> None:
        """Airflow calls it from a signal handler: the task stops after the page it is in."""
        self._told_to_stop = True

    def _redrive(self, owner: LeaseOwner, task_try: TaskTry) -> Redriven:
        from airflow_provider_atlan_meta.core.dead_letters import LetterQuery, RedriveNote
        from airflow_provider_atlan_meta.hooks.connections import connection_info
        from airflow_provider_atlan_meta.services.dead_letters import redrive_once

        dry_run = task_values.flag("dry_run", self.is_dry_run)
        reason = str(self.reason).strip()
        if not reason and not dry_run:
            raise ConfigurationError("reason is empty; it stands in the audit. Nothing was redriven")
        return redrive_once(
            postgres=connection_info(self.postgres_conn_id),
            query=LetterQuery(
                topic=self.topic or Settings().topic("events"),
                fingerprint=str(self.fingerprint),
                tenant=str(self.tenant),
            ),
            note=RedriveNote(owner.label, reason),
            dry_run=dry_run,
            notify=task_values.flag("notify", self.notify),
            report=lambda _: task_try.check_stopping(),
        )
