"""One try of a micro-batch task: committed ranges are logged, and who else works on the topic is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from airflow.sdk import BaseOperator

from airflow_provider_atlan_meta.operators.task_try import TaskTry

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


class MicroBatch(TaskTry):
    """:param told: of a range, for the log: how much it held and what became of it."""

    def __init__(
        self,
        task: BaseOperator,
        context: Context,
        *,
        tenants: Sequence[str],
        told: Callable[[PartitionRange], str],
        is_stopping: Callable[[], bool],
    ) -> None:
        super().__init__(task, context, tenants=tenants, is_stopping=is_stopping)
        self._told = told

    def run(self, work: Callable[[LeaseOwner], _Outcome]) -> _Outcome:
        """Does the work and says what became of it.

        :raises TransientError, TerminalError: see ``operators.retry`` for what Airflow does with them.
        """
        outcome = self.attempt(work)
        self._log_outcome(outcome)
        if not outcome.dry_run:
            self.resolve_alert()
        return outcome

    def report(self, part: PartitionRange) -> None:
        """Called after each commit: what the log says happened has happened. Ends the work when the task is to stop."""
        self.note(part)
        self.check_stopping()

    def note(self, part: PartitionRange) -> None:
        """As ``report``, for work that ends by itself when the task is to stop."""
        self._log_range("committed", part)

    def _log_outcome(self, outcome: BatchOutcome) -> None:
        for part in outcome.ranges if outcome.dry_run else ():
            self._log_range("would read", part)
        for label, partitions in _by_label(outcome.owned_by).items():
            self._task.log.info("partitions %s of %s: owned by %s", partitions, outcome.topic, label)

    def _log_range(self, verb: str, part: PartitionRange) -> None:
        text = "%s topic %s partition %d offsets [%d, %d): %s"
        self._task.log.info(text, verb, part.topic, part.partition, part.start, part.end, self._told(part))


def _by_label(owned_by: Mapping[int, str]) -> dict[str, list[int]]:
    labels: dict[str, list[int]] = {}
    for partition, label in sorted(owned_by.items()):
        labels.setdefault(label, []).append(partition)
    return labels
