"""``core.errors`` to Airflow's retry decisions: one table, evaluated in the task process.

===================  =======  ==========================================================================
error                action   delay
===================  =======  ==========================================================================
``TransientError``   RETRY    ``retry_after`` when the other side named one, else 5, 15, 45, 135, 300 s
``TerminalError``    FAIL     no retry helps; the text names the cure
``RejectedError``    FAIL     one record will never work (a pipeline dead-letters it; here it is a bug)
anything else        RETRY    5, 15, 45, 135, 300 s: repeating is safe, the ledger decides what is left
===================  =======  ==========================================================================

The ladder adds up to 8 minutes: longer than a restart of PostgreSQL or Kafka, which then alarms nobody. A
killed worker never reaches a policy; Airflow waits ``retry_delay`` for it, which is therefore short.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryDecision, RetryPolicy

from airflow_provider_atlan_meta.core.errors import RejectedError, TerminalError, TransientError

if TYPE_CHECKING:
    from airflow.sdk import Context

DELAYS_SECONDS = (5.0, 15.0, 45.0, 135.0, 300.0)
RETRIES = len(DELAYS_SECONDS)
RETRY_DELAY_AFTER_KILL = timedelta(seconds=10)
_LONGEST_RETRY_AFTER_SECONDS = 3600.0


class AtlanMetaRetryPolicy(RetryPolicy):
    """Retries what may work later, fails at once what never will.

    :param delays_seconds: the wait before the second, third, ... try; the last one repeats.
    """

    def __init__(self, delays_seconds: Sequence[float] = DELAYS_SECONDS) -> None:
        self.delays_seconds = tuple(float(delay) for delay in delays_seconds)

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Its reasons reach Airflow's database: text only of our own errors, which carry no secrets."""
        from airflow_provider_atlan_meta.core.messages import describe_error

        if isinstance(exception, (TerminalError, RejectedError)):
            return RetryDecision.fail(f"no retry helps: {describe_error(exception)}")
        tries_before_clear = max_tries - (context["task"].retries or 0) if context else 0
        seconds = self._delay(try_number - max(tries_before_clear, 0))
        if isinstance(exception, TransientError) and exception.retry_after is not None:
            seconds = min(max(exception.retry_after, 0.0), _LONGEST_RETRY_AFTER_SECONDS)
        reason = f"again in {seconds:g} s: {describe_error(exception)}"
        return RetryDecision.retry(timedelta(seconds=seconds), reason)

    def serialize(self) -> dict[str, Any]:
        return {"delays_seconds": list(self.delays_seconds)}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> AtlanMetaRetryPolicy:
        return cls(data["delays_seconds"])

    def _delay(self, try_number: int) -> float:
        """A cleared task counts its tries on; its waits begin anew."""
        return self.delays_seconds[min(max(try_number, 1), len(self.delays_seconds)) - 1]
