"""Who moved the ledger: the service lane or the DAG lane. Read from PostgreSQL, not from our counters."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg

SERVICE, DAG = "service", "dag"
_LOOK_SECONDS = 0.2
_TASK_LABEL = re.compile(r"[^/\s]+/.+/[^/]+#\d+")
_POSITIONS = "select partition, next_offset, owner_label from meta.ingest_offset where topic = %s"
_LIVE_OWNERS = """
  select distinct owner_label from meta.ingest_offset
   where topic = %s and expires_at > clock_timestamp() and starts_with(owner_label, %s)"""


def lane_of(owner_label: str) -> str:
    """A task's label is its address, ``dag/run/task#try``; a service's names its process, ``... host:pid``."""
    return DAG if _TASK_LABEL.fullmatch(owner_label) else SERVICE


@dataclass(frozen=True)
class TaskLease:
    """A DAG task that owns partitions now."""

    dag: str
    run: str
    task: str
    number: int

    @classmethod
    def parse(cls, owner_label: str) -> TaskLease:
        path, _, number = owner_label.rpartition("#")
        dag, rest = path.split("/", 1)
        run, task = rest.rsplit("/", 1)
        return cls(dag, run, task, int(number))


class Ledger:
    """The ledger of one topic, read with a connection of its own that is made anew when it breaks."""

    def __init__(self, dsn: str, topic: str) -> None:
        self._dsn, self._topic = dsn, topic
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None

    def _rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._dsn, autocommit=True, connect_timeout=3)
            return self._connection.execute(query, [self._topic, *parameters]).fetchall()
        except psycopg.OperationalError:
            self.close()
            raise

    def positions(self) -> dict[int, tuple[int, str]]:
        """partition -> (next offset, label of the last owner)"""
        return {int(str(p)): (int(str(offset)), str(label)) for p, offset, label in self._rows(_POSITIONS)}

    def total(self) -> int:
        """Records done in all partitions together."""
        return sum(offset for offset, _ in self.positions().values())

    def working_task(self, dag: str) -> TaskLease | None:
        """The task of ``dag`` that holds a live lease."""
        labels = [str(label) for (label,) in self._rows(_LIVE_OWNERS, f"{dag}/")]
        return TaskLease.parse(labels[0]) if labels else None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class LaneWatch:
    """Attributes every step of the ledger to the lane that owned the partition, from enter to exit."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lane-watch", daemon=True)
        self._seen: dict[int, int] = {}
        self.events: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._seen = {partition: offset for partition, (offset, _) in self._ledger.positions().items()}
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is None:
            self.look()
        self._ledger.close()

    def look(self) -> Counter[str]:
        """The events of each lane up to now."""
        with self._guard:
            for partition, (offset, label) in self._ledger.positions().items():
                self.events[lane_of(label)] += offset - self._seen.get(partition, 0)
                self._seen[partition] = offset
            return Counter(self.events)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            with suppress(psycopg.OperationalError):  # the store is down: that is part of the show
                self.look()


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.1) -> bool:
    """Whether it came true in time. A store that is down is not there yet."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(psycopg.OperationalError):
            if condition():
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
