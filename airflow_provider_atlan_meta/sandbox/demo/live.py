"""The demo for people: the same lanes, slowly enough to watch, then the whole stack to play with."""

from __future__ import annotations

import time

from rich.console import Console

from airflow_provider_atlan_meta.sandbox.demo.addresses import addresses
from airflow_provider_atlan_meta.sandbox.demo.hop_readers import live_hops
from airflow_provider_atlan_meta.sandbox.demo.hops import HopBoard
from airflow_provider_atlan_meta.sandbox.demo.passes import SERVICE_PARTITIONS
from airflow_provider_atlan_meta.sandbox.demo.stage import SERVICES, Stage, describe
from airflow_provider_atlan_meta.sandbox.expected_deliveries import SLACK, WEBHOOK

_WEBHOOKS = 60
_RATE = 4.0
_TRICKLE_WEBHOOKS, _TRICKLE_RATE = 600, 1.0
# Half of what is sent is about incidents that a Slack channel hears of: one begins every so many seconds.
_SECONDS_APART, _STEPS = 2.0, 3
_DRAIN_SECONDS = 90.0


def run_live(stage: Stage, console: Console) -> int:
    """Two short passes, then a trickle through both lanes until Ctrl-C."""
    board = HopBoard()
    console.rule("pass 1: the service lane (producer, ingest and consumer services)")
    _watched(stage, console, board, "service")
    console.rule(f"pass 2: only the producer serves, Airflow's {' and '.join(stage.dags)} do the rest")
    stage.stop_services()
    with stage.airflow() as rest:
        for dag in stage.dags:
            rest.set_paused(dag, False)
    _watched(stage, console, board, "dag")
    console.rule("both lanes")
    for name in SERVICES:
        stage.start_service(name, max_partitions=SERVICE_PARTITIONS)
    stage.evidence.forget()
    console.rule("running now; Ctrl-C ends it")
    console.print(addresses(stage), soft_wrap=True, markup=False)
    try:
        while True:
            with live_hops(board, console, stage):
                plan = stage.mixed_plan(
                    _TRICKLE_WEBHOOKS, rate=_TRICKLE_RATE, seconds_apart=8.0, steps=_STEPS
                )
                stage.send("trickle", plan, rate=_TRICKLE_RATE)
    except KeyboardInterrupt:
        console.print("what was stored stays until `make clean`")
        return 0


def _watched(stage: Stage, console: Console, board: HopBoard, run: str) -> None:
    with live_hops(board, console, stage):
        plan = stage.mixed_plan(_WEBHOOKS, rate=_RATE, seconds_apart=_SECONDS_APART, steps=_STEPS)
        stage.send(run, plan, rate=_RATE)
        drained = stage.await_stored(_DRAIN_SECONDS) and stage.await_delivered(_DRAIN_SECONDS)
        time.sleep(0.5)  # lets the board show the last ones
    verdict = stage.verdict()
    rows = verdict.rows
    stage.check(
        f"{run} lane",
        drained and verdict.ok,
        f"{rows.accepted} accepted, {rows.found} rows, {rows.incidents} incidents, {rows.changes} changes, deliveries "
        f"{describe(verdict.deliveries.deliveries)}, lost {verdict.lost}, duplicated {verdict.duplicated}; p50 from "
        f"POST to row {rows.percentile(0.5, run)} ms, webhook {verdict.percentile(0.5, WEBHOOK, run)} ms, "
        f"Slack {verdict.percentile(0.5, SLACK, run)} ms",
    )
