"""Topic to store: one engine for the service (``follow``) and for a bounded run (``drain``).

The ledger, not Kafka, knows where a partition stands. A cursor moves only in the transaction that writes every
record before it, so a crash at any point repeats nothing and skips nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from airflow_provider_atlan_meta.core.errors import LeaseLostError, TransientError
from airflow_provider_atlan_meta.core.ports import (
    EventStore,
    Lease,
    LeaseOwner,
    Ledger,
    LogIdentity,
    RecordLog,
)
from airflow_provider_atlan_meta.core.rows import EventRow, LogRecord
from airflow_provider_atlan_meta.pipeline.batches import BatchWriter
from airflow_provider_atlan_meta.pipeline.derivation import UNMAPPED, Deriving
from airflow_provider_atlan_meta.pipeline.leases import (
    TAKEN_OVER,
    Bounds,
    check_cursors,
    ends_of,
    first_offsets,
    look,
    owned_by,
    progress,
)
from airflow_provider_atlan_meta.pipeline.outcomes import IngestOutcome, PartitionRange

SINK = "postgres"
# A store's day partitions are made a week ahead; once an hour is plenty.
_DAYS_EVERY_SECONDS = 3600.0
# A bounded run that sees lag and gets no record for this long does not pretend to be done.
_STALLED_SECONDS = 15.0


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


def _ignore(_: PartitionRange) -> None:
    return


@dataclass(frozen=True)
class Listener:
    """Who hears of committed work, as it happens.

    :param batch: every committed range. :param event: every event of it with its partition; None: nobody asks.
    """

    batch: Callable[[PartitionRange], None] = _ignore
    event: Callable[[EventRow, int], None] | None = None


@dataclass
class _Run:
    """A bounded run under way.

    :ivar ends: of the partitions that are not done yet.
    """

    identity: LogIdentity
    ends: dict[int, int]
    heard_at: float
    records: int = 0
    ranges: list[PartitionRange] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)

    def lose(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self.ends.pop(partition, None)
            self.lost[partition] = TAKEN_OVER


class Ingest:
    """One owner's work on one topic. Not thread-safe; one call of ``drain`` or ``follow`` at a time.

    :param derivation: what records are; without one every table is provisional.
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
        derivation: Deriving = UNMAPPED,
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
            store,
            sink=SINK,
            lease_seconds=policy.lease_seconds,
            decode=derivation.derive,
            refresh=derivation.refresh,
            ask=lambda events, current: derivation.answers(events, current, self._lease_left),
            told=self._listener.event,
        )
        self._leases: dict[int, Lease] = {}
        self._renewed_at = 0.0
        self.is_following = False
        self.has_committed = False

    # ---- a bounded run -------------------------------------------------------------------------------------------

    def look(self) -> IngestOutcome:
        """What ``drain`` would read, by offsets alone (transaction markers count); takes and changes nothing."""
        unread = look(self._log, self._ledger)
        return IngestOutcome(
            topic=unread.topic,
            records=unread.records,
            ranges=unread.ranges,
            owned_by=unread.owned_by,
            lag=unread.records,
            dry_run=True,
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
        taken = self._ledger.take(identity, first_offsets(bounds), len(identity.partitions))
        self._leases = {lease.partition: lease for lease in taken.leases}
        self._renewed_at = started
        run = _Run(identity, ends_of(taken.leases, bounds), started)
        try:
            self._check_cursors(identity, taken.leases, bounds)
            self._store.ensure_event_days()
            self._drain_to(run, limits, started)
        finally:
            left = list(self._leases.values())
            self._let_go(identity)
        owned = owned_by(identity, taken.foreign, bounds, self._owner, self._policy.lease_seconds)
        lag = sum(max(0, bounds[lease.partition][1] - lease.next_offset) for lease in left)
        return IngestOutcome.of(identity.topic, run.ranges, owned_by={**owned, **run.lost}, lag=lag)

    def _drain_to(self, run: _Run, limits: DrainLimits, started: float) -> None:
        if run.ends:
            self._log.assign({partition: self._leases[partition].next_offset for partition in run.ends})
        run.heard_at = self._clock()
        while run.ends and run.records < limits.max_records and self._clock() - started < limits.max_seconds:
            run.lose(self._renew_when_due(run.identity))
            poll = self._log.poll(min(self._policy.batch_records, limits.max_records - run.records), 1.0)
            read = progress(poll, run.ends)
            for partition, (records, reached) in read.items():
                self._drain_batch(run, partition, records, reached)
            if read:
                run.heard_at = self._clock()
            elif self._clock() - run.heard_at > _STALLED_SECONDS:
                raise TransientError(
                    f"{run.identity.topic}: no record for {_STALLED_SECONDS:.0f} s although partitions "
                    f"{sorted(run.ends)} have lag; nothing was lost, the ledger stands at the last commit"
                )

    def _drain_batch(self, run: _Run, partition: int, records: list[LogRecord], reached: int) -> None:
        if reached <= self._leases[partition].next_offset:
            return
        committed = self._commit(run.identity, partition, records, reached)
        if committed is None:
            run.lose([partition])
            return
        run.ranges.append(committed)
        run.records += committed.records
        if reached >= run.ends[partition]:
            del run.ends[partition]

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
                if self._renew_when_due(identity) or not self._step(identity):
                    # a partition was lost: read no more of it, and look for others at once
                    self._assign()
                    take_at = -1e9
        finally:
            self._let_go(identity)

    def _step(self, identity: LogIdentity) -> bool:
        """One look at the log and its commits; False: a partition was lost."""
        held = len(self._leases)
        poll = self._log.poll(self._policy.batch_records, min(1.0, self._policy.renew_seconds))
        for partition, (records, reached) in progress(poll, dict.fromkeys(self._leases, sys.maxsize)).items():
            if reached > self._leases[partition].next_offset:
                self._commit(identity, partition, records, reached)
        return len(self._leases) == held

    def _take_more(self, identity: LogIdentity) -> None:
        limit = (self._policy.max_partitions or len(identity.partitions)) - len(self._leases)
        others = [p for p in identity.partitions if p not in self._leases]
        if limit <= 0 or not others:
            return
        bounds = self._log.bounds(others)
        before = self._clock()
        taken = self._ledger.take(identity, first_offsets(bounds), limit)
        if not taken.leases:
            return
        self._leases.update({lease.partition: lease for lease in taken.leases})
        self._check_cursors(identity, taken.leases, bounds)
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

    def _check_cursors(self, identity: LogIdentity, leases: Iterable[Lease], bounds: Bounds) -> None:
        """The owner before us may have read on between our look at the ends and our take: then look again."""
        ahead = [lease.partition for lease in leases if lease.next_offset > bounds[lease.partition][1]]
        check_cursors(identity, leases, {**bounds, **self._log.bounds(ahead)} if ahead else bounds)

    def _commit(
        self, identity: LogIdentity, partition: int, records: list[LogRecord], end: int
    ) -> PartitionRange | None:
        """None: the partition is somebody else's now, and ours no more."""
        lease = self._leases[partition]
        try:
            written = self._writer.write(identity, lease, records, end)
        except LeaseLostError:
            del self._leases[partition]
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

    def _lease_left(self) -> float:
        """Seconds at least, of any lease."""
        return self._policy.lease_seconds - (self._clock() - self._renewed_at)

    def _renew_when_due(self, identity: LogIdentity) -> set[int]:
        """The partitions that turned out to be lost."""
        now = self._clock()
        if not self._leases or now - self._renewed_at < self._policy.renew_seconds:
            return set()
        lost = self._leases.keys() - self._ledger.renew(identity, list(self._leases.values()))
        self._leases = {p: lease for p, lease in self._leases.items() if p not in lost}
        self._renewed_at = now
        return lost

    def _let_go(self, identity: LogIdentity) -> None:
        leases, self._leases = list(self._leases.values()), {}
        if leases:
            try:
                self._ledger.release(identity, leases)
            except TransientError:
                # the store is away: the leases run out by themselves
                return
