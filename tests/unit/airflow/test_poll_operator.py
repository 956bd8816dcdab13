from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Param, Variable

from airflow_provider_atlan_meta import DagOptions
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError
from airflow_provider_atlan_meta.hooks import alerts, connections
from airflow_provider_atlan_meta.operators.poll import PollMonteCarloOperator
from airflow_provider_atlan_meta.pipeline.poll import Polled
from airflow_provider_atlan_meta.services import poll
from airflow_provider_atlan_meta.services.poll import PollOutcome
from airflow_provider_atlan_meta.source_dags import build_poll_dag

DONE = PollOutcome(tenants=(Polled(tenant="acme", found=9, published=3, unconfirmed=1),))


class Engine:
    """Stands for the poll: keeps what it was asked, answers or raises."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answer: PollOutcome | BaseException = DONE
        self.moves: list[tuple[str, int]] = []

    def __call__(self, **kwargs: Any) -> PollOutcome:
        self.calls.append(kwargs)
        for tenant, updated_at in self.moves:
            kwargs["moved"](tenant, updated_at)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    monkeypatch.setattr(poll, "poll_once", fake)
    monkeypatch.setattr(connections, "connection_info", lambda conn_id: ConnectionInfo(conn_id=conn_id))
    return fake


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    kept: dict[str, str] = {}
    monkeypatch.setattr(Variable, "get", lambda key, default=None: kept.get(key, default))
    monkeypatch.setattr(Variable, "set", lambda key, value, **_: kept.update({key: value}))
    return kept


@pytest.fixture(autouse=True)
def book(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done about alerts."""
    done: list[str] = []
    monkeypatch.setattr(alerts, "write_reason", lambda dag_id, tenant, reason: done.append(reason.text))
    monkeypatch.setattr(alerts, "resolve", lambda dag_id, **_: bool(done.append(f"resolve {dag_id}")) or True)
    return done


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a task writes, as a reader of its log sees it."""
    written: list[str] = []

    def keep(text: str, *args: Any) -> None:
        written.append(text % args)

    log = SimpleNamespace(info=keep, warning=keep)
    monkeypatch.setattr(PollMonteCarloOperator, "log", log, raising=False)
    return written


def operator(**kwargs: Any) -> PollMonteCarloOperator:
    dag = DAG("acme_poll", params={"tenants": Param(["acme"], type="array")})
    return PollMonteCarloOperator(task_id="poll", dag=dag, **{"tenants": ["acme"], **kwargs})


def context_of(task: PollMonteCarloOperator, **ti: Any) -> Any:
    fields = {"dag_id": "acme_poll", "task_id": "poll", "run_id": "r1"}
    numbers = {"try_number": 1, "max_tries": 5, "map_index": -1}
    return {
        "dag": task.dag,
        "task": task,
        "dag_run": SimpleNamespace(conf=None),
        "ti": SimpleNamespace(**{**fields, **numbers, **ti}),
    }


def test_a_run_asks_for_its_tenants_and_says_what_it_found(engine: Engine, lines: list[str]) -> None:
    task = operator(kafka_conn_id="k", postgres_conn_id="p")

    assert task.execute(context_of(task)) == DONE.to_dict()

    [call] = engine.calls
    assert (call["kafka"].conn_id, call["postgres"].conn_id) == ("k", "p")
    request = call["request"]
    assert (request.topic, request.tenants) == ("meta.events.v1", ("acme",))
    assert lines[1] == "acme: 9 alerts changed, 3 published, 1 of them known from webhooks only"


def test_the_next_run_goes_on_where_the_last_one_was(engine: Engine, variables: dict[str, str]) -> None:
    engine.moves = [("acme", 1_000), ("acme", 2_000)]
    for _ in range(2):
        task = operator()
        task.execute(context_of(task))

    assert [call["cursors"] for call in engine.calls] == [{}, {"acme": 2_000}]
    assert variables == {"acme_poll_cursor_acme": "2000"}


def test_what_was_read_before_a_failure_stays_read(engine: Engine, variables: dict[str, str]) -> None:
    engine.moves = [("acme", 1_000)]
    engine.answer = TransientError("Monte Carlo answered 503; ask again")
    task = operator()

    with pytest.raises(TransientError):
        task.execute(context_of(task))

    assert variables == {"acme_poll_cursor_acme": "1000"}


def test_a_cursor_somebody_spoiled_is_a_wrong_configuration(
    engine: Engine, variables: dict[str, str]
) -> None:
    variables["acme_poll_cursor_acme"] = "yesterday"
    task = operator()

    with pytest.raises(ConfigurationError, match="delete it"):
        task.execute(context_of(task))


def test_the_form_names_tenants_and_times(engine: Engine) -> None:
    task = operator(poll_tenants=["globex"], since="2026-11-01T00:00:00Z", until="2026-11-02T00:00:00+01:00")
    task.execute(context_of(task))

    request = engine.calls[0]["request"]
    assert request.tenants == ("globex",)
    assert request.since == datetime(2026, 11, 1, tzinfo=UTC)
    assert request.until == datetime(2026, 11, 1, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"tenants": []}, "poll_tenants"),
        ({"poll_tenants": ["No"]}, "must match"),
        ({"since": "2026-11-01T00:00:00"}, "from = "),
        ({"until": "soon"}, "to = "),
    ],
)
def test_values_that_cannot_be_are_refused_when_the_task_runs(
    engine: Engine, arguments: dict[str, Any], told: str, book: list[str]
) -> None:
    task = operator(**arguments)

    with pytest.raises(ConfigurationError, match=told):
        task.execute(context_of(task))

    assert engine.calls == []
    assert len(book) == 1


def test_a_wrong_key_is_told_in_the_alert_and_a_success_resolves_it(engine: Engine, book: list[str]) -> None:
    engine.answer = TerminalError("Monte Carlo answered 401")
    task = operator()
    with pytest.raises(TerminalError):
        task.execute(context_of(task))
    engine.answer = DONE
    task.execute(context_of(task))

    assert book == ["TerminalError: Monte Carlo answered 401", "resolve acme_poll"]


def test_a_task_that_is_killed_leaves_the_other_tenants_to_the_next_run(engine: Engine) -> None:
    task = operator()
    task.on_kill()

    with pytest.raises(TransientError, match="told the task to stop"):
        task.execute(context_of(task))

    assert engine.calls[0]["stopped"]() is True


def test_a_connection_nobody_knows_is_none(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(conn_id: str) -> ConnectionInfo:
        if "tenant" in conn_id:
            raise ConfigurationError("unknown")
        return ConnectionInfo(conn_id=conn_id)

    monkeypatch.setattr(connections, "connection_info", unknown)
    task = operator()
    task.execute(context_of(task))

    find = engine.calls[0]["find"]
    assert find("atlan_meta_montecarlo_tenant_acme") is None
    assert find("atlan_meta_montecarlo_default").conn_id == "atlan_meta_montecarlo_default"


# ---- the DAG


def options(**changes: Any) -> DagOptions:
    return DagOptions(**{"prefix": "acme_", "topic": "meta.events.v1", **changes})


def test_the_dag_polls_every_five_minutes_one_run_at_a_time() -> None:
    dag = build_poll_dag(options(tenants=("acme",)))

    assert dag.dag_id == "acme_poll"
    assert dag.timetable.expression == "*/5 * * * *"  # type: ignore[union-attr]
    assert (dag.max_active_runs, dag.catchup, dag.is_paused_upon_creation) == (1, False, True)
    assert dag.start_date is None
    assert dag.params["tenants"] == ["acme"]
    assert "tenant:acme" in dag.tags


def test_the_poll_may_ask_for_tenants_that_the_set_does_not_name() -> None:
    dag = build_poll_dag(options(poll_tenants=("acme", "globex")))

    assert dag.params["tenants"] == ["acme", "globex"]
    assert dag.tags == {"atlan-meta"}


def test_without_a_schedule_it_runs_by_hand_only() -> None:
    assert not build_poll_dag(options(poll_schedule="")).timetable.can_be_scheduled
