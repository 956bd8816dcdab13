"""Healthy means captured. Connect's own status is true in none of these drills."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_atlan_meta.core.capture_health import (
    ConnectorState,
    Observation,
    SlotState,
    TaskState,
    judge,
)

RUNNING = ConnectorState(state="RUNNING", tasks=(TaskState(id=0, state="RUNNING"),))
NO_TASKS = ConnectorState(state="RUNNING")
SLOT = SlotState(active=True, wal_status="reserved", confirmed=1000, restart=900, current=1100)
FIRST = Observation(at=10.0, connector=RUNNING, slot=SLOT, captured=1000)


def look(connector: ConnectorState | None = RUNNING, captured: int | None = 2000, **slot: Any) -> Observation:
    """The next look, two seconds and a heartbeat later, with what is said of the slot."""
    moved = replace(SLOT, confirmed=1150, current=1200)
    return Observation(at=12.0, connector=connector, slot=replace(moved, **slot), captured=captured)


def codes(now: Observation, earlier: Observation | None = FIRST) -> set[str]:
    return {finding.code for finding in judge(now, earlier).findings}


def test_running_with_tasks_and_a_slot_that_moves_is_healthy() -> None:
    health = judge(look(), FIRST)

    assert (health.state, health.findings) == ("healthy", ())
    assert (health.lag_bytes, health.retained_bytes) == (50, 300)


def test_a_slot_that_moves_far_behind_is_healthy_and_says_how_far() -> None:
    health = judge(look(confirmed=1001, current=9_000_000), FIRST)

    assert health.is_healthy
    assert health.lag_bytes == 8_998_999


# Drills: in each of them GET /connectors/NAME/status says RUNNING (knowledge of real servers).


def test_database_away() -> None:
    away = Observation(at=12.0, connector=RUNNING, store_error="connection refused")

    assert judge(away, FIRST).state == "unhealthy"
    assert codes(away) == {"database_away"}


def test_slot_dropped_before_the_task_noticed() -> None:
    health = judge(replace(look(), slot=None), FIRST)

    assert health.is_lost
    assert health.has("slot_dropped")
    assert "capture recover" in health.describe()


@pytest.mark.parametrize(
    ("wal_status", "reason"), [("lost", ""), ("lost", "wal_removed"), ("reserved", "idle_timeout")]
)
def test_slot_lost_while_debezium_retries_in_silence(wal_status: str, reason: str) -> None:
    now = look(NO_TASKS, wal_status=wal_status, invalidation_reason=reason, active=False, confirmed=1000)

    assert judge(now, FIRST).is_lost
    assert codes(now) == {"no_tasks", "slot_lost"}


def test_slot_made_anew_behind_the_connector_s_back() -> None:
    now = look(captured=1100, confirmed=1150)

    assert judge(now, FIRST).is_lost
    assert codes(now) == {"slot_ahead"}


def test_no_tasks_is_not_all_tasks_running() -> None:
    assert codes(look(NO_TASKS)) == {"no_tasks"}


def test_running_on_a_slot_that_does_not_move() -> None:
    stuck = look(confirmed=1000, current=1100)

    assert judge(stuck, FIRST).state == "unhealthy"
    assert codes(stuck) == {"no_progress"}


def test_nobody_reads_the_slot() -> None:
    assert codes(look(active=False)) == {"slot_inactive"}


def test_a_promoted_standby_that_waits_for_another() -> None:
    assert codes(look(wait_event="WaitForStandbyConfirmation")) == {"standby_awaited"}


def test_one_look_alone_is_never_healthy() -> None:
    assert codes(look(), None) == {"no_progress"}


def test_a_recovery_that_was_interrupted_is_not_over() -> None:
    now = replace(look(), owed_since="2026-11-25T00:00:00+00:00")

    assert judge(now, FIRST).is_lost
    assert "changes since 2026-11-25T00:00:00+00:00" in judge(now, FIRST).describe()


# What Connect does say.


def test_a_failed_task_is_told_with_its_reason() -> None:
    failed = ConnectorState(
        state="RUNNING", tasks=(TaskState(id=0, state="FAILED", trace="no longer available"),)
    )

    health = judge(look(failed), FIRST)

    assert health.state == "unhealthy"
    assert "task 0 is FAILED: no longer available" in health.describe()


@pytest.mark.parametrize("state", ["FAILED", "UNASSIGNED", "RESTARTING"])
def test_a_connector_that_does_not_run_is_unhealthy(state: str) -> None:
    assert "connector_not_running" in codes(look(replace(RUNNING, state=state)))


@pytest.mark.parametrize("state", ["PAUSED", "STOPPED"])
def test_what_was_stopped_by_hand_is_stopped_not_broken(state: str) -> None:
    health = judge(look(ConnectorState(state=state), active=False), FIRST)

    assert health.state == "stopped"
    assert not health.is_healthy


def test_a_connector_nobody_applied() -> None:
    nothing = Observation(at=12.0)

    assert codes(nothing) == {"connector_missing", "slot_missing"}
    assert judge(nothing).state == "unhealthy"


def test_workers_that_do_not_answer_say_nothing_about_the_slot() -> None:
    away = replace(look(None), connect_error="refused")

    assert codes(away) == {"connect_away"}


@pytest.mark.parametrize(
    ("safe", "severity", "state"),
    [
        (60, None, "healthy"),
        (40, "warning", "healthy"),
        (10, "critical", "unhealthy"),
        (-5, "critical", "unhealthy"),
    ],
)
def test_the_room_left_is_told_before_the_slot_is_lost(safe: int, severity: str | None, state: str) -> None:
    health = judge(look(safe_bytes=safe, limit_bytes=100), FIRST)

    assert [finding.severity for finding in health.findings] == ([severity] if severity else [])
    assert health.state == state


def test_an_unreserved_slot_has_no_room_left() -> None:
    assert "slot_near_limit" in codes(look(wal_status="unreserved"))


def test_lost_outweighs_everything_else() -> None:
    assert judge(replace(look(ConnectorState(state="STOPPED")), slot=None), FIRST).state == "lost"
