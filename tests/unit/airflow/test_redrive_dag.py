"""Redriving in Airflow: it says what it would do, asks, and does that; nothing is redriven without a reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException, ParamValidationError

from airflow_provider_atlan_meta import DagOptions
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.dead_letters import LetterQuery
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.hooks import alerts, connections
from airflow_provider_atlan_meta.notifications.atlan_meta import AtlanMetaNotifier
from airflow_provider_atlan_meta.operators.redrive import RedriveOperator
from airflow_provider_atlan_meta.pipeline.redrive import Redriven
from airflow_provider_atlan_meta.reprocessing_dags import build_redrive_dag
from airflow_provider_atlan_meta.services import dead_letters


def options(**changes: Any) -> DagOptions:
    return DagOptions(**{"prefix": "acme_", "topic": "acme.events.v1", **changes})


class Engine:
    """Stands for ``redrive_once``: keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answer = Redriven(letters=3, redriven=2, rejected=1, changes=2, reasons=(("not understood", 1),))
        self.before_report: Any = lambda: None

    def __call__(self, **kwargs: Any) -> Redriven:
        self.calls.append(kwargs)
        self.before_report()
        kwargs["report"](self.answer)
        return self.answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    monkeypatch.setattr(dead_letters, "redrive_once", fake)
    monkeypatch.setattr(connections, "connection_info", lambda conn_id: ConnectionInfo(conn_id=conn_id))
    return fake


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(alerts, "write_reason", lambda *_: None)
    monkeypatch.setattr(alerts, "resolve", lambda dag_id, **_: found.append(dag_id))
    return found


def run(task: RedriveOperator) -> dict[str, Any]:
    fields = {
        "dag_id": "acme_redrive",
        "task_id": task.task_id,
        "run_id": "r1",
        "try_number": 1,
        "max_tries": 5,
    }
    context: Any = {
        "dag": task.dag,
        "task": task,
        "dag_run": SimpleNamespace(conf={}),
        "ti": SimpleNamespace(**fields, map_index=-1),
    }
    return task.execute(context)


def operator(**kwargs: Any) -> RedriveOperator:
    dag = DAG("acme_redrive")
    return RedriveOperator(task_id="redrive", dag=dag, **{"topic": "t", "reason": "mended", **kwargs})


def test_a_run_hands_over_what_was_asked_and_who_asks(engine: Engine, resolved: list[str]) -> None:
    done = run(operator(fingerprint="f", tenant="acme", postgres_conn_id="p"))

    (call,) = engine.calls
    assert call["query"] == LetterQuery(topic="t", fingerprint="f", tenant="acme")
    assert call["note"] == ("acme_redrive/r1/redrive#1", "mended")
    assert (call["postgres"].conn_id, call["dry_run"], call["notify"]) == ("p", False, False)
    assert done == engine.answer.to_dict()
    assert resolved == ["acme_redrive"]


@pytest.mark.parametrize("reason", ["", "  "])
def test_nothing_is_redriven_without_a_reason(engine: Engine, resolved: list[str], reason: str) -> None:
    with pytest.raises(ConfigurationError, match="Nothing was redriven"):
        run(operator(reason=reason))

    assert engine.calls == []


def test_a_dry_run_needs_no_reason_and_closes_no_alert(engine: Engine, resolved: list[str]) -> None:
    engine.answer = Redriven(letters=3, redriven=3, dry_run=True)

    run(operator(reason="", dry_run="True"))

    assert engine.calls[0]["dry_run"] is True
    assert resolved == []


def test_a_task_that_is_told_to_stop_stops_behind_a_page(engine: Engine, resolved: list[str]) -> None:
    task = operator()
    engine.before_report = task.on_kill

    with pytest.raises(TransientError, match="told the task to stop"):
        run(task)


def test_where_no_letter_waits_nobody_is_asked(engine: Engine, resolved: list[str]) -> None:
    engine.answer = Redriven(dry_run=True)

    with pytest.raises(AirflowSkipException, match="no dead letter waits"):
        run(operator(dry_run=True))


# ---- the DAG


def test_it_looks_asks_and_only_then_stores() -> None:
    dag = build_redrive_dag(options(postgres_conn_id="p"))

    assert [task.task_id for task in dag.topological_sort()] == ["preview", "approve", "redrive"]
    preview, redrive = dag.get_task("preview"), dag.get_task("redrive")
    assert preview.is_dry_run is True
    assert redrive.is_dry_run == "{{ params.dry_run }}"
    assert redrive.reason == "{{ params.reason }}"
    assert (redrive.topic, redrive.postgres_conn_id) == ("acme.events.v1", "p")
    assert redrive.upstream_task_ids == {"approve"}


def test_it_runs_only_by_hand_one_at_a_time() -> None:
    dag = build_redrive_dag(options())

    assert (dag.dag_id, dag.schedule, dag.start_date) == ("acme_redrive", None, None)
    assert (dag.max_active_runs, dag.catchup, dag.is_paused_upon_creation) == (1, False, True)
    assert isinstance(dag.on_failure_callback, AtlanMetaNotifier)


def test_the_form_wants_a_reason() -> None:
    params = build_redrive_dag(options()).params

    assert set(params) == {"fingerprint", "tenant", "reason", "notify", "dry_run"}
    with pytest.raises(ParamValidationError):
        params.get_param("reason").resolve("")
    assert params.get_param("reason").resolve("mended") == "mended"
