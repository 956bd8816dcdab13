"""One try of a task of ours: what is the same whatever it does.

Unknown Params are refused, a kill ends it where nothing is lost, the reason of a final failure is left for the
alert, and what works resolves the alert that is open.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator, RetryAction

from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.operators.retry import (
    RETRIES,
    RETRY_DELAY_AFTER_KILL,
    AtlanMetaRetryPolicy,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_atlan_meta.core.ports import LeaseOwner

_Outcome = TypeVar("_Outcome")


def task_defaults() -> dict[str, Any]:
    """Arguments of every task of ours that its user did not give."""
    return {
        "retries": RETRIES,
        "retry_delay": RETRY_DELAY_AFTER_KILL,
        "retry_policy": AtlanMetaRetryPolicy(),
        "render_template_as_native_obj": True,
    }


class TaskTry:
    """Made by ``execute``, once per try.

    :param tenants: whom the set of DAGs serves; names the alert.
    :param is_stopping: whether Airflow told the task to stop.
    """

    def __init__(
        self,
        task: BaseOperator,
        context: Context,
        *,
        tenants: Sequence[str],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._task = task
        self._context = context
        self._tenant = ",".join(tenants)
        self._is_stopping = is_stopping

    def attempt(self, work: Callable[[LeaseOwner], _Outcome]) -> _Outcome:
        """Does the work; a failure that is final is kept for the alert.

        :raises TransientError, TerminalError: see ``operators.retry`` for what Airflow does with them.
        """
        try:
            self._refuse_unknown_params()
            outcome = work(self._lease_owner())
            self.check_stopping()
        except BaseException as error:
            self._leave_reason(error)
            raise
        return outcome

    def check_stopping(self) -> None:
        """:raises TransientError: Airflow told the task to stop; call it behind a commit."""
        if self._is_stopping():
            raise TransientError("Airflow told the task to stop; everything committed so far is kept")

    def _refuse_unknown_params(self) -> None:
        """Airflow takes any key; a misspelled one would run with the default, which nobody asked for."""
        dag = self._context["dag"]
        conf: Mapping[str, Any] = getattr(self._context.get("dag_run"), "conf", None) or {}
        known = set(dag.params)
        unknown = sorted(set(conf) - known)
        if unknown:
            raise ConfigurationError(
                f"unknown Params {', '.join(unknown)}; {dag.dag_id} has {', '.join(sorted(known))}. "
                "Nothing was read or written"
            )

    def _lease_owner(self) -> LeaseOwner:
        """New per try; ``task`` lets a retry know the lease of its own dead predecessor."""
        from airflow_provider_atlan_meta.core.ports import LeaseOwner

        ti: Any = self._context["ti"]
        mapped = ti.map_index is not None and ti.map_index >= 0
        task_id = f"{ti.task_id}[{ti.map_index}]" if mapped else ti.task_id
        task = f"{ti.dag_id}/{ti.run_id}/{task_id}"
        return LeaseOwner(id=uuid.uuid4(), label=f"{task}#{ti.try_number}", task=task)

    def _leave_reason(self, error: BaseException) -> None:
        """The alert is told by another process that has no exception: what is final is written for it."""
        if not self._fails_for_good(error):
            return
        from airflow_provider_atlan_meta.core.alerts import FailureReason
        from airflow_provider_atlan_meta.core.messages import describe_error
        from airflow_provider_atlan_meta.hooks import alerts

        ti = self._context["ti"]
        reason = FailureReason(run_id=str(ti.run_id), text=describe_error(error))
        try:
            alerts.write_reason(ti.dag_id, self._tenant, reason)
        except Exception as failure:  # the run's own error is the one to raise
            self._task.log.warning("the reason for the alert was not kept: %s", describe_error(failure))

    def _fails_for_good(self, error: BaseException) -> bool:
        ti: Any = self._context["ti"]
        policy = self._task.retry_policy
        if ti.try_number > ti.max_tries or policy is None:
            return bool(ti.try_number > ti.max_tries)
        decision = policy.evaluate(error, ti.try_number, ti.max_tries, self._context)
        return decision.action is RetryAction.FAIL

    def resolve_alert(self) -> None:
        """The last step of what worked: one read of an Airflow Variable when no alert is open.

        Slack away: the next success tries again.
        """
        from airflow_provider_atlan_meta.core.messages import describe_error
        from airflow_provider_atlan_meta.hooks import alerts

        ti = self._context["ti"]
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        try:
            if alerts.resolve(ti.dag_id, tenant=self._tenant, run_id=str(ti.run_id), at=now):
                self._task.log.info("resolved the open alert of %s", ti.dag_id)
        except Exception as error:  # what was done is committed; the next run closes the alert
            self._task.log.warning("the open alert was not resolved: %s", describe_error(error))
