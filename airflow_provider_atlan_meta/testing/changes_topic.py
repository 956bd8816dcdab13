"""Reads a changes topic as any consumer would: read_committed, from its beginning, one order per partition."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer


@dataclass(frozen=True)
class Record:
    """One change as it was received.

    :param received_at: seconds since 1970, when the poll returned it."""

    key: bytes
    value: bytes
    partition: int
    headers: dict[str, Any]
    received_at: float

    @property
    def change(self) -> dict[str, Any]:
        return dict(json.loads(self.value))

    @property
    def revision(self) -> tuple[str, int]:
        change = self.change
        return change["id"], change["revision"]


class ChangesTopic:
    """Everything read so far is kept."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": uuid4().hex,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
                "reconnect.backoff.max.ms": 500,
                "log_level": 2,
            }
        )
        self._consumer.subscribe([topic])
        self.records: list[Record] = []

    def read_until(self, enough: Callable[[list[Record]], bool], seconds: float = 30) -> list[Record]:
        """:raises TimeoutError: not in time; tells the last revisions that came."""
        deadline = time.monotonic() + seconds
        while not enough(self.records):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"not within {seconds} s: {len(self.records)} records, {self._last()} the last"
                )
            self.poll()
        return self.records

    def _last(self) -> list[tuple[str, int]]:
        return [record.revision for record in self.records[-10:]]

    def poll(self) -> None:
        """Takes what is there."""
        first = self._consumer.poll(0.02)
        if first is None:
            return
        # a batch is waited for until it is full: only what has come already
        for message in (first, *self._consumer.consume(1000, 0)):
            if message.error() is None:
                headers: dict[str, Any] = dict(message.headers() or [])
                key, value, partition = message.key(), message.value(), message.partition()
                self.records.append(
                    Record(bytes(key or b""), bytes(value or b""), int(partition or 0), headers, time.time())
                )

    def settle(self, seconds: float = 2.0) -> list[Record]:
        """Goes on until nothing has come for so long: what was sent twice has come by then."""
        quiet, seen = time.monotonic(), len(self.records)
        while time.monotonic() - quiet < seconds:
            self.poll()
            if len(self.records) > seen:
                quiet, seen = time.monotonic(), len(self.records)
        return self.records

    def close(self) -> None:
        self._consumer.close()


@contextmanager
def changes_topic(bootstrap: str, topic: str) -> Iterator[ChangesTopic]:
    reader = ChangesTopic(bootstrap, topic)
    try:
        yield reader
    finally:
        reader.close()


def revisions_by_row(records: list[Record]) -> dict[str, list[int]]:
    """Row id -> revisions in the order they were read."""
    found: dict[str, list[int]] = defaultdict(list)
    for record in records:
        row, revision = record.revision
        found[row].append(revision)
    return dict(found)


def newest_by_row(records: list[Record]) -> dict[str, dict[str, Any]]:
    """Row id -> its change, as a reader keeps it who drops what is older than the highest revision seen."""
    newest: dict[str, dict[str, Any]] = {}
    for record in records:
        change = record.change
        if change["id"] not in newest or change["revision"] >= newest[change["id"]]["revision"]:
            newest[change["id"]] = change
    return newest
