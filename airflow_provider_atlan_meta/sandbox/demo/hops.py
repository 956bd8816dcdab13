"""Each webhook's way, hop by hop, as it happens: answer, place in the log, row, incident."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from rich.console import Console
from rich.live import Live
from rich.table import Table

from airflow_provider_atlan_meta.testing.manifest import SentPost

_SHOWN = 14
_LOOK_SECONDS = 0.05
_ROWS = """
  select e.event_key::text, e.event_id::text, e.duplicate_of is not null as duplicate,
         extract(epoch from pg_xact_commit_timestamp(e.xmin))::float8 as committed_at,
         coalesce(i.status, '-') as status, coalesce(i.severity, '-') as severity, i.revision
    from meta.event e left join meta.incident i on (i.tenant_id, i.incident_id) = (e.tenant_id, e.subject)
   where e.received_at >= to_timestamp(%s)"""


@dataclass
class Hop:
    """One post on its way; ``place`` and ``row`` are filled in when they are seen."""

    post: SentPost
    place: str = ""
    row: str = ""
    incident: str = ""


class HopBoard:
    """Joins answers, log records and rows by event id, each seen by its own reader."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._hops: deque[Hop] = deque(maxlen=_SHOWN)
        self._places: dict[str, deque[str]] = defaultdict(deque)
        self._rows: dict[str, deque[dict[str, Any]]] = defaultdict(deque)

    def on_post(self, post: SentPost) -> None:
        with self._guard:
            self._hops.append(Hop(post))

    def on_record(self, event_id: str, place: str) -> None:
        with self._guard:
            self._places[event_id].append(place)

    def on_row(self, row: dict[str, Any]) -> None:
        with self._guard:
            self._rows[row["event_id"]].append(row)

    def hops(self) -> list[Hop]:
        """The last posts, with everything known of them by now."""
        with self._guard:
            for hop in self._hops:
                self._fill(hop)
            return list(self._hops)

    def _fill(self, hop: Hop) -> None:
        for event_id in hop.post.ids:
            if not hop.place and self._places[event_id]:
                hop.place = self._places[event_id].popleft()
            if not hop.row and self._rows[event_id]:
                row = self._rows[event_id].popleft()
                hop.row = f"{(row['committed_at'] - hop.post.sent_at) * 1000:.0f} ms"
                hop.incident = (
                    "said before: changes nothing"
                    if row["duplicate"]
                    else f"status {row['status']}, severity {row['severity']}, revision {row['revision']}"
                    if row["revision"]
                    else "kept as an event"
                )

    def __rich__(self) -> Table:
        table = Table(title="signed webhook -> producer -> Kafka -> PostgreSQL", expand=True)
        for column in (
            "tenant",
            "what happened",
            "answer",
            "Kafka partition:offset",
            "POST to row",
            "incident",
        ):
            table.add_column(column, no_wrap=True)
        for hop in self.hops():
            post = hop.post
            took = f" in {(post.answered_at - post.sent_at) * 1000:.0f} ms" if post.answered_at else ""
            answer = f"{post.status or 'none'}{took}"
            colour = "green" if post.accepted else "yellow"
            table.add_row(post.tenant, post.kind, f"[{colour}]{answer}[/]", hop.place, hop.row, hop.incident)
        return table


@contextmanager
def live_hops(
    board: HopBoard, console: Console, *, kafka_bootstrap: str, topic: str, dsn: str
) -> Iterator[None]:
    """Shows the board while the block runs."""
    stop = threading.Event()
    readers = [
        threading.Thread(target=_tail_log, args=(board, stop, kafka_bootstrap, topic), daemon=True),
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
            psycopg.connect(dsn, autocommit=True, row_factory=psycopg.rows.dict_row) as connection,
        ):
            while not stop.wait(_LOOK_SECONDS):
                for row in connection.execute(_ROWS, [began]):
                    if row["event_key"] not in seen:
                        seen.add(row["event_key"])
                        board.on_row(row)
        stop.wait(_LOOK_SECONDS)
