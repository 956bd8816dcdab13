"""The three passes: the service lane, the DAG lane alone with two accidents, both lanes together."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox.demo.airflow_rest import AirflowRest
from airflow_provider_atlan_meta.sandbox.demo.faults import (
    CaughtTask,
    catch_working_task,
    kill_task,
    stop_store_during,
)
from airflow_provider_atlan_meta.sandbox.demo.lanes import DAG, SERVICE, LaneWatch, TaskLease, lane_of
from airflow_provider_atlan_meta.sandbox.demo.stage import Stage, describe

RATE = 20.0
WEBHOOKS = 340
BACKLOG = 3_000
P50_MS = 60.0
TOGETHER_SECONDS = 60.0
SERVICE_PARTITIONS = 6
_DRAIN_SECONDS = 120.0
_RUN_SECONDS = 420.0
_CATCHES = 4
_RANGE = re.compile(r"topic (\S+) partition (\d+) offsets \[(\d+), (\d+)\)")


def service_pass(stage: Stage) -> None:
    """Only the services work; the DAG is paused."""
    stage.say(f"pass 1: {WEBHOOKS} webhooks at {RATE:.0f}/s through the service lane")
    with LaneWatch(stage.ledger()) as lanes:
        summary = stage.send("service", WEBHOOKS, rate=RATE)
        drained = stage.await_stored(_DRAIN_SECONDS)
    stage.work.service_events += lanes.events[SERVICE]
    verdict = stage.verdict()
    stage.check("pass 1: answers", not summary.answers.get("none"), describe(summary.answers))
    stage.check(
        "pass 1: everything stored by the service lane",
        drained and not lanes.events[DAG] and verdict.ok,
        f"{verdict.found} rows for {verdict.accepted} accepted; "
        f"lost {verdict.lost}, duplicated {verdict.duplicated}",
    )
    p50, p99 = verdict.percentile(0.5, "service"), verdict.percentile(0.99, "service")
    stage.check(
        f"pass 1: POST to row p50 <= {P50_MS:.0f} ms",
        p50 is not None and p50 <= P50_MS,
        f"p50 {p50}, p99 {p99}",
    )


def dag_pass(stage: Stage) -> None:
    """Only the producer serves; Airflow does the rest."""
    stage.say(f"pass 2: the same through {stage.dag} alone")
    stage.sandbox.stop("ingest")
    began = datetime.now(UTC).isoformat()
    with stage.airflow() as rest, LaneWatch(stage.ledger()) as lanes:
        rest.set_paused(stage.dag, False)
        summary = stage.send("dag", WEBHOOKS, rate=RATE)
        drained = stage.await_stored(_DRAIN_SECONDS)
        stage.check("pass 2: answers", not summary.answers.get("none"), describe(summary.answers))
        stage.check("pass 2: everything drained by the DAG", drained, f"{lanes.look()[DAG]} events")
        _accident(
            stage,
            rest,
            "PostgreSQL away for 20 s",
            lambda caught: stop_store_during(stage.sandbox, caught, stage.say),
        )
        _accident(stage, rest, "task killed with -9", lambda caught: kill_task(caught, stage.say))
        drained = stage.await_stored(_DRAIN_SECONDS)
        _count_runs(stage, rest, began)
    stage.work.dag_events += lanes.events[DAG]
    verdict = stage.verdict()
    stage.check(
        "pass 2: nothing lost or doubled",
        drained and not lanes.events[SERVICE] and verdict.ok,
        f"{lanes.events[DAG]} events by the DAG, {lanes.events[SERVICE]} by services; "
        f"lost {verdict.lost}, duplicated {verdict.duplicated}",
    )


def both_pass(stage: Stage) -> None:
    """The service takes 6 partitions, the DAG what is free."""
    stage.say(
        f"pass 3: both lanes for {TOGETHER_SECONDS:.0f} s, "
        f"the service with max_partitions={SERVICE_PARTITIONS}"
    )
    began = datetime.now(UTC).isoformat()
    stage.start_ingest(max_partitions=SERVICE_PARTITIONS)
    with stage.airflow() as rest, LaneWatch(stage.ledger()) as lanes:
        stage.send("both", int(TOGETHER_SECONDS * RATE), rate=RATE)
        ledger = stage.ledger()
        owned = sum(lane_of(label) == SERVICE for _, label in ledger.positions().values())
        ledger.close()
        drained = stage.await_stored(_DRAIN_SECONDS)
        rest.await_idle(stage.dag, _DRAIN_SECONDS)
        _count_runs(stage, rest, began)
    stage.work.service_events += lanes.events[SERVICE]
    stage.work.dag_events += lanes.events[DAG]
    stage.check(
        "pass 3: both lanes worked",
        drained and lanes.events[SERVICE] > 0 and lanes.events[DAG] > 0 and owned <= SERVICE_PARTITIONS,
        f"service {lanes.events[SERVICE]} events on {owned} partitions, DAG {lanes.events[DAG]}",
    )


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
        summary = stage.send("backlog", size, rate=None, flawless=True)
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


def _count_runs(stage: Stage, rest: AirflowRest, began: str) -> None:
    runs = rest.runs(stage.dag, began)
    stage.work.dag_runs += len(runs)
    for run in runs:
        instance = rest.task(stage.dag, run["dag_run_id"], "ingest")
        stage.work.dag_retries += max(0, int(instance.get("try_number") or 1) - 1)
