"""A day's calls are counted, and the day's end frees them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from airflow_provider_atlan_meta.core.budget import DailyBudget
from airflow_provider_atlan_meta.core.errors import TransientError

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_calls_above_the_limit_wait_until_midnight_utc() -> None:
    budget = DailyBudget(1, of="a service")
    budget.take(NOON.astimezone(timezone(timedelta(hours=9))))
    with pytest.raises(TransientError, match="a service") as raised:
        budget.take(NOON + timedelta(hours=1))
    assert raised.value.retry_after == 11 * 3600
    assert budget.taken == 1


def test_a_new_day_begins_anew() -> None:
    budget = DailyBudget(1, of="a service")
    for day in range(3):
        budget.take(NOON + timedelta(days=day))
    assert budget.taken == 1


def test_no_limit_is_no_limit() -> None:
    budget = DailyBudget(0, of="a service")
    for _ in range(1000):
        budget.take(NOON)
