from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Param, RetryAction

from airflow_provider_atlan_meta.core.alerts import FailureReason
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    ConfigurationError,
    LeaseLostError,
    RejectedError,
    TerminalError,
    TransientError,
)
from airflow_provider_atlan_meta.hooks import alerts, connections
from airflow_provider_atlan_meta.operators.ingest import IngestOperator
from airflow_provider_atlan_meta.operators.retry import AtlanMetaRetryPolicy
from airflow_provider_atlan_meta.services import follow, ingest

PART = ingest.PartitionRange(topic="meta.events.v1", partition=3, start=10, end=17, records=7)
DONE = ingest.IngestOutcome(topic="meta.events.v1", records=7, ranges=(PART,))


def context_of(task: IngestOperator, *, conf: dict[str, Any] | None = None, **ti: Any) -> Any:
    fields = {"dag_id": "acme_ingest", "task_id": "ingest", "run_id": "r1", "try_number": 1, "max_tries": 5}
    return {
        "dag": task.dag,
        "task": task,
        "dag_run": SimpleNamespace(conf=conf),
        "ti": SimpleNamespace(**{**fields, "map_index": -1, **ti}),
    }


def operator(**kwargs: Any) -> IngestOperator:
    dag = DAG("acme_ingest", params={"max_records": Param(5, type="integer")})
    return IngestOperator(task_id="ingest", dag=dag, **{"topic": "meta.events.v1", **kwargs})


class Engine:
    """Stands for the ingest engine: keeps what it was asked, answers or raises."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answer: ingest.IngestOutcome | BaseException = DONE
        self.parts: tuple[ingest.PartitionRange, ...] = ()
        self.before_report: Any = lambda: None

    def __call__(self, **kwargs: Any) -> ingest.IngestOutcome:
        self.calls.append(kwargs)
        for part in self.parts:
            self.before_report()
            kwargs["report"](part)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Alerts:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reasons: list[tuple[str, str, FailureReason]] = []
        self.resolved: list[tuple[str, str]] = []
        monkeypatch.setattr(alerts, "write_reason", lambda *args: self.reasons.append(args))
        monkeypatch.setattr(alerts, "resolve", self._resolve)

    def _resolve(self, dag_id: str, *, tenant: str, run_id: str, at: str) -> bool:
        self.resolved.append((dag_id, tenant))
        return True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    monkeypatch.setattr(ingest, "ingest_once", fake)
    monkeypatch.setattr(connections, "connection_info", lambda conn_id: ConnectionInfo(conn_id=conn_id))
    return fake


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Iterator[Alerts]:
    return Alerts(monkeypatch)  # type: ignore[return-value]


# ---- what it does


def test_a_run_hands_connections_limits_and_owner_to_the_engine(engine: Engine, book: Alerts) -> None:
    task = operator(max_records=500, kafka_conn_id="k", postgres_conn_id="p")

    assert task.execute(context_of(task)) == DONE.to_dict()

    (call,) = engine.calls
    assert (call["kafka"].conn_id, call["postgres"].conn_id) == ("k", "p")
    assert (call["request"].topic, call["request"].max_records) == ("meta.events.v1", 500)
    assert call["owner"].label == "acme_ingest/r1/ingest#1"
    assert call["owner"].task == "acme_ingest/r1/ingest"


def test_every_try_is_a_new_owner_of_the_same_task(engine: Engine, book: Alerts) -> None:
    task = operator()
    for number in (1, 2):
        task.execute(context_of(task, try_number=number))

    first, second = (call["owner"] for call in engine.calls)
    assert first.id != second.id
    assert second.is_earlier_try(first.label)


def test_mapped_tasks_are_owners_of_their_own(engine: Engine, book: Alerts) -> None:
    task = operator()
    task.execute(context_of(task, map_index=0))

    assert engine.calls[0]["owner"].label == "acme_ingest/r1/ingest[0]#1"


def test_the_topic_is_the_settings_own_when_none_is_given(
    engine: Engine, book: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ATLAN_META__TOPIC_PREFIX", "lake")
    task = operator(topic=None)
    task.execute(context_of(task))

    assert engine.calls[0]["request"].topic == "lake.events.v1"


def test_every_committed_range_is_in_the_log_with_topic_and_partition(
    engine: Engine, book: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.parts = (PART,)
    task = operator()
    lines = logged(task, monkeypatch)

    task.execute(context_of(task))

    assert "committed topic meta.events.v1 partition 3 offsets [10, 17): 7 records" in lines


def test_partitions_of_a_live_owner_are_left_to_it_and_named(
    engine: Engine, book: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = "ingest host:1"
    engine.answer = ingest.IngestOutcome(topic="meta.events.v1", owned_by={1: label, 0: label, 2: "other"})
    task = operator()
    lines = logged(task, monkeypatch)

    result = task.execute(context_of(task))

    assert "partitions [0, 1] of meta.events.v1: owned by ingest host:1" in lines
    assert result["owned_by"] == {"1": label, "0": label, "2": "other"}


def test_a_dry_run_says_what_it_would_read_and_resolves_no_alert(
    engine: Engine, book: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.answer = ingest.IngestOutcome(topic="meta.events.v1", records=7, ranges=(PART,), dry_run=True)
    task = operator(dry_run=True)
    lines = logged(task, monkeypatch)

    task.execute(context_of(task))

    assert engine.calls[0]["request"].dry_run is True
    assert "would read topic meta.events.v1 partition 3 offsets [10, 17): 7 records" in lines
    assert book.resolved == []


def test_a_kill_stops_the_task_behind_the_commit_it_is_in(engine: Engine, book: Alerts) -> None:
    task = operator()
    engine.parts = (PART, PART)
    engine.before_report = task.on_kill

    with pytest.raises(TransientError, match="committed so far is kept"):
        task.execute(context_of(task))
    assert len(engine.calls) == 1


def test_rendered_text_is_taken_for_what_it_means(engine: Engine, book: Alerts) -> None:
    task = operator(max_records="7", dry_run="False", sinks="postgres")
    task.execute(context_of(task))

    request = engine.calls[0]["request"]
    assert (request.max_records, request.dry_run) == (7, False)


# ---- what it refuses


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_records", 0),
        ("max_records", "{{ nothing }}"),
        ("max_records", None),
        ("dry_run", "perhaps"),
        ("runner", "flink"),
        ("sinks", ["cassandra"]),
        ("sinks", ["postgres", "mongo"]),
        ("sinks", []),
        ("sinks", None),
    ],
)
def test_a_wrong_value_fails_when_the_task_runs_not_at_parse(
    field: str, value: Any, engine: Engine, book: Alerts
) -> None:
    task = operator(**{field: value})

    with pytest.raises(ConfigurationError, match=field):
        task.execute(context_of(task))
    assert engine.calls == []


def test_a_param_that_is_not_in_the_form_is_refused(engine: Engine, book: Alerts) -> None:
    task = operator()

    with pytest.raises(ConfigurationError, match="unknown Params max_record; acme_ingest has max_records"):
        task.execute(context_of(task, conf={"max_record": 1}))
    assert engine.calls == []


# ---- alerts


@pytest.mark.parametrize(
    ("error", "ti", "final"),
    [
        (TransientError("away"), {"try_number": 1}, False),
        (TransientError("away"), {"try_number": 5}, False),
        (TransientError("away"), {"try_number": 6}, True),
        (ValueError("bug"), {"try_number": 1}, False),
        (ValueError("bug"), {"try_number": 6}, True),
        (TerminalError("no topic"), {"try_number": 1}, True),
    ],
)
def test_the_reason_is_left_when_and_only_when_the_task_fails_for_good(
    error: Exception, ti: dict[str, Any], final: bool, engine: Engine, book: Alerts
) -> None:
    engine.answer = error
    task = operator(tenants=("acme",))

    with pytest.raises(type(error)):
        task.execute(context_of(task, **ti))

    assert len(book.reasons) == final
    if final:
        dag_id, tenant, reason = book.reasons[0]
        assert (dag_id, tenant, reason.run_id) == ("acme_ingest", "acme", "r1")
        assert type(error).__name__ in reason.text


def test_a_run_that_works_resolves_the_open_alert(engine: Engine, book: Alerts) -> None:
    task = operator(tenants=("acme",))
    task.execute(context_of(task))

    assert book.resolved == [("acme_ingest", "acme")]


def test_alerting_that_fails_never_fails_or_hides_the_run(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TransientError("Slack is away")

    monkeypatch.setattr(alerts, "resolve", broken)
    monkeypatch.setattr(alerts, "write_reason", broken)
    task = operator()

    assert task.execute(context_of(task))["records"] == 7

    engine.answer = TerminalError("the run's own error")
    with pytest.raises(TerminalError, match="own error"):
        task.execute(context_of(task))


# ---- the retry policy


@pytest.mark.parametrize(
    ("error", "try_number", "seconds"),
    [
        (TransientError("x"), 1, 5),
        (TransientError("x"), 2, 15),
        (LeaseLostError("x"), 3, 45),
        (ValueError("x"), 4, 135),
        (OSError("x"), 5, 300),
        (TransientError("x"), 9, 300),
        (TransientError("x", retry_after=7), 4, 7),
        (TransientError("x", retry_after=0), 1, 0),
        (TransientError("x", retry_after=86400), 1, 3600),
    ],
)
def test_what_may_pass_is_tried_again_later(error: Exception, try_number: int, seconds: float) -> None:
    decision = AtlanMetaRetryPolicy().evaluate(error, try_number, 5)

    assert decision.action is RetryAction.RETRY
    assert decision.retry_delay == timedelta(seconds=seconds)


@pytest.mark.parametrize("error", [TerminalError("x"), ConfigurationError("x"), RejectedError("x")])
def test_what_never_works_fails_at_once(error: Exception) -> None:
    assert AtlanMetaRetryPolicy().evaluate(error, 1, 5).action is RetryAction.FAIL


def test_a_reason_tells_our_own_text_and_of_others_the_type_only() -> None:
    policy = AtlanMetaRetryPolicy()

    assert "store is away" in str(policy.evaluate(TransientError("store is away"), 1, 5).reason)
    assert "hunter2" not in str(policy.evaluate(ValueError("password=hunter2"), 1, 5).reason)


def test_a_cleared_task_begins_its_waits_anew() -> None:
    task = operator()
    decision = AtlanMetaRetryPolicy().evaluate(TransientError("x"), 7, 11, context_of(task))

    assert decision.retry_delay == timedelta(seconds=5)


def test_a_policy_comes_back_from_its_serialised_form() -> None:
    policy = AtlanMetaRetryPolicy([1, 2])

    assert AtlanMetaRetryPolicy.deserialize(policy.serialize()).delays_seconds == (1.0, 2.0)


def test_own_retries_of_a_user_are_kept() -> None:
    task = operator(retries=1, retry_delay=timedelta(seconds=1))

    assert (task.retries, task.retry_delay) == (1, timedelta(seconds=1))


def logged(task: IngestOperator, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines a task writes, as a reader of its log sees them."""
    lines: list[str] = []

    def keep(text: str, *args: Any) -> None:
        lines.append(text % args)

    monkeypatch.setattr(type(task), "log", SimpleNamespace(info=keep, warning=keep), raising=False)
    return lines


# ---- stores that follow


class Stores:
    """Stands for ``follow_once``: keeps what it was asked; a store in ``away`` does not answer."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.away: set[str] = set()
        self.before_answer: Any = lambda: None

    def __call__(self, **kwargs: Any) -> follow.FollowOutcome:
        self.calls.append(kwargs)
        self.before_answer()
        outcome = follow.FollowOutcome(sink=kwargs["request"].sink, written=3, is_complete=True)
        kwargs["told"](outcome)
        if outcome.sink in self.away:
            raise TransientError(f"{outcome.sink} is away")
        return outcome

    @property
    def asked(self) -> list[str]:
        return [call["request"].sink for call in self.calls]


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    fake = Stores()
    monkeypatch.setattr(follow, "follow_once", fake)
    return fake


def test_stores_follow_behind_the_records_each_under_an_owner_of_its_own(
    engine: Engine, book: Alerts, stores: Stores
) -> None:
    task = operator(sinks=["postgres", "cassandra", "atlas"], postgres_conn_id="p")

    assert task.execute(context_of(task)) == DONE.to_dict()

    assert stores.asked == ["cassandra", "atlas"]
    assert [call["store"].conn_id for call in stores.calls] == [
        "atlan_meta_cassandra_default",
        "atlan_meta_atlas_default",
    ]
    owners = [call["owner"] for call in (*engine.calls, *stores.calls)]
    assert len({owner.id for owner in owners}) == 3
    assert {owner.label for owner in owners} == {"acme_ingest/r1/ingest#1"}


def test_a_store_that_is_away_keeps_no_other_waiting_and_has_the_task_tried_again(
    engine: Engine, book: Alerts, stores: Stores
) -> None:
    stores.away = {"cassandra"}
    task = operator(sinks="postgres, cassandra, atlas")

    with pytest.raises(TransientError, match="cassandra is away"):
        task.execute(context_of(task))

    assert stores.asked == ["cassandra", "atlas"]
    assert book.resolved == []


@pytest.mark.parametrize("given", [{}, {"sinks": ["postgres", "atlas"], "dry_run": True}])
def test_no_store_follows_in_a_dry_run_or_unasked(
    engine: Engine, book: Alerts, stores: Stores, given: dict[str, Any]
) -> None:
    if given:
        engine.answer = ingest.IngestOutcome(topic="meta.events.v1", records=7, ranges=(PART,), dry_run=True)
    task = operator(**given)

    task.execute(context_of(task))

    assert stores.calls == []


def test_a_task_that_is_told_to_stop_asks_no_further_store(
    engine: Engine, book: Alerts, stores: Stores
) -> None:
    task = operator(sinks=["postgres", "cassandra", "atlas"])
    stores.before_answer = task.on_kill

    with pytest.raises(TransientError, match="told the task to stop"):
        task.execute(context_of(task))

    assert stores.asked == ["cassandra"]
