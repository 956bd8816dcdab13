"""The second pass: Airflow alone, with two accidents in the middle of its work."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox.demo.airflow_rest import AirflowRest
from airflow_provider_atlan_meta.sandbox.demo.faults import (
    CaughtTask,
    catch_working_task,
    kill_task,
    stop_store_during,
)
from airflow_provider_atlan_meta.sandbox.demo.lanes import DAG, SERVICE, LaneWatch, TaskLease
from airflow_provider_atlan_meta.sandbox.demo.stage import Stage, describe

RATE = 20.0
WEBHOOKS = 340
BACKLOG = 3_000
_SECONDS_APART = 2.0
_DRAIN_SECONDS = 120.0
_RUN_SECONDS = 420.0
_CATCHES = 4
_TASKS = ("ingest", "propagate")
_RANGE = re.compile(r"topic (\S+) partition (\d+) offsets \[(\d+), (\d+)\)")


def dag_pass(stage: Stage) -> None:
    """Only the producer serves; Airflow does the rest."""
    stage.say(f"pass 2: the same through {' and '.join(stage.dags)} alone")
    stage.stop_services()
    began = datetime.now(UTC).isoformat()
    with ExitStack() as stack:
        rest = stack.enter_context(stage.airflow())
        lanes = stack.enter_context(LaneWatch(stage.ledger()))
        changes = stack.enter_context(LaneWatch(stage.ledger(stage.changes_topic)))
        _work(stage, rest)
        _accidents(stage, rest)
        rest.set_paused(stage.propagate_dag, False)
        rest.trigger(stage.propagate_dag)
        drained = stage.await_stored(_DRAIN_SECONDS) and stage.await_delivered(_DRAIN_SECONDS)
        count_runs(stage, rest, began)
    stage.work.dag_events += lanes.events[DAG]
    verdict = stage.verdict()
    stage.check(
        "pass 2: nothing lost or doubled",
        drained and not lanes.events[SERVICE] and not changes.events[SERVICE] and verdict.ok,
        f"{lanes.events[DAG]} events and {changes.events[DAG]} offsets of changes by the DAGs, "
        f"{lanes.events[SERVICE] + changes.events[SERVICE]} by services; "
        f"lost {verdict.lost}, duplicated {verdict.duplicated}",
    )


def _work(stage: Stage, rest: AirflowRest) -> None:
    for dag in stage.dags:
        rest.set_paused(dag, False)
    plan = stage.mixed_plan(WEBHOOKS, rate=RATE, seconds_apart=_SECONDS_APART)
    summary = stage.send("dag", plan, rate=RATE)
    drained = stage.await_stored(_DRAIN_SECONDS) and stage.await_delivered(_DRAIN_SECONDS)
    stage.check("pass 2: answers", not summary.answers.get("none"), describe(summary.answers))
    deliveries = stage.evidence.deliveries()
    stage.check(
        "pass 2: everything drained by the DAGs, to the last hop",
        drained,
        f"deliveries {describe(deliveries.deliveries)}, lost {deliveries.lost}",
    )


def _accidents(stage: Stage, rest: AirflowRest) -> None:
    """To ingest. What was sent and not written down yet would be sent again, rightly: nothing is sent meanwhile."""
    rest.set_paused(stage.propagate_dag, True)
    rest.await_idle(stage.propagate_dag, _DRAIN_SECONDS)
    _accident(
        stage,
        rest,
        "PostgreSQL away for 20 s",
        lambda caught: stop_store_during(stage.sandbox, caught, stage.say),
    )
    _accident(stage, rest, "task killed with -9", lambda caught: kill_task(caught, stage.say))


def _accident(stage: Stage, rest: AirflowRest, name: str, happen: Callable[[CaughtTask], None]) -> None:
    """A backlog, a task that works on it, and something that happens to it in the middle."""
    caught = _catch(stage, rest)
    happen(caught)
    lease = caught.lease
    state = rest.await_run(lease.dag, lease.run, _RUN_SECONDS)
    tries = rest.tries(lease.dag, lease.run, lease.task)
    seen = f"run {lease.run}: {state}, tries " + ", ".join(f"{t.number} {t.state}" for t in tries)
    stage.check(
        f"pass 2: {name}: more than one try, then success", state == "success" and len(tries) > 1, seen
    )
    ranges = _ranges(rest, lease, len(tries))
    named = bool(ranges) and all(topic == stage.topic for topic, *_ in ranges)
    example = "topic {} partition {} offsets [{}, {})".format(*ranges[0]) if ranges else "no range in the log"
    stage.check(
        f"pass 2: {name}: the task log names topic, partition and range",
        named,
        f"{len(ranges)} times, e.g. {example}",
    )


def _catch(stage: Stage, rest: AirflowRest) -> CaughtTask:
    """More load until a task is caught at work.

    :raises TerminalError: every one was too quick.
    """
    size = BACKLOG
    for _ in range(_CATCHES):
        rest.set_paused(stage.dag, True)
        rest.await_idle(stage.dag, _DRAIN_SECONDS)
        summary = stage.send("backlog", stage.plan(size, flawless=True), rate=None)
        stage.say(f"backlog of {size} webhooks in {summary.seconds:.1f} s: {describe(summary.answers)}")
        end = stage.log_end()
        ledger = stage.ledger()
        rest.set_paused(stage.dag, False)
        rest.trigger(stage.dag)
        caught = catch_working_task(rest, ledger, stage.dag, until=end)
        ledger.close()
        if caught is not None:
            return caught
        size *= 2
    raise TerminalError(f"{stage.dag} drained {size // 2} records before anything could happen to it")


def _ranges(rest: AirflowRest, lease: TaskLease, tries: int) -> list[tuple[str, ...]]:
    lines = [
        line for number in range(1, tries + 1) for line in rest.log(lease.dag, lease.run, lease.task, number)
    ]
    return [match.groups() for line in lines if (match := _RANGE.search(line))]


def count_runs(stage: Stage, rest: AirflowRest, began: str) -> None:
    """Adds the runs since ``began`` and their retries to what the DAG lane did."""
    for dag, task in zip(stage.dags, _TASKS, strict=True):
        runs = rest.runs(dag, began)
        stage.work.dag_runs += len(runs)
        for run in runs:
            instance = rest.task(dag, run["dag_run_id"], task)
            stage.work.dag_retries += max(0, int(instance.get("try_number") or 1) - 1)
