"""The passes but the DAG's own: the service lane, Slack throttling, both lanes together."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime

from airflow_provider_atlan_meta.sandbox.demo.dag_pass import RATE, count_runs
from airflow_provider_atlan_meta.sandbox.demo.evidence import Judged
from airflow_provider_atlan_meta.sandbox.demo.lanes import DAG, SERVICE, LaneWatch, lane_of
from airflow_provider_atlan_meta.sandbox.demo.report import MEASURED_RUN
from airflow_provider_atlan_meta.sandbox.demo.stage import SERVICES, Stage, describe
from airflow_provider_atlan_meta.sandbox.expected_deliveries import SLACK, WEBHOOK

WEBHOOKS, FIRST_WEBHOOKS = 600, 40
ROW_P50_MS, WEBHOOK_P50_MS, WEBHOOK_P99_MS, SLACK_P50_MS = 60.0, 120.0, 400.0, 200.0
# One new incident for Slack in so many seconds, over ten channels.
SECONDS_APART = 2.0
TOGETHER_SECONDS = 40.0
SERVICE_PARTITIONS = 6
# 30 incidents, each changed six times within ten seconds: more than three times what Slack lets pass in a minute.
THROTTLED_INCIDENTS, THROTTLED_STEPS = 30, 6
SHOWN_SECONDS = 60.0
_DRAIN_SECONDS = 120.0


def service_pass(stage: Stage) -> None:
    """Only the services work; the DAGs are paused."""
    stage.say(f"pass 1: {WEBHOOKS} webhooks at {RATE:.0f}/s through the service lane")
    with LaneWatch(stage.ledger()) as lanes:
        # connections are opened and clients imported by whoever comes first: not measured, but judged
        stage.send("first", stage.mixed_plan(FIRST_WEBHOOKS, rate=RATE, seconds_apart=0.5), rate=RATE)
        stage.await_delivered(_DRAIN_SECONDS)
        plan = stage.mixed_plan(WEBHOOKS, rate=RATE, seconds_apart=SECONDS_APART)
        summary = stage.send(MEASURED_RUN, plan, rate=RATE)
        drained = stage.await_stored(_DRAIN_SECONDS) and stage.await_delivered(_DRAIN_SECONDS)
    stage.work.service_events += lanes.events[SERVICE]
    verdict = stage.verdict()
    rows, deliveries = verdict.rows, verdict.deliveries
    stage.check("pass 1: answers", not summary.answers.get("none"), describe(summary.answers))
    stage.check(
        "pass 1: everything stored by the service lane",
        drained and not lanes.events[DAG] and rows.ok,
        f"{rows.found} rows for {rows.accepted} accepted; lost {rows.lost}, duplicated {rows.duplicated}",
    )
    stage.check(
        "pass 1: one webhook per change, one Slack message per incident in its last state",
        deliveries.ok,
        f"{rows.changes} changes, {describe(deliveries.deliveries)} deliveries, {deliveries.incidents_shown} "
        f"incidents shown; lost {deliveries.lost}, duplicated {deliveries.duplicated}",
    )
    _check_latency(stage, verdict)


def _check_latency(stage: Stage, verdict: Judged) -> None:
    """Medians have to hold; the tail of a loaded machine is shown beside them."""
    p50, p99 = verdict.rows.percentile(0.5, MEASURED_RUN), verdict.rows.percentile(0.99, MEASURED_RUN)
    stage.check(
        f"pass 1: POST to row p50 <= {ROW_P50_MS:.0f} ms", _within(p50, ROW_P50_MS), f"p50 {p50}, p99 {p99}"
    )
    p50, p99 = (verdict.percentile(share, WEBHOOK, MEASURED_RUN) for share in (0.5, 0.99))
    stage.check(
        f"pass 1: POST to webhook p50 <= {WEBHOOK_P50_MS:.0f} ms",
        _within(p50, WEBHOOK_P50_MS),
        f"p50 {p50}, p99 {p99} (aim: {WEBHOOK_P99_MS:.0f})",
    )
    p50, p99 = (verdict.percentile(share, SLACK, MEASURED_RUN) for share in (0.5, 0.99))
    stage.check(
        f"pass 1: POST to Slack p50 <= {SLACK_P50_MS:.0f} ms, a new incident every {SECONDS_APART:.0f} s",
        _within(p50, SLACK_P50_MS),
        f"p50 {p50}, p99 {p99}",
    )


def _within(value: float | None, bound: float) -> bool:
    return value is not None and value <= bound


def throttled_pass(stage: Stage) -> None:
    """More for Slack than it lets pass; the last state of each incident is shown all the same, and soon."""
    stories = stage.stories(THROTTLED_INCIDENTS, steps=THROTTLED_STEPS)
    plan = [post for step in zip(*stories, strict=True) for post in step]
    stage.say(f"pass 1, Slack throttles: {len(stories)} incidents, {len(plan)} webhooks at {RATE:.0f}/s")
    stage.send("throttled", plan, rate=RATE)
    delivered = stage.await_stored(_DRAIN_SECONDS) and stage.await_delivered(_DRAIN_SECONDS)
    refused = [call for call in stage.evidence.calls.read() if call["status"] == 429]
    verdict = stage.verdict()
    last = max(
        (post.sent_at for post in verdict.rows.causes.values() if post.run == "throttled"), default=0.0
    )
    seconds = verdict.deliveries.shown_at.get("throttled", float("inf")) - last
    stage.check(
        "pass 1: nothing lost or doubled while Slack throttles",
        delivered and bool(refused) and verdict.ok,
        f"{len(refused)} calls refused, {verdict.deliveries.folded} steps folded; "
        f"lost {verdict.lost}, duplicated {verdict.duplicated}",
    )
    stage.check(
        f"pass 1: every last state shown within {SHOWN_SECONDS:.0f} s of the last event",
        seconds <= SHOWN_SECONDS,
        f"{seconds:.1f} s",
    )


def both_pass(stage: Stage) -> None:
    """The services take 6 partitions each, the DAGs what is free."""
    stage.say(
        f"pass 3: both lanes for {TOGETHER_SECONDS:.0f} s, "
        f"the services with max_partitions={SERVICE_PARTITIONS}"
    )
    began = datetime.now(UTC).isoformat()
    for name in SERVICES:
        stage.start_service(name, max_partitions=SERVICE_PARTITIONS)
    with ExitStack() as stack:
        rest = stack.enter_context(stage.airflow())
        lanes = stack.enter_context(LaneWatch(stage.ledger()))
        changes = stack.enter_context(LaneWatch(stage.ledger(stage.changes_topic)))
        plan = stage.mixed_plan(int(TOGETHER_SECONDS * RATE), rate=RATE, seconds_apart=SECONDS_APART)
        stage.send("both", plan, rate=RATE)
        owned = [_owned(stage, topic) for topic in (stage.topic, stage.changes_topic)]
        drained = stage.await_stored(_DRAIN_SECONDS) and stage.await_delivered(_DRAIN_SECONDS)
        for dag in stage.dags:
            rest.await_idle(dag, _DRAIN_SECONDS)
        count_runs(stage, rest, began)
    stage.work.service_events += lanes.events[SERVICE]
    stage.work.dag_events += lanes.events[DAG]
    worked = [watch.events[lane] > 0 for watch in (lanes, changes) for lane in (SERVICE, DAG)]
    stage.check(
        "pass 3: both lanes worked on both hops",
        drained and all(worked) and max(owned) <= SERVICE_PARTITIONS,
        f"services {lanes.events[SERVICE]} events on {owned[0]} partitions, {changes.events[SERVICE]} offsets of "
        f"changes on {owned[1]}; DAGs {lanes.events[DAG]} events, {changes.events[DAG]} offsets of changes",
    )


def _owned(stage: Stage, topic: str) -> int:
    ledger = stage.ledger(topic)
    try:
        return sum(lane_of(label) == SERVICE for _, label in ledger.positions().values())
    finally:
        ledger.close()
