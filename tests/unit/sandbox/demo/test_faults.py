"""A task is caught in the middle of its work, or not at all."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox.demo import faults
from airflow_provider_atlan_meta.sandbox.demo.faults import CaughtTask, catch_working_task
from airflow_provider_atlan_meta.sandbox.demo.lanes import TaskLease

LEASE = TaskLease("d", "r", "t", 1)


class Scripted:
    """Stands for Airflow and the ledger: who works, how far the ledger is at each look, what the task is."""

    def __init__(self, *, leases: list[TaskLease | None], totals: list[int], task: dict[str, Any]) -> None:
        self._leases, self._totals, self._task = leases, totals, task

    def working_task(self, _dag: str) -> TaskLease | None:
        return self._leases.pop(0) if len(self._leases) > 1 else self._leases[0]

    def total(self) -> int:
        return self._totals.pop(0) if len(self._totals) > 1 else self._totals[0]

    def task(self, *_: str) -> dict[str, Any]:
        return self._task


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, signal.Signals]]:
    sent: list[tuple[int, signal.Signals]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    return sent


def catch(scripted: Scripted) -> CaughtTask | None:
    return catch_working_task(scripted, scripted, "d", until=10)  # type: ignore[arg-type]


def test_a_task_that_works_is_stopped_where_it_is(signals: list[tuple[int, signal.Signals]]) -> None:
    scripted = Scripted(leases=[None, LEASE], totals=[3], task={"state": "running", "pid": 77})
    assert catch(scripted) == CaughtTask(LEASE, 77)
    assert signals == [(77, signal.SIGSTOP)]


def test_a_task_that_was_done_before_it_could_be_stopped_goes_on(
    signals: list[tuple[int, signal.Signals]],
) -> None:
    scripted = Scripted(leases=[LEASE], totals=[10], task={"state": "running", "pid": 77})
    assert catch(scripted) is None
    assert signals == [(77, signal.SIGSTOP), (77, signal.SIGCONT)]


@pytest.mark.parametrize("task", [{"state": "success", "pid": 77}, {"state": "running", "pid": None}])
def test_a_task_that_has_ended_is_left_alone(
    task: dict[str, Any], signals: list[tuple[int, signal.Signals]]
) -> None:
    assert catch(Scripted(leases=[LEASE], totals=[3], task=task)) is None
    assert signals == []


def test_work_that_is_done_without_a_task_in_sight_was_too_quick() -> None:
    assert catch(Scripted(leases=[None], totals=[10], task={})) is None


def test_a_dag_that_never_works_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_WORK_STARTS_SECONDS", 0)
    with pytest.raises(TerminalError, match="no task of d began to work"):
        catch(Scripted(leases=[None], totals=[3], task={}))
