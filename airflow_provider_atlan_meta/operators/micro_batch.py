"""One try of a micro-batch task: what is the same whatever the batch moves.

Unknown Params are refused, a lease owner is made, committed ranges are logged, a kill stops behind a commit, the
reason of a final failure is left for the alert, and what works resolves the alert that is open.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

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
    from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange


class BatchOutcome(Protocol):
    """What a bounded run says of itself, as far as every batch says it."""

    @property
    def topic(self) -> str: ...

    @property
    def ranges(self) -> tuple[PartitionRange, ...]: ...

    @property
    def owned_by(self) -> Mapping[int, str]: ...

    @property
    def dry_run(self) -> bool: ...


_Outcome = TypeVar("_Outcome", bound=BatchOutcome)


def task_defaults() -> dict[str, Any]:
    """Arguments of every micro-batch task that its user did not give."""
    return {
        "retries": RETRIES,
        "retry_delay": RETRY_DELAY_AFTER_KILL,
        "retry_policy": AtlanMetaRetryPolicy(),
        "render_template_as_native_obj": True,
    }


class MicroBatch:
    """Made by ``execute``, once per try.

    :param tenants: whom the set of DAGs serves; names the alert.
    :param told: of a range, for the log: how much it held and what became of it.
    :param is_stopping: whether Airflow told the task to stop.
    """

    def __init__(
        self,
        task: BaseOperator,
        context: Context,
        *,
        tenants: Sequence[str],
        told: Callable[[PartitionRange], str],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._task = task
        self._context = context
        self._tenant = ",".join(tenants)
        self._told = told
        self._is_stopping = is_stopping

    def run(self, work: Callable[[LeaseOwner], _Outcome]) -> _Outcome:
        """Does the work and says what became of it.

        :raises TransientError, TerminalError: see ``operators.retry`` for what Airflow does with them.
        """
        try:
            self._refuse_unknown_params()
            outcome = work(self._lease_owner())
            self._check_stopping()
        except BaseException as error:
            self._leave_reason(error)
            raise
        self._log_outcome(outcome)
        if not outcome.dry_run:
            self._resolve_alert()
        return outcome

    def report(self, part: PartitionRange) -> None:
        """Called after each commit: what the log says happened has happened. Ends the work when the task is to stop."""
        self.note(part)
        self._check_stopping()

    def note(self, part: PartitionRange) -> None:
        """As ``report``, for work that ends by itself when the task is to stop."""
        self._log_range("committed", part)

    def _check_stopping(self) -> None:
        if self._is_stopping():
            raise TransientError("Airflow told the task to stop; everything committed so far is kept")

    def _log_outcome(self, outcome: BatchOutcome) -> None:
        for part in outcome.ranges if outcome.dry_run else ():
            self._log_range("would read", part)
        for label, partitions in _by_label(outcome.owned_by).items():
            self._task.log.info("partitions %s of %s: owned by %s", partitions, outcome.topic, label)

    def _log_range(self, verb: str, part: PartitionRange) -> None:
        text = "%s topic %s partition %d offsets [%d, %d): %s"
        self._task.log.info(text, verb, part.topic, part.partition, part.start, part.end, self._told(part))

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

    def _resolve_alert(self) -> None:
        """One read of an Airflow Variable when no alert is open. Slack away: the next success tries again."""
        from airflow_provider_atlan_meta.core.messages import describe_error
        from airflow_provider_atlan_meta.hooks import alerts

        ti = self._context["ti"]
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        try:
            if alerts.resolve(ti.dag_id, tenant=self._tenant, run_id=str(ti.run_id), at=now):
                self._task.log.info("resolved the open alert of %s", ti.dag_id)
        except Exception as error:  # what was done is committed; the next run closes the alert
            self._task.log.warning("the open alert was not resolved: %s", describe_error(error))


def _by_label(owned_by: Mapping[int, str]) -> dict[str, list[int]]:
    labels: dict[str, list[int]] = {}
    for partition, label in sorted(owned_by.items()):
        labels.setdefault(label, []).append(partition)
    return labels
