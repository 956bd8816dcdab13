"""Tells the ledger: claims before calls, outcomes and cursors after them, in as few round trips as there are waits.

While one write is under way the next one gathers. A write that gets no answer is made again, the same, until the
leases run out; no call begins meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from airflow_provider_atlan_meta.core.deliveries import DeliveryEntry, DeliveryLedger
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import LogIdentity
from airflow_provider_atlan_meta.pipeline.delivery_calls import DeliveryCalls
from airflow_provider_atlan_meta.pipeline.lane_board import HeldLane, HeldPartition, LaneBoard, TakenWrite
from airflow_provider_atlan_meta.pipeline.wakes import Wake

T = TypeVar("T")
_Claim = tuple[HeldLane, DeliveryEntry, asyncio.Future[int | None]]
InThread = Callable[[Callable[[], T]], Awaitable[T]]

_RETRY_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class WritePolicy:
    """Seconds. :param linger: what is told within it is written together, while it is less than ``full``."""

    lease: float = 30.0
    renew: float = 10.0
    linger: float = 0.005
    full: int = 12


class DeliveryWriter:
    """One event loop's own.

    :param in_thread: runs a call of the ledger, which blocks, one at a time.
    :param told: hears of every write and the partitions of it that were lost.
    """

    def __init__(
        self,
        log: LogIdentity,
        board: LaneBoard,
        ledger: DeliveryLedger,
        policy: WritePolicy,
        *,
        in_thread: InThread[frozenset[int]],
        told: Callable[[list[TakenWrite], frozenset[int]], None],
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._board = board
        self._ledger = ledger
        self._policy = policy
        self._in_thread = in_thread
        self._told = told
        self._clock = clock
        self._wake, self._urgent, self._never = Wake(), Wake(), Wake()
        self._claims: list[_Claim] = []
        self._is_ending = False
        self._touched: list[HeldLane] = []
        self._waiters: list[asyncio.Future[None]] = []
        self.calls: DeliveryCalls | None = None

    def wake(self) -> None:
        """There is something to tell."""
        self._wake.set()
        if self._is_urgent():
            self._urgent.set()

    def end(self) -> None:
        """``run`` returns after the write it is in."""
        self._is_ending = True
        self.wake()

    async def written(self) -> None:
        """Returns when everything there is to tell now is in the ledger."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        self.wake()
        await future

    async def claim(self, held: HeldLane, entry: DeliveryEntry) -> int | None:
        """Which attempt it is; None: it may not be called."""
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._claims.append((held, entry, future))
        self.wake()
        return await future

    async def run(self) -> None:
        """Until ``end``.

        :raises TransientError: the ledger cannot be reached and the leases are about to run out.
        """
        while not self._is_ending:
            await self._news()
            # first what was told of a delivery before it was claimed: it would say that no claim is open
            claims, self._claims = self._claims, []
            await self.write()
            if claims:
                await self._commit(claims)

    async def _news(self) -> None:
        partitions, now = self._board.partitions.values(), self._clock()
        at = min(map(self._renew_at, partitions), default=now + self._policy.renew)
        if await self._wake.wait(max(0.05, at - now)) and not self._is_urgent():
            await self._urgent.wait(self._policy.linger)

    def _is_urgent(self) -> bool:
        # asked at every call's end: what calls did not make may wait for its few milliseconds
        ended = self.calls.ended if self.calls else 0
        return bool(self._claims) or self._is_ending or ended >= self._policy.full

    def _renew_at(self, partition: HeldPartition) -> float:
        return partition.lease_until - self._policy.lease + self._policy.renew

    async def write(self, *, is_last: bool = False) -> None:
        """Everything there is to tell, and what has to be renewed.

        :param is_last: nothing is under way any more: what lies behind the cursor was not sent, or is written.
        """
        now = self._clock()
        waiters, self._waiters = self._waiters, []
        taken = [
            partition.take_write(now, reach=partition.offsets.position if is_last else None)
            for partition in self._board.partitions.values()
            if partition.has_news or is_last or self._renew_at(partition) <= now
        ]
        writes = [one.write for one in taken]
        calls = self.calls
        ended = calls.ended if calls else 0
        if calls:
            calls.ended = 0
        lost: frozenset[int] = frozenset()
        if writes:
            keys = [lane.key for write in writes for lane in write.lanes]
            touched = [held for key in keys if (held := self._board.lanes.get(key)) is not None]
            lost = await self._persist(lambda: self._ledger.write(self._log, writes))
            for write in writes:
                number = write.lease.partition
                if number in lost:
                    self._board.keep_delivered(number, write.deliveries)
                    self._board.lose(number)
                elif number in self._board.partitions:
                    self._board.partitions[number].extend(now)
            self._touched = self._board.forget([*self._touched, *touched])
        await self._write_late()
        if calls:
            calls.unwritten -= ended
            calls.pump()
        if writes:
            self._told(taken, lost)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _write_late(self) -> None:
        late, self._board.late = self._board.late, []

        def write() -> frozenset[int]:
            self._ledger.write_late(self._log, late)
            return frozenset()

        if late:
            await self._persist(write)

    async def _commit(self, claims: list[_Claim]) -> None:
        by_partition: dict[int, list[_Claim]] = {}
        for one in claims:
            by_partition.setdefault(one[0].partition, []).append(one)
        for number, wanted in by_partition.items():
            partition = self._board.partitions.get(number)
            attempts: dict[UUID, int] = {}
            if partition is not None:
                lease, entries = partition.lease, [entry for _, entry, _ in wanted]

                def commit() -> frozenset[int]:
                    attempts.update(self._ledger.claim(self._log, lease, entries))  # noqa: B023 - called at once
                    return frozenset()

                await self._persist(commit)
            for _, entry, future in wanted:
                if not future.done():
                    future.set_result(attempts.get(entry.delivery_id))

    async def _persist(self, call: Callable[[], frozenset[int]]) -> frozenset[int]:
        while True:
            try:
                answer = await self._in_thread(call)
            except TransientError:
                until = [partition.lease_until for partition in self._board.partitions.values()]
                if self._clock() + _RETRY_SECONDS >= min(until, default=0.0):
                    raise
                self._suspend(True)
                await self._never.wait(_RETRY_SECONDS)
            else:
                self._suspend(False)
                return answer

    def _suspend(self, suspended: bool) -> None:
        if self.calls is not None and self.calls.is_suspended != suspended:
            self.calls.is_suspended = suspended
            self.calls.pump()
