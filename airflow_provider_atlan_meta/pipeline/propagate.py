"""Changes to destinations: one engine for the service (``follow``) and for a bounded run (``drain``).

A partition's cursor stands at the lowest change that is not delivered, parked or rejected in every lane it went to;
outcomes and cursor are written together. The clients of log and ledger block and live in a thread each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_atlan_meta.core.deliveries import DeliveryEntry
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import Lease, LeaseOwner, LogIdentity
from airflow_provider_atlan_meta.pipeline.change_intake import Gate
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits
from airflow_provider_atlan_meta.pipeline.lane_board import HeldPartition, TakenWrite
from airflow_provider_atlan_meta.pipeline.leases import (
    TAKEN_OVER,
    check_cursors,
    first_offsets,
    look,
    owned_by,
)
from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange, PropagateOutcome
from airflow_provider_atlan_meta.pipeline.propagation_run import (
    Ports,
    PropagatePolicy,
    Run,
    RunHooks,
    new_run,
)

T = TypeVar("T")

SINK = "consumer"


def _ignore(_: Any) -> None:
    return


@dataclass(frozen=True)
class Listener:
    """Who hears of the work, as it happens, in the loop's thread.

    :param batch: every written range. :param delivered: every entry of it. :param gated: every batch that was read.
    :param written: every write, after its ranges.
    """

    batch: Callable[[PartitionRange], None] = _ignore
    delivered: Callable[[DeliveryEntry], None] = _ignore
    gated: Callable[[Gate], None] = _ignore
    written: Callable[[Sequence[PartitionRange]], None] = _ignore


class Propagation:
    """One owner's work on one topic of changes. One call of ``look``, ``drain`` or ``follow`` at a time.

    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        ports: Ports,
        owner: LeaseOwner,
        policy: PropagatePolicy | None = None,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = ports.log
        self._leases = ports.leases
        self._ports = ports
        self._owner = owner
        self._policy = policy or PropagatePolicy()
        self._listener = listener or Listener()
        self._clock = clock
        self._run: Run | None = None
        self._reader = ThreadPoolExecutor(1, "changes")
        self._teller = ThreadPoolExecutor(1, "ledger")
        self.is_following = False
        self.has_committed = False

    @property
    def owned(self) -> tuple[int, ...]:
        """Partitions held right now."""
        return () if self._run is None else tuple(sorted(self._run.board.partitions))

    @property
    def open_breakers(self) -> tuple[str, ...]:
        """Connections that nobody calls at the moment."""
        return () if self._run is None else tuple(self._run.calls.open_breakers())

    def destination_type(self, subscription: str) -> str:
        """Of a subscription as it was read last; ``unknown``: it is not there any more."""
        found = None if self._run is None else self._run.board.subscriptions.get(subscription)
        return "unknown" if found is None else found.destination.type

    # ---- a bounded run -------------------------------------------------------------------------------------------

    def look(self) -> PropagateOutcome:
        """What ``drain`` would read, by offsets alone (transaction markers count); takes and changes nothing."""
        unread = look(self._log, self._leases)
        return PropagateOutcome(
            topic=unread.topic,
            records=unread.records,
            ranges=unread.ranges,
            owned_by=unread.owned_by,
            lag=unread.records,
            dry_run=True,
        )

    async def drain(
        self, limits: DrainLimits, stopped: Callable[[], bool] = lambda: False
    ) -> PropagateOutcome:
        """From the ledger to the last stable offset at the start, and what is parked and due, within ``limits``.

        :param stopped: ends it early, with everything that was sent written down.
        :raises TransientError: try again (``retry_after``). :raises TerminalError: ledger and log do not fit together.
        """
        started = self._clock()
        identity = await self._read(self._log.identify)
        bounds = await self._read(lambda: self._log.bounds(identity.partitions))
        taken = await self._tell(
            lambda: self._leases.take(identity, first_offsets(bounds), len(identity.partitions))
        )
        async with self._working(identity) as run:
            run.is_bounded = True
            check_cursors(identity, taken.leases, bounds)
            for lease in taken.leases:
                self._hold(run, lease, started).end = bounds[lease.partition][1]
            held = dict(run.board.partitions)
            await self._start(run)
            while not (stopped() or self._is_through(run, limits, started)):
                run.check()
                has_room = run.records < limits.max_records
                if has_room and not self._is_read(run):
                    await self._step(run, min(self._policy.batch_records, limits.max_records - run.records))
                else:
                    await run.progress.wait(0.05)
        others = owned_by(identity, taken.foreign, bounds, self._owner, self._policy.lease_seconds)
        lag = sum(max(0, (one.end or 0) - one.offsets.position) for one in held.values())
        return PropagateOutcome.of(
            identity.topic,
            run.ranges,
            owned_by={**others, **run.lost},
            lag=lag,
            parked_lanes=len(run.parked),
        )

    def _is_through(self, run: Run, limits: DrainLimits, started: float) -> bool:
        if self._clock() - started >= limits.max_seconds or not run.board.partitions:
            return True
        is_read = run.records >= limits.max_records or self._is_read(run)
        is_busy = run.calls.under_way or any(held.has_work for held in run.board.lanes.values())
        return is_read and run.due.is_through and not is_busy

    def _is_read(self, run: Run) -> bool:
        return all(one.is_read for one in run.board.partitions.values())

    # ---- the service ---------------------------------------------------------------------------------------------

    async def follow(self, stopped: Callable[[], bool]) -> None:
        """Works until ``stopped()``: takes free partitions, and more as others let go of theirs.

        Returns when the calls under way have ended, with every lease released.

        :raises TransientError: start again: everything is read from the ledger anew.
        """
        identity = await self._read(self._log.identify)
        take_at = -1e9
        async with self._working(identity) as run:
            await self._start(run)
            await run.calls.prepare(run.board.subscriptions.values())
            while not stopped():
                run.check()
                now = self._clock()
                if now - take_at > self._policy.lease_seconds / 6:
                    await self._take_more(run)
                    take_at = now
                    self.is_following = True
                held = len(run.board.partitions)
                await self._step(run, self._policy.batch_records)
                if len(run.board.partitions) < held:
                    take_at = -1e9

    async def _take_more(self, run: Run) -> None:
        identity, held = run.identity, run.board.partitions
        limit = (self._policy.max_partitions or len(identity.partitions)) - len(held)
        others = [p for p in identity.partitions if p not in held]
        if limit <= 0 or not others:
            return
        bounds = await self._read(lambda: self._log.bounds(others))
        before = self._clock()
        taken = await self._tell(lambda: self._leases.take(identity, first_offsets(bounds), limit))
        ahead = [lease.partition for lease in taken.leases if lease.next_offset > bounds[lease.partition][1]]
        if ahead:
            bounds = {**bounds, **await self._read(lambda: self._log.bounds(ahead))}
        for lease in taken.leases:
            self._hold(run, lease, before)
        check_cursors(identity, taken.leases, bounds)
        if taken.leases:
            run.is_assigned = False
            run.due.look_now()

    # ---- both ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _working(self, identity: LogIdentity) -> AsyncIterator[Run]:
        """Lets go of everything at the end: calls under way end, what they did is written, leases are released."""
        run = self._run = self._new_run(identity)
        try:
            yield run
            await self._finish(run)
        finally:
            await self._stop(run.workers)
            await run.calls.close()
            await self._let_go(run)
            self._run, self.is_following = None, False

    def _new_run(self, identity: LogIdentity) -> Run:
        hooks = RunHooks(self._tell, self._written, self._disable, self._listener.gated, self._clock)
        return new_run(identity, self._ports, self._policy, hooks)

    def _hold(self, run: Run, lease: Lease, before: float) -> HeldPartition:
        seconds = self._policy.lease_seconds
        held = HeldPartition(lease, seconds, before + seconds)
        run.board.partitions[lease.partition] = held
        return held

    async def _start(self, run: Run) -> None:
        await run.intake.load_subscriptions()
        run.workers += [asyncio.create_task(run.due.run()), asyncio.create_task(run.writer.run())]

    async def _step(self, run: Run, records: int) -> None:
        """One look at the log, and what it gave into the lanes."""
        partitions = run.board.partitions
        if run.board.open_changes >= self._policy.open_changes:
            await run.progress.wait(1.0)
            return
        if not run.is_assigned:
            positions = {p: one.offsets.end for p, one in partitions.items() if not one.is_read}
            await self._read(lambda: self._log.assign(positions))
            run.is_assigned = True
        poll = await self._read(lambda: self._log.poll(records, 0.5))
        before, held = run.board.open_changes, len(partitions)
        run.records += len(poll.records)
        for lane in await run.intake.take(poll):
            run.calls.consider(lane)
        if len(partitions) < held:
            run.is_assigned = False
        if poll.records or run.board.open_changes != before:
            run.writer.wake()

    def _written(self, taken: list[TakenWrite], lost: frozenset[int]) -> None:
        run = self._run
        if run is None:
            return
        run.due.noted(taken)
        run.progress.set()
        run.lost.update(dict.fromkeys(lost, TAKEN_OVER))
        run.is_assigned = run.is_assigned and not lost
        ranges: list[PartitionRange] = []
        for one in taken:
            if one.write.lease.partition in lost:
                continue
            self.has_committed = True
            for entry in one.write.deliveries:
                self._listener.delivered(entry)
            if one.write.end > one.start or one.write.deliveries:
                part = _range(run.identity, one)
                ranges.append(part)
                self._listener.batch(part)
            if run.is_bounded:
                for lane in one.write.lanes:
                    (run.parked.add if lane.is_parked else run.parked.discard)(lane.key)
        if run.is_bounded:
            # an endless run would keep them for ever
            run.ranges += ranges
        if ranges:
            self._listener.written(ranges)

    def _disable(self, subscription: str, reason: str) -> None:
        """Of the loop, but not in the way of it: the lane is closed already."""
        run = self._run
        if run is not None:
            run.workers.append(asyncio.create_task(self._write_disabled(run, subscription, reason)))

    async def _write_disabled(self, run: Run, subscription: str, reason: str) -> None:
        await self._tell(lambda: self._ports.subscriptions.disable(subscription, reason))
        await run.intake.load_subscriptions()

    async def _finish(self, run: Run) -> None:
        """No call begins any more; those under way end and are written."""
        run.calls.is_stopping = True
        await run.calls.ended_within(self._policy.stop_seconds)
        run.check()
        looking, writing, *others = run.workers
        await self._stop([looking])
        run.writer.end()
        await asyncio.gather(writing, *others)
        await run.writer.write(is_last=not run.calls.under_way)

    async def _stop(self, workers: list[asyncio.Task[None]]) -> None:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _let_go(self, run: Run) -> None:
        leases = [held.lease for held in run.board.partitions.values()]
        run.board.partitions.clear()
        if leases:
            # with the store away the leases run out by themselves
            with suppress(TransientError):
                await self._tell(lambda: self._leases.release(run.identity, leases))

    async def _read(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reader, call)

    async def _tell(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._teller, call)

    def close(self) -> None:
        """After the last run."""
        self._reader.shutdown()
        self._teller.shutdown()


def _range(identity: LogIdentity, taken: TakenWrite) -> PartitionRange:
    states: dict[str, int] = {}
    for entry in taken.write.deliveries:
        states[entry.state] = states.get(entry.state, 0) + 1
    return PartitionRange(
        topic=identity.topic,
        partition=taken.write.lease.partition,
        start=taken.start,
        end=taken.write.end,
        records=taken.records,
        rejected=len(taken.write.dead_letters),
        deliveries=states,
    )
