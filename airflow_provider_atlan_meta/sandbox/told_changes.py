"""The changes topic as any consumer sees it: read_committed, without a group, from now on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, TopicPartition

from airflow_provider_atlan_meta.sandbox.expected_deliveries import Told

_ANSWER_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_BATCH_MAX = 1000


@dataclass(frozen=True)
class ReadChange:
    """:param at: seconds since 1970, when it was read. :param place: ``partition:offset``."""

    told: Told
    at: float
    place: str


class ToldChanges:
    """Keeps every change message from :meth:`listen` on.

    :param on_change: told of each.
    """

    def __init__(
        self, bootstrap: str, topic: str, *, on_change: Callable[[ReadChange], None] = lambda _: None
    ) -> None:
        self._bootstrap, self._topic, self._on_change = bootstrap, topic, on_change
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._changes: list[Told] = []
        self._keeps = True

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def listen(self) -> None:
        """Begins here; returns when it does."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "demo-changes",  # required by the library; nothing is committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        partitions = consumer.list_topics(self._topic, _ANSWER_SECONDS).topics[self._topic].partitions
        places = [TopicPartition(self._topic, partition) for partition in partitions]
        for place in places:
            place.offset = consumer.get_watermark_offsets(place, timeout=_ANSWER_SECONDS)[1]
        consumer.assign(places)
        self._thread = threading.Thread(target=self._run, args=(consumer,), name="told-changes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def forget(self) -> None:
        """Keeps nothing any more; ``on_change`` is told on."""
        with self._guard:
            self._keeps = False
            self._changes.clear()

    def read(self) -> Sequence[Told]:
        """All until now; of one partition in the order of the log."""
        with self._guard:
            return list(self._changes)

    def _run(self, consumer: Consumer) -> None:
        while not self._stop.is_set():
            first = consumer.poll(_LOOK_SECONDS)
            if first is not None:
                self._take([first, *consumer.consume(_BATCH_MAX, 0)])
        consumer.close()

    def _take(self, messages: Sequence[Any]) -> None:
        at = time.time()
        for message in messages:
            if message.error() is None and message.value():
                told = Told.parse(message.value())
                with self._guard:
                    if self._keeps:
                        self._changes.append(told)
                self._on_change(ReadChange(told, at, f"{message.partition()}:{message.offset()}"))
