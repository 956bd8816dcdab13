"""Brings back what was put off: parked lanes to be drained, closing sends, deliveries to be scanned for doubles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from airflow_provider_atlan_meta.core.changes import decode_change
from airflow_provider_atlan_meta.core.deliveries import DeliveryLedger, DueLane, DueScan, LaneEntry, LaneRow
from airflow_provider_atlan_meta.core.lanes import ClaimUse, Delivery, LanePolicy
from airflow_provider_atlan_meta.core.ports import LogIdentity
from airflow_provider_atlan_meta.core.routing import Subscription
from airflow_provider_atlan_meta.pipeline.change_intake import ChangeIntake
from airflow_provider_atlan_meta.pipeline.delivery_calls import DeliveryCalls
from airflow_provider_atlan_meta.pipeline.delivery_writer import DeliveryWriter
from airflow_provider_atlan_meta.pipeline.lane_board import HeldLane, LaneBoard, TakenWrite, Told
from airflow_provider_atlan_meta.pipeline.wakes import Wake

# Lanes and deliveries of a lane that are brought back at once: what a drain holds in memory is bounded by both.
_LANES, _DELIVERIES, _SCANS = 200, 200, 20
# An owner before us may have put something off that we have not heard of.
_LOOK_SECONDS = 10.0
_STRAY_SECONDS = 3600.0


class DueLanes:
    """One event loop's own. It knows when the next lane is due, as every write says so.

    :param in_thread: runs a call of the ledger, which blocks, one at a time.
    """

    def __init__(
        self,
        log: LogIdentity,
        board: LaneBoard,
        ledger: DeliveryLedger,
        writer: DeliveryWriter,
        calls: DeliveryCalls,
        intake: ChangeIntake,
        *,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._board = board
        self._ledger = ledger
        self._writer = writer
        self._calls = calls
        self._intake = intake
        self._in_thread = in_thread
        self._clock = clock
        self._wake = Wake()
        self._next_at = 0.0
        # a bounded run ends when it has had what was due when it began
        self.is_through = False

    def noted(self, taken: list[TakenWrite]) -> None:
        """Of what was written: when it will be due."""
        now = self._clock()
        waits = [
            lane.due_seconds for one in taken for lane in one.write.lanes if lane.due_seconds is not None
        ]
        waits += [
            one.scan_seconds
            for write in taken
            for one in write.write.deliveries
            if one.scan_seconds is not None
        ]
        if waits and now + min(waits) < self._next_at:
            self._next_at = now + min(waits)
            self._wake.set()

    def look_now(self) -> None:
        """Partitions were taken."""
        self._next_at = 0.0
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            now = self._clock()
            if now >= self._next_at:
                self._next_at = now + _LOOK_SECONDS
                if await self._look():
                    self._next_at = 0.0
                else:
                    self.is_through = True
                    await self._scan()
            else:
                await self._wake.wait(self._next_at - now)

    async def _look(self) -> bool:
        """Whether there may be more at once."""
        board = self._board
        room = _LANES - board.drains
        if room <= 0 or not board.partitions:
            return False
        board.pins += 1
        try:
            due = await self._due(room, _DELIVERIES)
            if not all(map(_has_claimed, due)):
                due = await self._due(room, _DELIVERIES * 100)
            if not all(map(self._is_wanted, due)):
                await self._intake.load_subscriptions()
            resumed = [held for one in due if (held := self._resumed(one)) is not None]
            if due:
                # a drain that dies must be found unsure by whoever comes next
                await self._writer.written()
            for held in resumed:
                self._calls.consider(held)
        finally:
            board.pins -= 1
        return len(due) == room and bool(resumed)

    async def _due(self, lanes: int, deliveries: int) -> tuple[DueLane, ...]:
        partitions = list(self._board.partitions)
        found: tuple[DueLane, ...] = await self._in_thread(
            lambda: self._ledger.due(self._log, partitions, lanes=lanes, deliveries=deliveries)
        )
        return found

    def _is_wanted(self, due: DueLane) -> bool:
        subscription = self._board.subscriptions.get(due.row.key.subscription)
        return subscription is not None and subscription.enabled

    def _resumed(self, due: DueLane) -> HeldLane | None:
        partition = self._board.partitions.get(due.partition)
        if partition is None or due.row.key in self._board.lanes:
            return None
        subscription = self._board.subscriptions.get(due.row.key.subscription)
        policy = self._policy(subscription, due.row.key.part)
        if subscription is None or policy is None or not self._is_wanted(due):
            partition.stray.append(_stray(due.row))
            return None
        held = HeldLane(
            due.row,
            subscription,
            due.partition,
            policy,
            now=self._clock(),
            is_drain=due.row.is_parked or bool(due.deliveries),
        )
        held.resume(due)
        held.marks_unsure = bool(due.deliveries) and policy.claims is not ClaimUse.EVERY
        self._board.lanes[held.key] = held
        held.collect(partition)
        return held

    def _policy(self, subscription: Subscription | None, part: str) -> LanePolicy | None:
        if subscription is None:
            return None
        capabilities = self._intake.capabilities(subscription.destination.type)
        return None if capabilities is None else capabilities.parts.get(part)

    async def _scan(self) -> None:
        partitions = list(self._board.partitions)
        scans: tuple[DueScan, ...] = await self._in_thread(
            lambda: self._ledger.due_scans(self._log, partitions, limit=_SCANS)
        )
        for one in scans:
            subscription = self._board.subscriptions.get(one.row.key.subscription)
            policy = self._policy(subscription, one.row.key.part)
            partition = self._board.partitions.get(one.partition)
            if partition is None or subscription is None or policy is None:
                continue
            held = HeldLane(one.row, subscription, one.partition, policy, now=self._clock(), is_drain=True)
            told = Told(decode_change(one.delivery.change), one.delivery.change)
            delivery = Delivery(one.delivery.delivery_id, one.delivery.revision, told)
            entry = await self._calls.scan(held, delivery)
            if entry is None:
                again = held.entry(delivery, "delivered")
                entry = again._replace(scan_seconds=policy.settle_wait, change=told.json)
            partition.entries.append(entry)
            self._writer.wake()


def _has_claimed(due: DueLane) -> bool:
    """Whether what is claimed came with it; behind very many that it folds it may not have."""
    claim = due.row.claim
    if claim is None or not due.has_more:
        return True
    return any(one.delivery_id == claim.delivery_id for one in due.deliveries)


def _stray(row: LaneRow) -> LaneEntry:
    """Stays as it is until its subscription is applied again, which makes it due; or is looked at much later."""
    return LaneEntry(
        key=row.key,
        seen=row.seen,
        is_parked=row.is_parked,
        parks=row.parks,
        due_seconds=_STRAY_SECONDS,
        unsure_seconds=row.unsure_seconds,
    )
