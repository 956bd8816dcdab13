"""Open alerts and failure reasons, kept in Airflow Variables: alerting survives the loss of our own store.

Works in a task and in the dag-processor's callback process: both read and write Variables through Airflow's
execution API.
"""

from __future__ import annotations

from contextlib import suppress

from airflow.sdk import Variable

from airflow_provider_atlan_meta.core.alerts import (
    Failure,
    FailureReason,
    OpenAlert,
    alert_key,
    parse_record,
    reason_key,
    repeated,
    to_text,
)
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.messages import failure_text, resolved_text
from airflow_provider_atlan_meta.hooks.slack import slack_client

_DESCRIPTION = "Written by airflow-provider-atlan-meta to tell a failed DAG once; safe to delete."


def write_reason(dag_id: str, tenant: str, reason: FailureReason) -> None:
    """Called by the task that fails for good: the alert's process has no exception."""
    Variable.set(reason_key(dag_id, tenant), to_text(reason), description=_DESCRIPTION)


def read_reason(dag_id: str, tenant: str, run_id: str) -> str | None:
    """The reason of this run; None when the task could not write one (killed, timed out, never started)."""
    reason = parse_record(FailureReason, _stored(reason_key(dag_id, tenant)))
    return reason.text if reason is not None and reason.run_id == run_id else None


def tell_failure(failure: Failure, *, channel: str, conn_id: str) -> None:
    """Posts a new alert, or changes the open one."""
    alert = parse_record(OpenAlert, _stored(alert_key(failure.dag_id, failure.tenant)))
    told = _repeat(alert, failure) if alert is not None else _open(failure, channel=channel, conn_id=conn_id)
    if told is not None:
        Variable.set(alert_key(failure.dag_id, failure.tenant), to_text(told), description=_DESCRIPTION)


def resolve(dag_id: str, *, tenant: str, run_id: str, at: str) -> bool:
    """Closes the open alert of a DAG that works again; one read and nothing else when none is open."""
    key = alert_key(dag_id, tenant)
    alert = parse_record(OpenAlert, _stored(key))
    if alert is None:
        return False
    with suppress(RejectedError):  # somebody deleted the message: there is nothing left to close
        _change(alert, resolved_text(alert, dag_id=dag_id, tenant=tenant, run_id=run_id, at=at))
    Variable.delete(key)
    return True


def _repeat(alert: OpenAlert, failure: Failure) -> OpenAlert | None:
    again = repeated(alert, failure)
    if again is None:
        return None
    try:
        _change(again, failure_text(failure, failures=again.failures, since=again.since))
    except RejectedError:
        return _open(failure, channel=alert.channel, conn_id=alert.conn_id)
    return again


def _open(failure: Failure, *, channel: str, conn_id: str) -> OpenAlert:
    message = slack_client(conn_id).post(channel, failure_text(failure))
    return OpenAlert(
        channel=message.channel,
        ts=message.ts,
        conn_id=conn_id,
        since=failure.at,
        failures=1,
        last_run_id=failure.run_id,
    )


def _change(alert: OpenAlert, text: str) -> None:
    from airflow_provider_atlan_meta.clients.slack import PostedMessage

    slack_client(alert.conn_id).update(PostedMessage(channel=alert.channel, ts=alert.ts), text)


def _stored(key: str) -> str | None:
    from airflow.sdk.execution_time.cache import SecretCache

    # with [secrets] use_cache the dag-processor keeps values for 15 minutes; a task may have changed this one
    SecretCache.invalidate_variable(key)
    value = Variable.get(key, default=None)
    return None if value is None else str(value)
