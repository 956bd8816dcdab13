"""The lanes a process has in mind, and what the ledger is still to be told of them.

A lane is here while it has something to do or to tell; then it is forgotten, and the ledger alone knows it. One
partition's cursor moves with what is told: up to the lowest change that is not finished in every lane it went to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from airflow_provider_atlan_meta.core.changes import ChangeEvent, decode_change
from airflow_provider_atlan_meta.core.deliveries import (
    FINAL,
    MAIN,
    DeliveryEntry,
    DeliveryState,
    DueLane,
    LaneEntry,
    LaneKey,
    LaneRow,
    PartitionWrite,
    Subject,
)
from airflow_provider_atlan_meta.core.lanes import Claim, ClaimUse, Delivery, Lane, LanePolicy, LaneState
from airflow_provider_atlan_meta.core.offsets import UnfinishedOffsets
from airflow_provider_atlan_meta.core.ports import Lease
from airflow_provider_atlan_meta.core.routing import Subscription
from airflow_provider_atlan_meta.core.rows import DeadLetter


class Told(NamedTuple):
    """A change as it is sent, and as JSON."""

    event: ChangeEvent
    json: bytes


class HeldLane:
    """One lane in mind. ``lane`` decides; this remembers what the decisions are about."""

    def __init__(
        self,
        row: LaneRow,
        subscription: Subscription,
        partition: int,
        policy: LanePolicy,
        *,
        now: float,
        is_drain: bool,
    ) -> None:
        self.key = row.key
        self.subscription = subscription
        self.partition = partition
        self.lane = Lane(policy, _state_of(row, now, is_drain=is_drain), is_drain=is_drain)
        self.is_drain = is_drain
        self.has_more = False
        self.is_queued = False
        self.external_id = row.external_id
        # what may have been sent is written down as unsure before the first call of a drain
        self.marks_unsure = False
        self.finished_revision = row.seen
        self.offsets: dict[UUID, int] = {}
        self.attempts: dict[UUID, int] = (
            {} if row.claim is None else {row.claim.delivery_id: row.claim.attempt}
        )
        self.status: int | None = None
        self.detail = ""
        self.receipt = ""
        self.folded = 0

    def resume(self, due: DueLane) -> None:
        """What is parked goes first."""
        self.has_more = due.has_more
        for one in due.deliveries:
            told = Told(decode_change(one.change), one.change)
            self.lane.offer(Delivery(one.delivery_id, one.revision, told))
            self.attempts.setdefault(one.delivery_id, one.attempts)
        state = self.lane.state
        state.seen = max(state.seen, due.row.seen)
        if state.claim is not None:
            claimed = state.claim.delivery.delivery_id
            at = next((i for i, one in enumerate(state.waiting) if one.delivery_id == claimed), None)
            if at is None:
                # final since
                state.claim = None
                return
            # what stands before it was folded into it when it was claimed
            first = state.waiting[at]._replace(folded=state.waiting[:at])
            state.waiting = (first, *state.waiting[at + 1 :])
            state.claim = state.claim._replace(delivery=first)

    def offer(self, delivery: Delivery, offset: int, partition: HeldPartition) -> bool:
        """False: it is no newer than what the lane has seen."""
        if self.is_drain:
            if not self.lane.note(delivery.revision):
                return False
            # the drain may take long: the cursor must not wait for it
            partition.entries.append(self.entry(delivery, "parked"))
            self.finished_revision = delivery.revision
            if not self.has_more:
                self.lane.state.waiting += (delivery,)
            return True
        before = self.lane.state.seen
        self.lane.offer(delivery)
        if self.lane.state.seen == before:
            return False
        self.offsets[delivery.delivery_id] = offset
        partition.waits(offset)
        self.collect(partition)
        return True

    def collect(self, partition: HeldPartition) -> None:
        """Takes what has come to an end to what the ledger is to be told."""
        for delivery, state in self.lane.take_finished():
            partition.entries.append(self.entry(delivery, state))
            self.finished_revision = max(self.finished_revision, delivery.revision)
            offset = self.offsets.pop(delivery.delivery_id, None)
            if offset is not None:
                partition.through(offset)
            if state != "parked":
                self.attempts.pop(delivery.delivery_id, None)
        partition.dirty[self.key] = self

    def entry(self, delivery: Delivery, state: DeliveryState) -> DeliveryEntry:
        told: Told | None = delivery.change
        attempts = self.attempts.get(delivery.delivery_id, 0)
        policy, claim = self.lane.policy, self.lane.state.claim
        # claimed more than once: it may have been made twice
        scans = state == "delivered" and attempts > 1 and policy.claims is not ClaimUse.NEVER
        is_final = state in FINAL
        is_open = claim is not None and claim.delivery.delivery_id == delivery.delivery_id
        return DeliveryEntry(
            key=self.key,
            delivery_id=delivery.delivery_id,
            change_id="" if told is None else told.event.change_id,
            revision=delivery.revision,
            state=state,
            attempts=attempts,
            status=self.status if state in ("delivered", "rejected") else None,
            detail=self.detail if state in ("parked", "rejected") else "",
            change=b"" if told is None or (is_final and not scans) else told.json,
            scan_seconds=policy.settle_wait if scans else None,
            claim_open=is_open and not is_final,
            folded=self.folded if state == "delivered" else 0,
            external_id=self.receipt if state == "delivered" else "",
        )

    def told(self, now: float) -> LaneEntry:
        """What the ledger is to say of the lane as it is now."""
        state = self.lane.state
        due, unsure_at = self.lane.due(now), state.unsure_at
        if self.marks_unsure:
            unsure_at, due = now, now + self.lane.policy.late
        last: Told | None = None if state.last is None else state.last.change
        return LaneEntry(
            key=self.key,
            seen=self.finished_revision,
            external_id=self.external_id if self.key.part == MAIN else "",
            is_parked=state.is_parked,
            parks=state.parks,
            due_seconds=None if due is None else max(0.0, due - now),
            unsure_seconds=None if unsure_at is None else max(0.0, now - unsure_at),
            last=b"" if last is None else last.json,
        )

    @property
    def has_work(self) -> bool:
        state = self.lane.state
        return bool(state.in_flight or self.is_queued or (state.waiting and not state.is_disabled))


def _state_of(row: LaneRow, now: float, *, is_drain: bool) -> LaneState:
    claim = row.claim
    last = decode_change(row.last) if row.last else None
    state = LaneState(
        seen=0 if is_drain else row.seen,
        has_reference=bool(row.external_id),
        # an open claim is settled by whoever drains the lane, when its time has come
        is_parked=row.is_parked or claim is not None,
        parks=row.parks,
        unsure_at=None if row.unsure_seconds is None else now - row.unsure_seconds,
        not_before=0.0 if is_drain or not row.is_parked else now + (row.due_seconds or 0.0),
    )
    if last is not None:
        state.last = Delivery(NO_ID, last.revision, Told(last, row.last))
    if claim is not None:
        state.claim = Claim(Delivery(claim.delivery_id, 0), claim.attempt, now - claim.age_seconds)
    return state


# the id of a delivery that is in the ledger: a closing send computes it anew
NO_ID = UUID(int=0)


class TakenWrite(NamedTuple):
    """:param start: where the cursor stands before it. :param records: how many it passes."""

    write: PartitionWrite
    start: int
    records: int


@dataclass
class HeldPartition:
    """A leased partition: what was read of it, and what is still to be written.

    :ivar lease_until: on the own monotonic clock; no call begins when too little of it is left.
    :ivar stray: lanes nobody can work on, such as those of a subscription that is no more.
    :ivar suspect_before: an owner before may have sent records below it without writing so.
    :ivar end: where a bounded run stops reading; None: never.
    """

    lease: Lease
    lease_seconds: float
    lease_until: float
    suspect_before: int | None = None
    end: int | None = None
    number: int = 0
    offsets: UnfinishedOffsets = field(init=False)
    entries: list[DeliveryEntry] = field(default_factory=list)
    dirty: dict[LaneKey, HeldLane] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    stray: list[LaneEntry] = field(default_factory=list)
    seen: dict[Subject, int] = field(default_factory=dict)
    _written_end: int = field(init=False)
    _waits: dict[int, int] = field(default_factory=dict)
    _window: deque[tuple[int, Subject, int]] = field(default_factory=deque)
    _records: deque[int] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.offsets = UnfinishedOffsets(self.lease.next_offset)
        self._written_end = self.lease.next_offset

    @property
    def is_read(self) -> bool:
        """To the end of a bounded run."""
        return self.end is not None and self.offsets.end >= self.end

    def extend(self, since: float) -> None:
        """The ledger has answered a call that was made at ``since``."""
        self.lease_until = max(self.lease_until, since + self.lease_seconds)

    # ---- the cursor ----------------------------------------------------------------------------------------------

    def read(self, offset: int) -> None:
        """Reading of the record at ``offset`` begins; ``through`` ends it."""
        self.offsets.start(offset)
        self._records.append(offset)
        self._waits[offset] = 1

    def gate(self, offset: int, subject: Subject, revision: int) -> None:
        """The change at ``offset`` is the newest of its row so far."""
        self.seen[subject] = revision
        self._window.append((offset, subject, revision))

    def waits(self, offset: int) -> None:
        """One lane more has to be through with it."""
        self._waits[offset] += 1

    def through(self, offset: int) -> None:
        left = self._waits[offset] - 1
        if left:
            self._waits[offset] = left
        else:
            del self._waits[offset]
            self.offsets.finish(offset)

    # ---- what is to be told --------------------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        return bool(
            self.entries
            or self.dirty
            or self.dead_letters
            or self.stray
            or self.offsets.position > self._written_end
        )

    def take_write(self, now: float, *, reach: int | None = None) -> TakenWrite:
        """Everything there is to tell, once; it has to be written, however often it takes."""
        self.number += 1
        end = self.offsets.position
        passed: dict[Subject, int] = {}
        while self._window and self._window[0][0] < end:
            _, subject, revision = self._window.popleft()
            passed[subject] = revision
            if self.seen.get(subject) == revision:
                del self.seen[subject]
        records = 0
        while self._records and self._records[0] < end:
            self._records.popleft()
            records += 1
        write = PartitionWrite(
            lease=self.lease,
            number=self.number,
            end=end,
            reach=reach,
            deliveries=tuple(self.entries),
            lanes=(*self.stray, *[held.told(now) for held in self.dirty.values()]),
            seen=tuple(passed.items()),
            dead_letters=tuple(self.dead_letters),
        )
        self.entries, self.dirty, self.dead_letters, self.stray = [], {}, [], []
        taken = TakenWrite(write, self._written_end, records)
        self._written_end = end
        return taken


class LaneBoard:
    """Every lane in mind, by key; partitions by number. One event loop's own."""

    def __init__(self) -> None:
        self.lanes: dict[LaneKey, HeldLane] = {}
        self.partitions: dict[int, HeldPartition] = {}
        # a lane must not be forgotten between the reading of its row and the offers made upon it
        self.pins = 0
        # delivered all the same, of partitions that are somebody else's: the ledger is still to be told
        self.late: list[tuple[int, DeliveryEntry]] = []
        self.version = -1
        self.subscriptions: Mapping[str, Subscription] = {}

    @property
    def open_changes(self) -> int:
        """Read and not finished."""
        return sum(len(partition.offsets) for partition in self.partitions.values())

    @property
    def drains(self) -> int:
        return sum(held.is_drain for held in self.lanes.values())

    def forget(self, lanes: Iterable[HeldLane]) -> list[HeldLane]:
        """Drops those that have nothing to do or to tell; returns those that are to be asked about again."""
        if self.pins:
            return list(lanes)
        for held in lanes:
            partition = self.partitions.get(held.partition)
            has_news = partition is not None and held.key in partition.dirty
            if not (held.has_work or has_news) and self.lanes.get(held.key) is held:
                del self.lanes[held.key]
        return []

    def lose(self, partition: int) -> None:
        """Somebody else's now: what was not begun is theirs to do, what was delivered they have to know."""
        held = self.partitions.pop(partition, None)
        if held is not None:
            self.keep_delivered(partition, held.entries)
        for key in [lane.key for lane in self.lanes.values() if lane.partition == partition]:
            del self.lanes[key]

    def keep_delivered(self, partition: int, entries: Iterable[DeliveryEntry]) -> None:
        self.late += [(partition, entry) for entry in entries if entry.state == "delivered"]
