"""How many calls a day a service is asked for at most. The clock is passed in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from airflow_provider_atlan_meta.core.errors import TransientError


class DailyBudget:
    """Counts one process's calls per day of UTC.

    :param limit: calls a day; 0: no limit. :param of: whose they are, for the error.
    """

    def __init__(self, limit: int, *, of: str) -> None:
        self._limit = limit
        self._of = of
        self._day: date | None = None
        self.taken = 0

    def take(self, now: datetime) -> None:
        """Counts one call that is about to be made.

        :raises TransientError: none is left; ``retry_after`` is the time until midnight.
        """
        now = now.astimezone(UTC)
        if now.date() != self._day:
            self._day, self.taken = now.date(), 0
        if 0 < self._limit <= self.taken:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            raise TransientError(
                f"the {self._limit} calls a day that {self._of} may be asked are made; it goes on at midnight UTC",
                retry_after=(midnight - now).total_seconds(),
            )
        self.taken += 1
