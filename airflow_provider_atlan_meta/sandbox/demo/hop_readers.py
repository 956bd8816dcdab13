"""Fills the board: each hop is looked at where it happens, by a reader of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import dict_row
from rich.console import Console
from rich.live import Live

from airflow_provider_atlan_meta.sandbox.demo.hops import HopBoard

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.sandbox.demo.stage import Stage

_LOOK_SECONDS = 0.05
_ROWS = """
  select e.event_key::text, e.event_id::text, e.tenant_id as tenant, e.subject,
         e.duplicate_of is not null as duplicate,
         extract(epoch from pg_xact_commit_timestamp(e.xmin))::float8 as committed_at,
         coalesce(i.status, 'no status') as status, coalesce(i.severity, 'no severity') as severity, i.revision
    from meta.event e left join meta.incident i on (i.tenant_id, i.incident_id) = (e.tenant_id, e.subject)
   where e.received_at >= to_timestamp(%s) order by e.event_key"""


@contextmanager
def live_hops(board: HopBoard, console: Console, stage: Stage) -> Iterator[None]:
    """Shows the board while the block runs."""
    stage.on_post, stage.on_change, stage.on_call = board.on_post, board.on_change, board.on_call
    stop = threading.Event()
    bootstrap, dsn = str(stage.fields["kafka_bootstrap"]), str(stage.fields["postgres_dsn"])
    readers = [
        threading.Thread(target=_tail_log, args=(board, stop, bootstrap, stage.topic), daemon=True),
        threading.Thread(target=_tail_rows, args=(board, stop, dsn), daemon=True),
    ]
    for reader in readers:
        reader.start()
    try:
        with Live(board, console=console, refresh_per_second=8):
            yield
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def _tail_log(board: HopBoard, stop: threading.Event, bootstrap: str, topic: str) -> None:
    from confluent_kafka import OFFSET_END, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "demo-board", "log_level": 0})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_END) for partition in partitions])
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            event_id = dict(message.headers() or ()).get("ce_id") or b""
            text = event_id.decode() if isinstance(event_id, bytes) else event_id
            board.on_record(text, f"{message.partition()}:{message.offset()}")
    consumer.close()


def _tail_rows(board: HopBoard, stop: threading.Event, dsn: str) -> None:
    began = time.time()
    seen: set[str] = set()
    while not stop.is_set():
        with (
            suppress(psycopg.OperationalError),  # the store is away: rows come later
            psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection,
        ):
            while not stop.wait(_LOOK_SECONDS):
                for row in connection.execute(_ROWS, [began]):
                    if row["event_key"] not in seen:
                        seen.add(row["event_key"])
                        board.on_row(row)
        stop.wait(_LOOK_SECONDS)
