"""PostgreSQL to one store that follows it: one engine for the service (``follow``) and for a bounded run (``drain``).

Rows are followed, not records: whatever changed a row makes it dirty. What a worker has sent it settles even after
it lost its lease: read the row again, and write again while it moved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from airflow_provider_atlan_meta.core.errors import AtlanMetaError, LeaseLostError, TransientError
from airflow_provider_atlan_meta.core.ports import Lease, LeaseOwner, Ledger, LogIdentity
from airflow_provider_atlan_meta.core.projection import (
    Candidate,
    ProjectionLedger,
    Settlement,
    is_stale,
    settlement,
    triage,
    unsent,
)
from airflow_provider_atlan_meta.core.stores import Landing, RowRef, StateSink
from airflow_provider_atlan_meta.pipeline.wakes import ThreadWake

# One lease per sink, in the same table and under the same rules as the cursors of topics. Its name is not a topic's:
# the cursor of the history that a sink may keep of the events topic is another one.
LEASE = LogIdentity(cluster_id="postgresql", topic="meta.projection", topic_id="-", partitions=(0,))
# A row that moves on during every write is left to the next sweep.
_REWRITES = 5
# A sweep's own queries take at most a fifth of the time.
_REST = 4.0


@dataclass(frozen=True, kw_only=True)
class FollowPolicy:
    """:param batch_rows: of one call of the sink. :param page_rows: keys in memory.
    :param sweep_seconds: between two looks when nobody wakes the follower.
    """

    batch_rows: int = 200
    page_rows: int = 5_000
    sweep_seconds: float = 2.0
    lease_seconds: float = 30.0

    @property
    def renew_seconds(self) -> float:
        """Well inside the lease: what is left is enough for a call of 10 s and 5 s more."""
        return min(10.0, self.lease_seconds / 3)


@dataclass(frozen=True, kw_only=True)
class FollowLimits:
    max_rows: int = 10_000
    max_seconds: float = 60.0


@dataclass(kw_only=True)
class FollowOutcome:
    """What was done to one store, in rows.

    :ivar written: with their newest content. :ivar unchanged: it had that content already.
    :ivar waiting: told to come later, or without an answer: written again when it is time.
    :ivar is_complete: nothing was left for the next run but what waits.
    :ivar owned_by: who else follows with this store; empty: we did.
    """

    sink: str
    written: int = 0
    unchanged: int = 0
    rejected: int = 0
    waiting: int = 0
    is_complete: bool = False
    owned_by: str = ""

    @property
    def rows(self) -> int:
        return self.written + self.unchanged + self.rejected + self.waiting

    def to_dict(self) -> dict[str, object]:
        return dict(vars(self))

    def describe(self) -> str:
        """For a log."""
        if self.owned_by:
            return f"owned by {self.owned_by}"
        told = f"{self.written} written, {self.unchanged} unchanged, {self.rejected} rejected"
        left = f", {self.waiting} wait" if self.waiting else ""
        return told + left + ("" if self.is_complete else "; more is left for the next run")


def _ignore(_: FollowOutcome) -> None:
    return


@dataclass
class _Run:
    """A run under way. :ivar goes_on: asked before every batch."""

    outcome: FollowOutcome
    goes_on: Callable[[], bool]
    query_seconds: float = field(default=0.0)


class Follow:
    """One owner's work on one store. Not thread-safe; one call of ``drain`` or ``follow`` at a time.

    :param leases: of this sink. :param told: hears of every batch. :param clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        sink: StateSink,
        projection: ProjectionLedger,
        leases: Ledger,
        owner: LeaseOwner,
        policy: FollowPolicy,
        told: Callable[[FollowOutcome], None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._projection = projection
        self._leases = leases
        self._owner = owner
        self._policy = policy
        self._told = told
        self._clock = clock
        self._lease: Lease | None = None
        self._renewed_at = 0.0
        self._due_at = float("-inf")
        self.is_following = False
        self.has_committed = False

    @property
    def owned(self) -> tuple[int, ...]:
        """(0,) while this process is the one that follows."""
        return (0,) if self._lease else ()

    def drain(self, limits: FollowLimits) -> FollowOutcome:
        """Until nothing is dirty but what waits for a retry, within ``limits``.

        :raises TransientError: the store or PostgreSQL is away, or an earlier try of the same task still holds the
            lease: try again (``retry_after``).
        """
        started = self._clock()
        outcome = FollowOutcome(sink=self._sink.name)
        outcome.owned_by = self._take()
        if self._lease is None:
            return outcome
        try:
            self._cycle(
                _Run(
                    outcome,
                    lambda: outcome.rows < limits.max_rows and self._clock() - started < limits.max_seconds,
                )
            )
        except LeaseLostError:
            outcome.owned_by = "taken over by another owner"
        finally:
            self._let_go()
        return outcome

    def follow(self, stopped: Callable[[], bool], wake: ThreadWake | None = None) -> None:
        """Works until ``stopped()``; while another owner follows, waits for its lease.

        :param wake: set when rows were committed: they are looked for at once.
        :raises TransientError: the store or PostgreSQL is away: wait, and start again.
        """
        wake = wake or ThreadWake()
        try:
            while not stopped():
                if self._lease is None and self._take():
                    self.is_following = True
                    wake.wait(min(self._policy.sweep_seconds, self._policy.lease_seconds / 6))
                    continue
                self.is_following = True
                run = _Run(FollowOutcome(sink=self._sink.name), lambda: not stopped())
                try:
                    self._cycle(run)
                except LeaseLostError:
                    continue
                self._rest(run.query_seconds, stopped, wake)
        finally:
            self._let_go()

    def _rest(self, query_seconds: float, stopped: Callable[[], bool], wake: ThreadWake) -> None:
        seconds = self._policy.sweep_seconds
        unwakeable = min(seconds, _REST * query_seconds)
        if unwakeable > 0.01 and not stopped():
            ThreadWake().wait(unwakeable)
        if not stopped():
            wake.wait(seconds - unwakeable)

    # ---- the lease -----------------------------------------------------------------------------------------------

    def _take(self) -> str:
        """Who else holds the lease; empty: we do."""
        before = self._clock()
        taken = self._leases.take(LEASE, {0: 0}, 1)
        if taken.leases:
            self._lease, self._renewed_at = taken.leases[0], before
            return ""
        other = taken.foreign[0] if taken.foreign else None
        if other is not None and self._owner.is_earlier_try(other.label):
            raise TransientError(
                f"{self._sink.name} is followed by {other.label}, an earlier try of this task, for"
                f" {other.left_seconds:.0f} s more",
                retry_after=other.left_seconds + 1,
            )
        return other.label if other else "another owner"

    def _hold(self) -> None:
        """:raises LeaseLostError: nothing new is sent."""
        now = self._clock()
        if self._lease is None or now - self._renewed_at < self._policy.renew_seconds:
            return
        if not self._leases.renew(LEASE, [self._lease]):
            self._lease = None
            raise LeaseLostError(f"{self._sink.name} is followed by another owner now")
        self._renewed_at = now

    def _let_go(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                self._leases.release(LEASE, [lease])
            except TransientError:
                # the store is away: the lease runs out by itself
                return

    # ---- the work ------------------------------------------------------------------------------------------------

    def _cycle(self, run: _Run) -> None:
        """What is due, then one sweep."""
        while self._due(run):
            pass
        sweep = self._projection.begin_sweep()
        for page in self._timed(run, self._projection.dirty(sweep, self._policy.page_rows)):
            for start in range(0, len(page), self._policy.batch_rows):
                if self._clock() - self._due_at > self._policy.sweep_seconds:
                    self._due(run)
                if not run.goes_on():
                    return
                self._batch(run, page[start : start + self._policy.batch_rows])
        if run.goes_on():
            self._projection.finish_sweep(sweep)
            run.outcome.is_complete = True

    def _due(self, run: _Run) -> bool:
        """One batch of what is due; False: that was all, or it is time to stop."""
        self._due_at = self._clock()
        if not run.goes_on():
            return False
        refs = self._projection.due(self._policy.batch_rows)
        if refs:
            self._batch(run, refs)
        return len(refs) == self._policy.batch_rows

    def _timed(self, run: _Run, pages: Iterator[list[RowRef]]) -> Iterator[list[RowRef]]:
        while True:
            started = self._clock()
            page = next(pages, None)
            run.query_seconds += self._clock() - started
            if page is None:
                return
            yield page

    def _batch(self, run: _Run, refs: Sequence[RowRef]) -> None:
        self._hold()
        projection = self._projection
        found = triage(projection.read(refs))
        done = FollowOutcome(sink=self._sink.name, unchanged=len(found.settled))
        if found.settled:
            projection.settle(found.settled)
        deferred = found.deferred
        if found.write:
            claimed = projection.claim(found.write)
            mine = {candidate.row.ref for candidate in claimed}
            deferred += [(c.row.ref, 1.0) for c in found.write if c.row.ref not in mine]
            if claimed:
                self._write(claimed, done)
        if deferred:
            projection.defer(deferred)
            done.waiting += len(deferred)
        self.has_committed = True
        _add(run.outcome, done)
        self._told(done)

    def _write(self, claimed: list[Candidate], done: FollowOutcome) -> None:
        """Writes and settles, lease or not: what was sent may land at any time, and only we know of it."""
        left = claimed
        for rewrites in range(_REWRITES + 1):
            try:
                landed = self._sink.write([candidate.row for candidate in left])
            except AtlanMetaError:
                self._projection.settle([unsent(candidate) for candidate in left])
                raise
            now = self._read_again([one.ref for one in landed if one.landing is Landing.DONE])
            settled, moved = [], []
            for candidate, one in zip(left, landed, strict=True):
                row = now.get(one.ref, candidate).row
                if is_stale(candidate.row, row) and rewrites < _REWRITES:
                    moved.append(candidate._replace(row=row))
                    continue
                # what moved on during every write stays dirty: only what was written is projected
                revision = candidate.row.revision if is_stale(candidate.row, row) else row.revision
                settled.append(settlement(candidate, one, revision))
            self._settle(settled, done)
            if not moved:
                return
            left = moved

    def _read_again(self, refs: Sequence[RowRef]) -> dict[RowRef, Candidate]:
        return {candidate.row.ref: candidate for candidate in self._projection.read(refs)} if refs else {}

    def _settle(self, settled: Sequence[Settlement], done: FollowOutcome) -> None:
        if settled:
            self._projection.settle(settled)
        for one in settled:
            if one.is_rejected:
                done.rejected += 1
            elif one.retry_seconds is not None:
                done.waiting += 1
            else:
                done.written += 1


def _add(whole: FollowOutcome, part: FollowOutcome) -> None:
    for name in ("written", "unchanged", "rejected", "waiting"):
        setattr(whole, name, getattr(whole, name) + getattr(part, name))
