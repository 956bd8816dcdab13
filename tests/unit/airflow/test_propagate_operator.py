from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Param

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError
from airflow_provider_atlan_meta.hooks import alerts, connections
from airflow_provider_atlan_meta.operators.propagate import PropagateOperator
from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange, PropagateOutcome
from airflow_provider_atlan_meta.services import consumer

TOPIC = "meta.changes.v1"
PART = PartitionRange(
    topic=TOPIC, partition=3, start=10, end=17, records=7, deliveries={"delivered": 6, "parked": 1}
)
DONE = PropagateOutcome(
    topic=TOPIC, records=7, deliveries={"delivered": 6, "parked": 1}, ranges=(PART,), parked_lanes=1
)


class Engine:
    """Stands for the consumption engine: keeps what it was asked, answers or raises."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answer: PropagateOutcome | BaseException = DONE
        self.parts: tuple[PartitionRange, ...] = ()
        self.before_report: Any = lambda: None

    def __call__(self, **kwargs: Any) -> PropagateOutcome:
        self.calls.append(kwargs)
        for part in self.parts:
            self.before_report()
            kwargs["report"](part)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    monkeypatch.setattr(consumer, "propagate_once", fake)
    monkeypatch.setattr(connections, "connection_info", lambda conn_id: ConnectionInfo(conn_id=conn_id))
    return fake


@pytest.fixture(autouse=True)
def book(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done about alerts."""
    done: list[str] = []
    monkeypatch.setattr(alerts, "write_reason", lambda dag_id, tenant, reason: done.append(reason.text))
    monkeypatch.setattr(alerts, "resolve", lambda dag_id, **_: bool(done.append(f"resolve {dag_id}")) or True)
    return done


def operator(**kwargs: Any) -> PropagateOperator:
    dag = DAG("acme_propagate", params={"max_records": Param(5, type="integer")})
    return PropagateOperator(task_id="propagate", dag=dag, **kwargs)


def context_of(task: PropagateOperator, *, conf: dict[str, Any] | None = None, **ti: Any) -> Any:
    fields = {"dag_id": "acme_propagate", "task_id": "propagate", "run_id": "r1"}
    numbers = {"try_number": 1, "max_tries": 5, "map_index": -1}
    return {
        "dag": task.dag,
        "task": task,
        "dag_run": SimpleNamespace(conf=conf),
        "ti": SimpleNamespace(**{**fields, **numbers, **ti}),
    }


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a task writes, as a reader of its log sees it."""
    written: list[str] = []

    def keep(text: str, *args: Any) -> None:
        written.append(text % args)

    monkeypatch.setattr(PropagateOperator, "log", SimpleNamespace(info=keep, warning=keep), raising=False)
    return written


# ---- what it does


def test_a_run_hands_connections_limits_and_owner_to_the_engine(engine: Engine) -> None:
    task = operator(max_records="500", kafka_conn_id="k", postgres_conn_id="p")

    assert task.execute(context_of(task)) == DONE.to_dict()

    (call,) = engine.calls
    assert (call["kafka"].conn_id, call["postgres"].conn_id) == ("k", "p")
    assert (call["request"].topic, call["request"].max_records) == (TOPIC, 500)
    assert (call["owner"].label, call["owner"].task) == (
        "acme_propagate/r1/propagate#1",
        "acme_propagate/r1/propagate",
    )


def test_it_works_on_the_topic_and_as_the_role_that_belong_to_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ATLAN_META__TOPIC_PREFIX", "lake")
    for task in (operator(), operator(topic="acme.changes.v1")):
        task.execute(context_of(task))

    assert [call["request"].topic for call in engine.calls] == ["lake.changes.v1", "acme.changes.v1"]
    assert engine.calls[0]["postgres"].conn_id == "atlan_meta_postgres_consumer"


def test_receivers_connections_are_asked_of_airflow_when_something_is_sent(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def connection_info(conn_id: str) -> ConnectionInfo:
        asked.append(conn_id)
        return ConnectionInfo(conn_id=conn_id)

    monkeypatch.setattr(connections, "connection_info", connection_info)
    task = operator(kafka_conn_id="k", postgres_conn_id="p")
    task.execute(context_of(task))

    assert asked == ["k", "p"]
    assert engine.calls[0]["connections"]("slack_of_acme").conn_id == "slack_of_acme"


def test_every_range_is_in_the_log_with_what_became_of_its_deliveries(
    engine: Engine, lines: list[str]
) -> None:
    engine.parts = (PART, PartitionRange(topic=TOPIC, partition=4, start=0, end=2, records=1))
    task = operator()
    task.execute(context_of(task))

    *ranges, resolved, summary = [line for line in lines if "Task Runner" not in line]
    assert ranges == [
        "committed topic meta.changes.v1 partition 3 offsets [10, 17): 7 changes, deliveries: 6 delivered, 1 parked",
        "committed topic meta.changes.v1 partition 4 offsets [0, 2): 1 changes",
    ]
    assert resolved == "resolved the open alert of acme_propagate"
    assert summary == (
        "propagated meta.changes.v1: 7 changes, deliveries: 6 delivered, 1 parked; parked lanes 1, lag 0"
    )


def test_partitions_of_a_live_service_are_left_to_it_and_it_is_named(
    engine: Engine, lines: list[str]
) -> None:
    engine.answer = PropagateOutcome(topic=TOPIC, owned_by={1: "consumer host:1", 0: "consumer host:1"})
    task = operator()

    result = task.execute(context_of(task))

    assert "partitions [0, 1] of meta.changes.v1: owned by consumer host:1" in lines
    assert result["owned_by"] == {"1": "consumer host:1", "0": "consumer host:1"}


def test_a_dry_run_says_what_it_would_read_and_resolves_no_alert(
    engine: Engine, lines: list[str], book: list[str]
) -> None:
    would = PartitionRange(topic=TOPIC, partition=3, start=10, end=17, records=7)
    engine.answer = PropagateOutcome(topic=TOPIC, records=7, ranges=(would,), lag=7, dry_run=True)
    task = operator(dry_run="True")
    task.execute(context_of(task))

    assert engine.calls[0]["request"].dry_run is True
    assert "would read topic meta.changes.v1 partition 3 offsets [10, 17): 7 changes" in lines
    assert book == []


def test_a_kill_stops_the_task_behind_the_write_it_is_in(engine: Engine) -> None:
    task = operator()
    engine.parts = (PART, PART)
    engine.before_report = task.on_kill

    with pytest.raises(TransientError, match="committed so far is kept"):
        task.execute(context_of(task))


# ---- what it refuses, and alerts


@pytest.mark.parametrize(
    ("field", "value"), [("max_records", 0), ("max_records", None), ("dry_run", "perhaps")]
)
def test_a_wrong_value_fails_when_the_task_runs_not_at_parse(field: str, value: Any, engine: Engine) -> None:
    task = operator(**{field: value})

    with pytest.raises(ConfigurationError, match=field):
        task.execute(context_of(task))
    assert engine.calls == []


def test_a_param_that_is_not_in_the_form_is_refused(engine: Engine) -> None:
    task = operator()

    with pytest.raises(ConfigurationError, match="unknown Params max_record; acme_propagate has max_records"):
        task.execute(context_of(task, conf={"max_record": 1}))
    assert engine.calls == []


@pytest.mark.parametrize(
    ("error", "ti", "told"),
    [
        (TransientError("away"), {"try_number": 1}, []),
        (TransientError("away"), {"try_number": 6}, ["TransientError: away"]),
        (TerminalError("no topic"), {"try_number": 1}, ["TerminalError: no topic"]),
    ],
)
def test_the_reason_is_left_when_the_task_fails_for_good(
    error: Exception, ti: dict[str, Any], told: list[str], engine: Engine, book: list[str]
) -> None:
    engine.answer = error
    task = operator()

    with pytest.raises(type(error)):
        task.execute(context_of(task, **ti))
    assert book == told


def test_a_run_that_works_resolves_the_open_alert(engine: Engine, book: list[str]) -> None:
    task = operator()
    task.execute(context_of(task))

    assert book == ["resolve acme_propagate"]
