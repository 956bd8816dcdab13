"""The ledger of deliveries in memory, over the database whose leases ``MemoryLedger`` gives.

    database = MemoryDatabase()
    leases = MemoryLedger(database, owner, sink="consumer")
    ledger = MemoryDeliveries(database)
    ledger.answer_next(Answer.LOST)   # the next call takes effect, its caller never hears of it

What is stored is in ``database.deliveries``. Held to the same contract suite as the real ledger
(``tests/contract/delivery_ledger.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

from airflow_provider_atlan_meta.core.deliveries import (
    Begun,
    DeliveryEntry,
    DueLane,
    DueScan,
    PartitionWrite,
    Subject,
)
from airflow_provider_atlan_meta.core.delivery_entries import compact, later_delivery, once_each
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import Lease, LogIdentity
from airflow_provider_atlan_meta.testing.memory_database import (
    LedgerKey,
    LedgerRow,
    MemoryDatabase,
    keep_letters,
)
from airflow_provider_atlan_meta.testing.memory_store import Answer

Result = TypeVar("Result")


class MemoryDeliveries:
    """Implements ``core.deliveries.DeliveryLedger`` on the database's clock."""

    def __init__(
        self, database: MemoryDatabase, *, sink: str = "consumer", lease_seconds: float = 30.0
    ) -> None:
        self._database = database
        self._tables = database.deliveries
        self._sink = sink
        self._lease_seconds = lease_seconds
        self._answers: deque[Answer] = deque()
        self.is_closed = False

    def answer_next(self, *answers: Answer) -> None:
        """The next calls, whichever they are, are answered so, one each; then normally again."""
        self._answers.extend(answers)

    def begin(
        self, log: LogIdentity, reach: Mapping[Lease, int], subjects: Sequence[Subject], *, with_last: bool
    ) -> Begun:
        return self._answer(lambda: self._begin(log, dict(reach), set(subjects), with_last))

    def claim(self, log: LogIdentity, lease: Lease, claims: Sequence[DeliveryEntry]) -> Mapping[UUID, int]:
        return self._answer(lambda: self._claim(log, lease, claims))

    def write(self, log: LogIdentity, writes: Sequence[PartitionWrite]) -> frozenset[int]:
        return self._answer(
            lambda: frozenset(
                write.lease.partition for write in map(compact, writes) if not self._write(log, write)
            )
        )

    def write_late(self, log: LogIdentity, delivered: Sequence[tuple[int, DeliveryEntry]]) -> None:  # noqa: ARG002
        self._answer(lambda: self._write_late(delivered))

    def due(
        self,
        log: LogIdentity,  # noqa: ARG002 - a lane has the number of its partition
        partitions: Sequence[int],
        *,
        lanes: int,
        deliveries: int,
    ) -> tuple[DueLane, ...]:
        return self._answer(lambda: self._due(partitions, lanes, deliveries))

    def due_scans(self, log: LogIdentity, partitions: Sequence[int], *, limit: int) -> tuple[DueScan, ...]:  # noqa: ARG002
        return self._answer(lambda: self._due_scans(partitions, limit))

    def read_rows(self, subjects: Sequence[Subject]) -> Mapping[Subject, tuple[int, bytes]]:
        rows = self._tables.rows
        return self._answer(lambda: {subject: rows[subject] for subject in subjects if subject in rows})

    def close(self) -> None:
        self.is_closed = True

    # ---- what the server does ------------------------------------------------------------------------------------

    def _answer(self, statement: Callable[[], Result]) -> Result:
        self._database.check_up()
        answer = self._answers.popleft() if self._answers else Answer.NORMAL
        if answer is Answer.NORMAL:
            return statement()
        if answer is Answer.LATE:
            self._database.later(lambda: _drop(statement()))
        elif answer is Answer.LOST:
            statement()
        raise TransientError(
            "the database did not answer; whether the call had effect is for the ledger to say"
        )

    def _begin(
        self, log: LogIdentity, reach: Mapping[Lease, int], subjects: set[Subject], with_last: bool
    ) -> Begun:
        now, tables = self._database.clock(), self._tables
        lost, reached = set(), {}
        for lease, offset in reach.items():
            row = self._held(log, lease)
            if row is None:
                lost.add(lease.partition)
                continue
            reached[lease.partition] = row.reach
            row.reach = max(row.reach, offset)
            row.expires_at = now + self._lease_seconds
        return Begun(
            lost=frozenset(lost),
            reached=reached,
            lanes={
                key: tables.lane_row(key, now, with_last=with_last)
                for key in tables.lanes
                if key.subject in subjects
            },
            seen={subject: tables.seen[subject] for subject in subjects if subject in tables.seen},
            version=tables.version,
        )

    def _claim(self, log: LogIdentity, lease: Lease, claims: Sequence[DeliveryEntry]) -> dict[UUID, int]:
        if self._held(log, lease) is None:
            return {}
        now = self._database.clock()
        claims = once_each(claims, lambda one: one.delivery_id, later_delivery)
        self._tables.end_claims(claims)
        attempts = {one.delivery_id: self._tables.claim(lease.partition, one, now) for one in claims}
        return {delivery: attempt for delivery, attempt in attempts.items() if attempt is not None}

    def _write(self, log: LogIdentity, write: PartitionWrite) -> bool:
        """False: the partition is somebody else's."""
        row, now = self._held(log, write.lease), self._database.clock()
        if row is None:
            return False
        number = row.write_number if row.write_epoch == row.epoch else 0
        if write.number not in (number, number + 1):
            return False
        row.expires_at = now + self._lease_seconds
        if write.number == number:
            return True
        row.write_epoch, row.write_number = row.epoch, write.number
        if write.end > row.next_offset:
            row.next_offset, row.moved_at = write.end, now
        row.reach = row.reach if write.reach is None else write.reach
        self._tables.wake_parts(write.lease.partition, write.lanes, now)
        for lane in write.lanes:
            self._tables.put_lane(write.lease.partition, lane, now)
        for entry in write.deliveries:
            self._tables.put(entry, now)
        for subject, revision in write.seen:
            self._tables.seen[subject] = max(revision, self._tables.seen.get(subject, 0))
        keep_letters(self._database.tables, self._key(log, write.lease.partition), write.dead_letters)
        return True

    def _write_late(self, delivered: Sequence[tuple[int, DeliveryEntry]]) -> None:
        now = self._database.clock()
        for partition, entry in delivered:
            self._tables.put_late(partition, entry, now)

    def _due(self, partitions: Sequence[int], lanes: int, deliveries: int) -> tuple[DueLane, ...]:
        now, tables = self._database.clock(), self._tables
        waiting = [
            (lane.due_at, key, lane.partition)
            for key, lane in tables.lanes.items()
            if lane.partition in partitions and lane.due_at is not None and lane.due_at <= now
        ]
        found = []
        for _, key, partition in sorted(waiting)[:lanes]:
            parked = tuple(one.parked for one in tables.open_of(key))
            row = tables.lane_row(key, now, with_last=True)
            found.append(DueLane(partition, row, parked[:deliveries], len(parked) > deliveries))
        return tuple(found)

    def _due_scans(self, partitions: Sequence[int], limit: int) -> tuple[DueScan, ...]:
        now, tables = self._database.clock(), self._tables
        waiting = sorted(
            (one.scan_at, one.entry.delivery_id, one)
            for one in tables.deliveries.values()
            if one.scan_at is not None and one.scan_at <= now
        )
        scans = [
            DueScan(
                tables.lanes[one.entry.key].partition,
                tables.lane_row(one.entry.key, now, with_last=False),
                one.parked,
            )
            for _, _, one in waiting
            if one.entry.key in tables.lanes and tables.lanes[one.entry.key].partition in partitions
        ]
        return tuple(scans[:limit])

    def _key(self, log: LogIdentity, partition: int) -> LedgerKey:
        return (log.cluster_id, log.topic, partition, self._sink)

    def _held(self, log: LogIdentity, lease: Lease) -> LedgerRow | None:
        row = self._database.ledger.get(self._key(log, lease.partition))
        return row if row is not None and row.epoch == lease.epoch else None


def _drop(_: object) -> None:
    """A late statement's result reaches nobody."""
