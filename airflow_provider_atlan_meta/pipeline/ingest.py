"""Topic to store: one engine for the service (``follow``) and for a bounded run (``drain``).

The ledger, not Kafka, knows where a partition stands. A cursor moves only in the transaction that writes every
record before it, so a crash at any point repeats nothing and skips nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_atlan_meta.core.errors import LeaseLostError, TerminalError, TransientError
from airflow_provider_atlan_meta.core.ports import (
    EventStore,
    ForeignLease,
    Lease,
    LeaseOwner,
    Ledger,
    LogIdentity,
    RecordLog,
)
from airflow_provider_atlan_meta.core.rows import EventRow, LogRecord
from airflow_provider_atlan_meta.pipeline.batches import BatchWriter, Written

SINK = "postgres"
# A store's day partitions are made a week ahead; once an hour is plenty.
_DAYS_EVERY_SECONDS = 3600.0
# A bounded run that sees lag and gets no record for this long does not pretend to be done.
_STALLED_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class PartitionRange:
    """Offsets [start, end) of one partition, committed."""

    topic: str
    partition: int
    start: int
    end: int
    records: int
    duplicates: int = 0
    rejected: int = 0
    changes: int = 0


@dataclass(frozen=True, kw_only=True)
class IngestPolicy:
    """:param batch_records: per transaction, at most 1,000: a batch is one statement.
    :param max_partitions: of one ``follow``; None: all that are free.
    """

    batch_records: int = 1000
    lease_seconds: float = 30.0
    max_partitions: int | None = None

    @property
    def renew_seconds(self) -> float:
        """Well inside the lease: one missed renewal is survived."""
        return min(10.0, self.lease_seconds / 3)


@dataclass(frozen=True, kw_only=True)
class DrainLimits:
    max_records: int = 10_000
    max_seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class IngestOutcome:
    """What a bounded run did.

    :param owned_by: partition -> who else owns it and works; they are not ours to read.
    :param lag: records of our partitions that the limits left for the next run.
    """

    topic: str
    records: int = 0
    duplicates: int = 0
    rejected: int = 0
    ranges: tuple[PartitionRange, ...] = ()
    owned_by: Mapping[int, str] = field(default_factory=dict)
    lag: int = 0
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe and small: fit for an XCom."""
        return {**asdict(self), "owned_by": {str(p): label for p, label in self.owned_by.items()}}


def _ignore(_: PartitionRange) -> None:
    return


@dataclass(frozen=True)
class Listener:
    """Who hears of committed work, as it happens.

    :param batch: every committed range. :param event: every event of it with its partition; None: nobody asks.
    """

    batch: Callable[[PartitionRange], None] = _ignore
    event: Callable[[EventRow, int], None] | None = None


class Ingest:
    """One owner's work on one topic. Not thread-safe; one call of ``drain`` or ``follow`` at a time.

    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        log: RecordLog,
        ledger: Ledger,
        store: EventStore,
        owner: LeaseOwner,
        policy: IngestPolicy,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._ledger = ledger
        self._store = store
        self._owner = owner
        self._policy = policy
        self._listener = listener or Listener()
        self._clock = clock
        self._writer = BatchWriter(
            store, sink=SINK, lease_seconds=policy.lease_seconds, told=self._listener.event
        )
        self._leases: dict[int, Lease] = {}
        self._renewed_at = 0.0
        self.is_following = False
        self.has_committed = False

    # ---- a bounded run -------------------------------------------------------------------------------------------

    def look(self) -> IngestOutcome:
        """What ``drain`` would read, by offsets alone (transaction markers count); takes and changes nothing."""
        identity = self._log.identify()
        bounds = self._log.bounds(identity.partitions)
        cursors, foreign = self._ledger.look(identity)
        owned_by = {lease.partition: lease.label for lease in foreign}
        ranges = []
        for partition, (first, end) in sorted(bounds.items()):
            start = cursors.get(partition, first)
            if start < end and partition not in owned_by:
                ranges.append(
                    PartitionRange(
                        topic=identity.topic, partition=partition, start=start, end=end, records=end - start
                    )
                )
        lag = sum(part.records for part in ranges)
        return IngestOutcome(
            topic=identity.topic, records=lag, ranges=tuple(ranges), owned_by=owned_by, lag=lag, dry_run=True
        )

    def drain(self, limits: DrainLimits) -> IngestOutcome:
        """From the ledger to the last stable offset at the start, within ``limits``; then lets go of everything.

        :raises TransientError: try again (``retry_after``): the store is away, an earlier try of the same task still
            holds its lease, or an owner that lives does not move.
        :raises TerminalError: the ledger and the log do not fit together.
        """
        started = self._clock()
        identity = self._log.identify()
        bounds = self._log.bounds(identity.partitions)
        taken = self._ledger.take(identity, _first(bounds), len(identity.partitions))
        self._leases = {lease.partition: lease for lease in taken.leases}
        self._renewed_at = started
        ranges: list[PartitionRange] = []
        lost: dict[int, str] = {}
        try:
            _check_cursors(identity, self._leases.values(), bounds)
            self._store.ensure_event_days()
            self._drain_to(
                identity, {p: end for p, (_, end) in bounds.items()}, limits, started, ranges, lost
            )
        finally:
            left = list(self._leases.values())
            self._let_go(identity)
        owned = _owned_by(identity, taken.foreign, bounds, self._owner, self._policy.lease_seconds)
        return IngestOutcome(
            topic=identity.topic,
            records=sum(r.records for r in ranges),
            duplicates=sum(r.duplicates for r in ranges),
            rejected=sum(r.rejected for r in ranges),
            ranges=_joined(ranges),
            owned_by={**owned, **lost},
            lag=sum(max(0, bounds[lease.partition][1] - lease.next_offset) for lease in left),
        )

    def _drain_to(
        self,
        identity: LogIdentity,
        ends: Mapping[int, int],
        limits: DrainLimits,
        started: float,
        ranges: list[PartitionRange],
        lost: dict[int, str],
    ) -> None:
        open_ends = {p: ends[p] for p, lease in self._leases.items() if lease.next_offset < ends[p]}
        if not open_ends:
            return
        self._log.assign({p: self._leases[p].next_offset for p in open_ends})
        done, heard_at = 0, self._clock()
        while open_ends and done < limits.max_records and self._clock() - started < limits.max_seconds:
            self._renew_when_due(identity)
            poll = self._log.poll(min(self._policy.batch_records, limits.max_records - done), 1.0)
            batches = _by_partition(poll.records, open_ends)
            for partition, end in poll.ends.items():
                # behind the last record there may be transaction markers: offsets, not records
                if partition in open_ends and end >= open_ends[partition]:
                    batches.setdefault(partition, [])
            for partition, records in batches.items():
                reached = open_ends[partition] if partition in poll.ends else records[-1].offset + 1
                committed = self._commit(identity, partition, records, reached, lost)
                if committed is None or committed.end >= open_ends[partition]:
                    del open_ends[partition]
                if committed is not None:
                    ranges.append(committed)
                    done += committed.records
                    heard_at = self._clock()
            if self._clock() - heard_at > _STALLED_SECONDS:
                raise TransientError(
                    f"{identity.topic}: no record for {_STALLED_SECONDS:.0f} s although partitions {sorted(open_ends)} "
                    "have lag; nothing was lost, the ledger stands at the last commit"
                )

    # ---- the service ---------------------------------------------------------------------------------------------

    def follow(self, stopped: Callable[[], bool]) -> None:
        """Works until ``stopped()``: takes free partitions, and more as others let go of theirs.

        Returns within about a second of ``stopped()`` turning true, with every lease released.

        :raises TransientError: start again: everything is read from the ledger anew.
        """
        identity = self._log.identify()
        days_at = take_at = -1e9
        self._leases = {}
        try:
            while not stopped():
                now = self._clock()
                if now - days_at > _DAYS_EVERY_SECONDS:
                    self._store.ensure_event_days()
                    days_at = now
                if now - take_at > self._policy.lease_seconds / 6:
                    self._take_more(identity)
                    take_at = now
                    self.is_following = True
                self._renew_when_due(identity)
                if not self._step(identity):
                    take_at = -1e9
        finally:
            self._let_go(identity)

    def _step(self, identity: LogIdentity) -> bool:
        """One look at the log and its commits; False: a partition was lost, look for others at once."""
        lost: dict[int, str] = {}
        poll = self._log.poll(self._policy.batch_records, min(1.0, self._policy.renew_seconds))
        for partition, records in _by_partition(poll.records, None).items():
            if partition in self._leases:
                self._commit(identity, partition, records, records[-1].offset + 1, lost)
        if lost:
            self._assign()
        return not lost

    def _take_more(self, identity: LogIdentity) -> None:
        limit = (self._policy.max_partitions or len(identity.partitions)) - len(self._leases)
        others = [p for p in identity.partitions if p not in self._leases]
        if limit <= 0 or not others:
            return
        bounds = self._log.bounds(others)
        before = self._clock()
        taken = self._ledger.take(identity, _first(bounds), limit)
        if not taken.leases:
            return
        self._leases.update({lease.partition: lease for lease in taken.leases})
        _check_cursors(identity, taken.leases, bounds)
        if len(self._leases) == len(taken.leases):
            self._renewed_at = before
        self._assign()

    def _assign(self) -> None:
        self._log.assign({p: lease.next_offset for p, lease in self._leases.items()})

    # ---- both ----------------------------------------------------------------------------------------------------

    @property
    def owned(self) -> tuple[int, ...]:
        """Partitions held right now."""
        return tuple(sorted(self._leases))

    def _commit(
        self, identity: LogIdentity, partition: int, records: list[LogRecord], end: int, lost: dict[int, str]
    ) -> PartitionRange | None:
        lease = self._leases[partition]
        try:
            written: Written = self._writer.write(identity, lease, records, end)
        except LeaseLostError:
            del self._leases[partition]
            lost[partition] = "taken over by another owner"
            return None
        self._leases[partition] = written.lease
        self.has_committed = True
        committed = PartitionRange(
            topic=identity.topic,
            partition=partition,
            start=lease.next_offset,
            end=end,
            records=len(records),
            duplicates=written.duplicates,
            rejected=written.rejected,
            changes=written.changes,
        )
        self._listener.batch(committed)
        return committed

    def _renew_when_due(self, identity: LogIdentity) -> None:
        now = self._clock()
        if self._leases and now - self._renewed_at >= self._policy.renew_seconds:
            kept = self._ledger.renew(identity, list(self._leases.values()))
            self._leases = {p: lease for p, lease in self._leases.items() if p in kept}
            self._renewed_at = now

    def _let_go(self, identity: LogIdentity) -> None:
        leases, self._leases = list(self._leases.values()), {}
        if leases:
            try:
                self._ledger.release(identity, leases)
            except TransientError:
                # the store is away: the leases run out by themselves
                return


def _first(bounds: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """An unknown partition starts at the oldest record that is kept: accepted means kept."""
    return {partition: first for partition, (first, _) in bounds.items()}


def _by_partition(records: Iterable[LogRecord], ends: Mapping[int, int] | None) -> dict[int, list[LogRecord]]:
    batches: dict[int, list[LogRecord]] = {}
    for record in records:
        if ends is None or record.offset < ends.get(record.partition, 0):
            batches.setdefault(record.partition, []).append(record)
    return batches


def _check_cursors(
    identity: LogIdentity, leases: Iterable[Lease], bounds: Mapping[int, tuple[int, int]]
) -> None:
    for lease in leases:
        first, end = bounds[lease.partition]
        where = f"{identity.topic}/{lease.partition}: the ledger stands at {lease.next_offset}"
        if lease.next_offset < first:
            raise TerminalError(
                f"{where}, but the log begins at {first}: {first - lease.next_offset} records were deleted by "
                "retention before they were read. Nothing was skipped; decide what they were, then set the ledger"
            )
        if lease.next_offset > end:
            raise TerminalError(
                f"{where}, but the log ends at {end}: it is not the log the ledger was written for. Nothing was read"
            )


def _owned_by(
    identity: LogIdentity,
    foreign: Iterable[ForeignLease],
    bounds: Mapping[int, tuple[int, int]],
    owner: LeaseOwner,
    lease_seconds: float,
) -> dict[int, str]:
    """Who else works; raises where "owned by" would hide a partition nobody moves."""
    owned = {}
    for lease in foreign:
        where = f"{identity.topic}/{lease.partition} is held by {lease.label}"
        if owner.is_earlier_try(lease.label):
            raise TransientError(
                f"{where}, an earlier try of this task, for {lease.left_seconds:.0f} s more",
                retry_after=lease.left_seconds + 1,
            )
        if lease.moved_seconds > 2 * lease_seconds and lease.next_offset < bounds[lease.partition][1]:
            raise TransientError(
                f"{where}, which has not moved it for {lease.moved_seconds:.0f} s although it has lag",
                retry_after=max(5.0, lease.left_seconds),
            )
        owned[lease.partition] = lease.label
    return owned


def _joined(ranges: Iterable[PartitionRange]) -> tuple[PartitionRange, ...]:
    """One range per partition: batches of a run follow each other."""
    whole: dict[int, PartitionRange] = {}
    for part in ranges:
        known = whole.get(part.partition)
        if known is None:
            whole[part.partition] = part
            continue
        whole[part.partition] = PartitionRange(
            topic=part.topic,
            partition=part.partition,
            start=known.start,
            end=part.end,
            records=known.records + part.records,
            duplicates=known.duplicates + part.duplicates,
            rejected=known.rejected + part.rejected,
            changes=known.changes + part.changes,
        )
    return tuple(whole[partition] for partition in sorted(whole))
