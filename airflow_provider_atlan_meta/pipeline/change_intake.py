"""Changes from the log into lanes: decoded, gated, completed where they are thin or recovered, routed, offered."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from airflow_provider_atlan_meta.core.changes import ChangeEvent, completed, decode_change
from airflow_provider_atlan_meta.core.deliveries import (
    MAIN,
    Begun,
    DeliveryLedger,
    LaneKey,
    LaneRow,
    Subject,
    SubscriptionStore,
)
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.identity import delivery_id
from airflow_provider_atlan_meta.core.lanes import Delivery, LanePolicy
from airflow_provider_atlan_meta.core.ports import LogIdentity, Poll
from airflow_provider_atlan_meta.core.routing import EVERY_TENANT, Router, Subscription
from airflow_provider_atlan_meta.core.rows import LogRecord
from airflow_provider_atlan_meta.core.sending import Capabilities
from airflow_provider_atlan_meta.pipeline.batches import dead_letter
from airflow_provider_atlan_meta.pipeline.lane_board import HeldLane, HeldPartition, LaneBoard, Told
from airflow_provider_atlan_meta.pipeline.leases import progress

_ONE_PART: Mapping[str, LanePolicy] = {MAIN: LanePolicy()}


class _Read(NamedTuple):
    """A record and its change, or why it is none."""

    record: LogRecord
    change: ChangeEvent | None
    error: RejectedError | None = None


class Gate(NamedTuple):
    """What became of changes before any lane saw them. :param skipped: revisions nobody told of."""

    superseded: int
    skipped: int


class ChangeIntake:
    """One event loop's own.

    :param in_thread: runs a call of the ledger or the store, which blocks, one at a time.
    :param gated: hears of every batch.
    """

    def __init__(
        self,
        log: LogIdentity,
        board: LaneBoard,
        ledger: DeliveryLedger,
        store: SubscriptionStore,
        capabilities: Callable[[str], Capabilities | None],
        *,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        gated: Callable[[Gate], None],
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._board = board
        self._ledger = ledger
        self._store = store
        self.capabilities = capabilities
        self._in_thread = in_thread
        self._gated = gated
        self._clock = clock
        self._router = Router(())

    async def take(self, poll: Poll) -> list[HeldLane]:
        """The lanes that have something to do now; partitions that turned out to be lost are gone from the board."""
        board = self._board
        ends = {p: sys.maxsize if held.end is None else held.end for p, held in board.partitions.items()}
        batches = {
            p: ([_decoded(record) for record in records], reached)
            for p, (records, reached) in progress(poll, ends).items()
            if reached > board.partitions[p].offsets.end
        }
        for partition in [p for p, (reads, _) in batches.items() if not reads]:
            # markers of transactions alone: nothing will be sent for them
            board.partitions[partition].offsets.skip_to(batches.pop(partition)[1])
        if not batches:
            return []
        changes = [read.change for reads, _ in batches.values() for read in reads if read.change is not None]
        board.pins += 1
        try:
            begun, rows = await self._begin(batches, changes)
            return self._offer_all(batches, begun, rows)
        finally:
            board.pins -= 1

    async def _begin(
        self, batches: Mapping[int, tuple[list[_Read], int]], changes: Sequence[ChangeEvent]
    ) -> tuple[Begun, Mapping[Subject, tuple[int, bytes]]]:
        board, now = self._board, self._clock()
        reach = {board.partitions[p].lease: reached for p, (_, reached) in batches.items()}
        subjects = list(dict.fromkeys(map(subject_of, changes)))
        thin = [subject_of(change) for change in changes if change.truncated]
        with_last = any(change.reemitted for change in changes)

        def begin() -> tuple[Begun, Mapping[Subject, tuple[int, bytes]]]:
            begun = self._ledger.begin(self._log, reach, subjects, with_last=with_last)
            return begun, (self._ledger.read_rows(thin) if thin else {})

        begun, rows = await self._in_thread(begin)
        for partition in begun.lost:
            board.lose(partition)
        for lease in reach:
            held = board.partitions.get(lease.partition)
            if held is not None:
                held.extend(now)
                if held.suspect_before is None:
                    held.suspect_before = begun.reached.get(lease.partition, 0)
        if begun.version != board.version:
            await self.load_subscriptions()
        return begun, rows

    async def load_subscriptions(self) -> None:
        """As they were applied last."""
        version, subscriptions = await self._in_thread(self._store.load)
        self._router = Router(subscriptions)
        self._board.version = version
        self._board.subscriptions = {one.name: one for one in subscriptions}

    # ---- into the lanes ------------------------------------------------------------------------------------------

    def _offer_all(
        self,
        batches: Mapping[int, tuple[list[_Read], int]],
        begun: Begun,
        rows: Mapping[Subject, tuple[int, bytes]],
    ) -> list[HeldLane]:
        touched: dict[LaneKey, HeldLane] = {}
        superseded = skipped = 0
        for number, (reads, reached) in batches.items():
            partition = self._board.partitions.get(number)
            if partition is None:
                continue
            for record, change, error in reads:
                partition.read(record.offset)
                if error is not None:
                    partition.dead_letters.append(dead_letter(record, "decode", error))
                elif change is not None:
                    subject = subject_of(change)
                    seen = max(begun.seen.get(subject, 0), partition.seen.get(subject, 0))
                    if change.revision <= seen:
                        superseded += 1
                    else:
                        skipped += change.revision - seen - 1 if seen else 0
                        partition.gate(record.offset, subject, change.revision)
                        for held in self._offer(partition, record, change, begun, rows):
                            touched[held.key] = held
                partition.through(record.offset)
            partition.offsets.skip_to(reached)
        self._gated(Gate(superseded, skipped))
        return list(touched.values())

    def _offer(
        self,
        partition: HeldPartition,
        record: LogRecord,
        change: ChangeEvent,
        begun: Begun,
        rows: Mapping[Subject, tuple[int, bytes]],
    ) -> Iterator[HeldLane]:
        if change.truncated and change.op != "deleted":
            found = rows.get(subject_of(change))
            if found is None:
                # deleted since: the change that says so comes behind this one
                return
            change = completed(change, after=msgspec.json.decode(found[1]))
            told = Told(change, msgspec.json.encode(change))
        else:
            told = Told(change, record.value or b"")
        for subscription, heard in self._heard(told, begun):
            for part, policy in self._parts(subscription, heard.event.op):
                name = subscription.name if part == MAIN else f"{subscription.name}.{part}"
                delivery = Delivery(delivery_id(change.change_id, name), change.revision, heard)
                held = self._held(
                    LaneKey(subscription.name, part, *subject_of(change)), begun, partition, policy
                )
                if held.offer(delivery, record.offset, partition):
                    self._board.lanes[held.key] = held
                    if partition.suspect_before is not None and record.offset < partition.suspect_before:
                        held.lane.taken_over(self._clock())
                    yield held

    def _heard(self, told: Told, begun: Begun) -> Iterator[tuple[Subscription, Told]]:
        """Who hears of it, and what: a recovered change says to each what is new since it was last told."""
        change = told.event
        if change.held:
            return
        if not change.reemitted:
            for subscription in self._router.route(change):
                yield subscription, told
            return
        for subscription in self._router.subscriptions:
            if subscription.enabled and subscription.tenant in (change.tenant_id, EVERY_TENANT):
                before = self._last_row(LaneKey(subscription.name, MAIN, *subject_of(change)), begun)
                whole = completed(change, after=change.after, before=before)
                if (whole.changed or whole.op == "deleted") and subscription.match.matches(whole):
                    yield subscription, Told(whole, msgspec.json.encode(whole))

    def _last_row(self, key: LaneKey, begun: Begun) -> Mapping[str, Any]:
        """What the subscription knows of the row; empty: it has never heard of it."""
        held, row = self._board.lanes.get(key), begun.lanes.get(key)
        if held is not None and held.lane.before_of_recovered() is not None:
            last: ChangeEvent = held.lane.before_of_recovered().event
        elif row is not None and row.last:
            last = decode_change(row.last)
        else:
            return {}
        return last.after or {}

    def _parts(self, subscription: Subscription, op: str) -> Iterator[tuple[str, LanePolicy]]:
        capabilities = self.capabilities(subscription.destination.type)
        if capabilities is None:
            yield from _ONE_PART.items()
            return
        for part, policy in capabilities.parts.items():
            if op in capabilities.ops.get(part, (op,)):
                yield part, policy

    def _held(self, key: LaneKey, begun: Begun, partition: HeldPartition, policy: LanePolicy) -> HeldLane:
        held = self._board.lanes.get(key)
        if held is None:
            row = begun.lanes.get(key, LaneRow(key))
            main = key._replace(part=MAIN)
            if (other := self._board.lanes.get(main)) is not None:
                row = row._replace(external_id=other.external_id)
            elif not row.external_id and main in begun.lanes:
                row = row._replace(external_id=begun.lanes[main].external_id)
            held = HeldLane(
                row,
                self._board.subscriptions[key.subscription],
                partition.lease.partition,
                policy,
                now=self._clock(),
                is_drain=False,
            )
        return held


def subject_of(change: ChangeEvent) -> Subject:
    return Subject(change.tenant_id, change.kind, change.id)


def _decoded(record: LogRecord) -> _Read:
    try:
        return _Read(record, decode_change(record.value or b""))
    except RejectedError as error:
        return _Read(record, None, error)
