"""A Kafka topic in memory: ``MemoryTopic`` is what the broker keeps, ``MemoryLog`` one reader of it.

    topic = MemoryTopic(partitions=2)
    topic.append(0, webhook_record("inc-1"))
    log = MemoryLog(topic)
    log.assign({0: 0, 1: 0})
    assert log.poll(1000, 1.0).ends == {0: 1, 1: 0}

Held to the same contract suite as the real reader (``tests/contract/record_log.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from airflow_provider_atlan_meta.core.errors import AtlanMetaError, TerminalError
from airflow_provider_atlan_meta.core.ports import LogIdentity, Poll
from airflow_provider_atlan_meta.core.rows import LogRecord
from airflow_provider_atlan_meta.testing.clock import ManualClock


class MemoryTopic:
    """Partitions with offsets, retention and transactions. An offset holds a record, or nothing a reader sees."""

    def __init__(
        self,
        name: str = "meta.events.v1",
        *,
        partitions: int = 1,
        cluster_id: str = "memory",
        topic_id: str = "topic-1",
    ) -> None:
        self.identity = LogIdentity(
            cluster_id=cluster_id, topic=name, topic_id=topic_id, partitions=tuple(range(partitions))
        )
        self._offsets: dict[int, list[LogRecord | None]] = {p: [] for p in self.identity.partitions}
        self._first = dict.fromkeys(self.identity.partitions, 0)
        self._open_since: dict[int, int] = {}

    def append(self, partition: int, *records: LogRecord) -> int:
        """Puts records at the end of the partition, whatever partition and offset they name; the new end."""
        offsets = self._offsets[partition]
        for record in records:
            offsets.append(record._replace(partition=partition, offset=len(offsets)))
        return len(offsets)

    def begin(self, partition: int) -> None:
        """From here on a transaction is open: what is appended is not stable."""
        self._open_since.setdefault(partition, len(self._offsets[partition]))

    def commit(self, partition: int) -> int:
        """Ends the transaction; its marker takes an offset. Without one open it is a marker alone."""
        self._open_since.pop(partition, None)
        self._offsets[partition].append(None)
        return len(self._offsets[partition])

    def abort(self, partition: int) -> int:
        """Ends the transaction; its records are never seen, their offsets stay taken."""
        offsets = self._offsets[partition]
        since = self._open_since.pop(partition, len(offsets))
        offsets[since:] = [None] * (len(offsets) - since + 1)
        return len(offsets)

    def delete_before(self, partition: int, offset: int) -> None:
        """As retention does."""
        self._first[partition] = offset

    def bounds(self, partition: int) -> tuple[int, int]:
        """(first offset kept, last stable offset)"""
        return self._first[partition], self._open_since.get(partition, len(self._offsets[partition]))

    def has(self, partition: int, offset: int) -> bool:
        """Whether a reader may stand there."""
        return self._first[partition] <= offset <= len(self._offsets[partition])

    def read(self, partition: int, start: int) -> list[LogRecord]:
        """The stable records from ``start`` on."""
        _, end = self.bounds(partition)
        return [record for record in self._offsets[partition][start:end] if record is not None]


class MemoryLog:
    """Implements ``core.ports.RecordLog``. An empty poll passes its timeout on the clock instead of sleeping.

    As in Kafka, an end is told once, until something new is behind it, and counts as one of ``max_records``.
    """

    def __init__(self, topic: MemoryTopic, *, clock: ManualClock | None = None) -> None:
        self._topic = topic
        self._clock = clock or ManualClock()
        self._positions: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._errors: deque[AtlanMetaError | None] = deque()
        self.is_closed = False

    def fail_next(self, *errors: AtlanMetaError | None) -> None:
        """The next calls that reach the broker (all but ``assign``) raise these, one each; None: it works."""
        self._errors.extend(errors)

    def identify(self) -> LogIdentity:
        self._reach_broker()
        return self._topic.identity

    def bounds(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        self._reach_broker()
        return {partition: self._topic.bounds(partition) for partition in partitions}

    def assign(self, positions: Mapping[int, int]) -> None:
        self._positions = dict(positions)
        self._told = {}

    def poll(self, max_records: int, timeout_seconds: float) -> Poll:
        self._reach_broker()
        records: list[LogRecord] = []
        ends: dict[int, int] = {}
        for partition in sorted(self._positions):
            room = max_records - len(records) - len(ends)
            if room <= 0:
                break
            found = self._read(partition, room)
            records += found
            _, end = self._topic.bounds(partition)
            if len(found) < room and self._told.get(partition) != end and self._positions[partition] <= end:
                self._positions[partition] = ends[partition] = self._told[partition] = end
        if not records and not ends:
            self._clock.advance(timeout_seconds)
        return Poll(records, ends)

    def close(self) -> None:
        self.is_closed = True

    def _read(self, partition: int, room: int) -> list[LogRecord]:
        position = self._positions[partition]
        if not self._topic.has(partition, position):
            raise TerminalError(
                f"{self._topic.identity.topic}/{partition}: offset {position} is not in the log. Nothing was skipped"
            )
        found = self._topic.read(partition, position)[:room]
        if found:
            self._positions[partition] = found[-1].offset + 1
        return found

    def _reach_broker(self) -> None:
        error = self._errors.popleft() if self._errors else None
        if error is not None:
            raise error
