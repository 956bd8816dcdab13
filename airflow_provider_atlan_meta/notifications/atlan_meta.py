"""Tells a Slack channel, once, that a DAG fails."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from airflow_provider_atlan_meta.config.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_atlan_meta.core.alerts import Failure


class AtlanMetaNotifier(BaseNotifier):
    """``on_failure_callback`` of a DAG: one alert per DAG and tenant, changed on repeats, never two.

    It runs in the dag-processor and has no exception; the reason is what the failing task wrote before
    (``IngestOperator`` does). ``IngestOperator``'s last step resolves the alert. Without a channel it does
    nothing, and a Slack that is away costs a log line, never the run.

    :param channel: Slack channel id; default ``[atlan_meta] alert_channel``.
    :param slack_conn_id: default ``[atlan_meta] alert_slack_conn_id``.
    :param tenant: for DAG sets of one tenant.
    """

    def __init__(
        self, *, channel: str | None = None, slack_conn_id: str | None = None, tenant: str = ""
    ) -> None:
        super().__init__()
        self.channel = channel
        self.slack_conn_id = slack_conn_id
        self.tenant = tenant

    def notify(self, context: Context) -> None:
        settings = Settings()
        channel = self.channel if self.channel is not None else settings.text("alert_channel")
        if not channel:
            return
        from airflow_provider_atlan_meta.core.messages import describe_error
        from airflow_provider_atlan_meta.hooks import alerts

        conn_id = self.slack_conn_id or settings.text("alert_slack_conn_id")
        try:
            alerts.tell_failure(self._failure(context), channel=channel, conn_id=conn_id)
        except Exception as error:  # the run's outcome is settled; only the telling failed
            self.log.warning("alert to Slack channel %s not sent: %s", channel, describe_error(error))

    async def async_notify(self, context: Context) -> None:
        """The same on the triggerer (deadline alerts); Slack's SDK blocks, so it gets a thread."""
        from asgiref.sync import sync_to_async

        await sync_to_async(self.notify, thread_sensitive=False)(context)

    def _failure(self, context: Mapping[str, Any]) -> Failure:
        from airflow_provider_atlan_meta.core.alerts import Failure
        from airflow_provider_atlan_meta.hooks import alerts

        dag_id, run_id = _dag_id(context), _run_id(context)
        reason = alerts.read_reason(dag_id, self.tenant, run_id) if run_id else None
        task_instance = context.get("ti")
        return Failure(
            dag_id=dag_id,
            run_id=run_id,
            reason=reason or _generic_reason(context),
            at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            tenant=self.tenant,
            log_url=str(getattr(task_instance, "log_url", "") or ""),
        )


def _dag_id(context: Mapping[str, Any]) -> str:
    for key in ("dag", "dag_run", "ti"):
        dag_id = getattr(context.get(key), "dag_id", None)
        if dag_id:
            return str(dag_id)
    return "unknown DAG"


def _run_id(context: Mapping[str, Any]) -> str:
    return str(context.get("run_id") or getattr(context.get("dag_run"), "run_id", "") or "")


def _generic_reason(context: Mapping[str, Any]) -> str:
    """Airflow's own word (``task_failure``, ``timed_out``): the task was killed or never started."""
    return f"{context.get('reason') or 'failed'}; the task left no reason, see its log"
