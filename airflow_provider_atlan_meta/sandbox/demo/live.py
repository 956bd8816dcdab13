"""The demo for people: the same lanes, slowly enough to watch, then the whole stack to play with."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console

from airflow_provider_atlan_meta.sandbox.demo.hops import HopBoard, live_hops
from airflow_provider_atlan_meta.sandbox.demo.passes import SERVICE_PARTITIONS
from airflow_provider_atlan_meta.sandbox.demo.stage import Stage
from airflow_provider_atlan_meta.sandbox.home import HOME_VARIABLE

_WEBHOOKS = 60
_RATE = 4.0
_TRICKLE_RATE = 1.0
_DRAIN_SECONDS = 90.0


def run_live(stage: Stage, console: Console) -> int:
    """Two short passes, then a trickle through both lanes until Ctrl-C."""
    board = HopBoard()
    stage.on_post = board.on_post
    console.rule("pass 1: the service lane (producer and ingest services)")
    _watched(stage, console, board, "service")
    console.rule(f"pass 2: only the producer serves, Airflow's {stage.dag} does the rest")
    stage.sandbox.stop("ingest")
    with stage.airflow() as rest:
        rest.set_paused(stage.dag, False)
    _watched(stage, console, board, "dag")
    console.rule("both lanes")
    stage.start_ingest(max_partitions=SERVICE_PARTITIONS)
    stage.close()
    console.rule("running now; Ctrl-C ends it")
    console.print(_addresses(stage), soft_wrap=True, markup=False)
    try:
        while True:
            with _board(stage, console, board):
                stage.send("trickle", 600, rate=_TRICKLE_RATE)
    except KeyboardInterrupt:
        console.print("what was stored stays until `make clean`")
        return 0


def _watched(stage: Stage, console: Console, board: HopBoard, run: str) -> None:
    with _board(stage, console, board):
        stage.send(run, _WEBHOOKS, rate=_RATE)
        drained = stage.await_stored(_DRAIN_SECONDS)
        time.sleep(0.5)  # lets the board show the last rows
    verdict = stage.verdict()
    p50 = verdict.percentile(0.5, run)
    stage.check(
        f"{run} lane",
        drained and verdict.ok,
        f"{verdict.accepted} accepted, {verdict.found} rows, {verdict.incidents} incidents, "
        f"lost {verdict.lost}, duplicated {verdict.duplicated}; POST to row p50 {p50} ms",
    )


def _board(stage: Stage, console: Console, board: HopBoard) -> AbstractContextManager[None]:
    return live_hops(
        board,
        console,
        kafka_bootstrap=str(stage.fields["kafka_bootstrap"]),
        topic=stage.topic,
        dsn=str(stage.fields["postgres_dsn"]),
    )


def _addresses(stage: Stage) -> str:
    """Where to look, and what to try."""
    fields = stage.fields
    home = stage.sandbox.home.path
    command = f"{HOME_VARIABLE}={home} {Path(sys.executable).with_name('atlan-meta')} sandbox"
    login = f"user {fields['airflow_user']}, password {fields['airflow_password']}"
    return "\n".join(
        (
            f"Airflow     {fields['airflow_url']}  {login}",
            f"            open DAG {stage.dag}: runs, task log with the offset ranges, Trigger with Params",
            f"PostgreSQL  psql '{fields['postgres_dsn']}'",
            "            select incident_id, status, severity, owner, revision from meta.incident limit 10;",
            "            select partition, next_offset, owner_label from meta.ingest_offset order by 1;",
            f"producer    {fields['producer_url']}/metrics",
            f"Kafka       {fields['kafka_bootstrap']}  topic {stage.topic}",
            f"recorder    {fields['recorder_url']}/_recorded?service=slack  what Slack would have been told",
            f"logs        {home / 'logs'}",
            "",
            f"try         {command} status",
            f"            {command} kill ingest      the DAG takes over within the lease (30 s)",
            f"            {command} stop postgres    nothing is lost; then: start postgres",
        )
    )
