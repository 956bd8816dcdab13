"""Replaying in Airflow: quiet unless asked, exactly the range that was given, and it stops where nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_atlan_meta import DagOptions
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.hooks import alerts, connections
from airflow_provider_atlan_meta.operators.replay import ReplayOperator
from airflow_provider_atlan_meta.pipeline.replay import Replayed
from airflow_provider_atlan_meta.reprocessing_dags import build_replay_dag
from airflow_provider_atlan_meta.services import replay


class Engine:
    """Stands for ``replay_once``: keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.before_report: Any = lambda: None

    def __call__(self, **kwargs: Any) -> Replayed:
        self.calls.append(kwargs)
        self.before_report()
        kwargs["report"](Replayed(records=3))
        return Replayed(records=5, known=4, stored=1, changes=1)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    monkeypatch.setattr(replay, "replay_once", fake)
    monkeypatch.setattr(connections, "connection_info", lambda conn_id: ConnectionInfo(conn_id=conn_id))
    monkeypatch.setattr(alerts, "write_reason", lambda *_: None)
    monkeypatch.setattr(alerts, "resolve", lambda *_, **__: False)
    return fake


def operator(**kwargs: Any) -> ReplayOperator:
    return ReplayOperator(task_id="replay", dag=DAG("acme_replay"), **{"topic": "t", **kwargs})


def run(task: ReplayOperator) -> dict[str, Any]:
    fields = {"dag_id": "acme_replay", "task_id": "replay", "run_id": "r1", "try_number": 1, "max_tries": 5}
    context: Any = {
        "dag": task.dag,
        "task": task,
        "dag_run": SimpleNamespace(conf={}),
        "ti": SimpleNamespace(**fields, map_index=-1),
    }
    return task.execute(context)


def test_without_a_range_everything_is_verified_and_nobody_hears_of_it(engine: Engine) -> None:
    done = run(operator())

    request = engine.calls[0]["request"]
    assert (request.topic, request.mode, request.notify) == ("t", "verify", False)
    assert (request.since, request.until) == (None, None)
    assert (done["records"], done["stored"]) == (5, 1)


def test_the_range_and_mode_of_the_form_reach_the_engine(engine: Engine) -> None:
    run(
        operator(
            since="2026-11-24T00:00:00Z", until="2026-11-25T00:00:00+00:00", mode="reapply", notify="True"
        )
    )

    request = engine.calls[0]["request"]
    assert request.since == datetime(2026, 11, 24, tzinfo=UTC)
    assert request.until == datetime(2026, 11, 25, tzinfo=UTC)
    assert (request.mode, request.notify) == ("reapply", True)


@pytest.mark.parametrize(
    "given", [{"mode": "again"}, {"since": "yesterday"}, {"until": "2026-11-24T00:00:00"}]
)
def test_what_the_form_does_not_know_is_refused_before_anything_is_read(
    engine: Engine, given: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError):
        run(operator(**given))

    assert engine.calls == []


def test_a_task_that_is_told_to_stop_stops_behind_a_batch(engine: Engine) -> None:
    task = operator()
    engine.before_report = task.on_kill

    with pytest.raises(TransientError, match="told the task to stop"):
        run(task)


def test_it_runs_only_by_hand_one_at_a_time_with_its_form() -> None:
    dag = build_replay_dag(DagOptions(prefix="acme_", topic="acme.events.v1"))

    assert (dag.dag_id, dag.schedule, dag.start_date, dag.max_active_runs) == ("acme_replay", None, None, 1)
    assert set(dag.params) == {"from", "to", "mode", "notify"}
    assert dag.get_task("replay").topic == "acme.events.v1"
    assert dag.params.get_param("from").resolve("2026-11-24T00:00:00Z") == "2026-11-24T00:00:00Z"
