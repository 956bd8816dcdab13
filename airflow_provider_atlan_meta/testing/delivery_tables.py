"""What the ledger of deliveries keeps, in memory: meta.delivery, meta.delivery_lane and meta.change_seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from airflow_provider_atlan_meta.core.deliveries import (
    FINAL,
    MAIN,
    DeliveryEntry,
    LaneEntry,
    LaneKey,
    LaneRow,
    OpenClaim,
    ParkedDelivery,
    Subject,
)
from airflow_provider_atlan_meta.core.delivery_entries import later_delivery

_LATE_SECONDS = 60.0


@dataclass(slots=True)
class StoredDelivery:
    """A row of ``meta.delivery``. ``entry`` holds what was said of it; its ``scan_seconds`` say nothing."""

    entry: DeliveryEntry
    at: float
    claimed_at: float | None = None
    scan_at: float | None = None
    settled_at: float | None = None

    @property
    def parked(self) -> ParkedDelivery:
        entry = self.entry
        return ParkedDelivery(entry.delivery_id, entry.revision, entry.change, entry.attempts)


@dataclass(slots=True)
class StoredLane:
    """A row of ``meta.delivery_lane``."""

    partition: int
    seen: int = 0
    external_id: str = ""
    is_parked: bool = False
    parks: int = 0
    due_at: float | None = None
    unsure_at: float | None = None
    last: bytes = b""


@dataclass
class DeliveryTables:
    """:ivar rows: what ``read_rows`` gives. :ivar version: of the subscriptions."""

    deliveries: dict[UUID, StoredDelivery] = field(default_factory=dict)
    lanes: dict[LaneKey, StoredLane] = field(default_factory=dict)
    seen: dict[Subject, int] = field(default_factory=dict)
    rows: dict[Subject, tuple[int, bytes]] = field(default_factory=dict)
    version: int = 0

    # ---- writing -------------------------------------------------------------------------------------------------

    def claim(self, partition: int, entry: DeliveryEntry, now: float) -> int | None:
        """Which attempt it is; None: it is final."""
        self.lanes.setdefault(entry.key, StoredLane(partition))
        known = self.deliveries.get(entry.delivery_id)
        if known is None:
            fresh = DeliveryEntry(
                *(entry.key, entry.delivery_id, entry.change_id, entry.revision, entry.state),
                change=entry.change,
            )
            known = self.deliveries[entry.delivery_id] = StoredDelivery(fresh, now)
        if known.settled_at is not None:
            return None
        attempt = max(known.entry.attempts, entry.attempts) + 1
        known.entry = known.entry._replace(
            state="claimed", attempts=attempt, change=entry.change or known.entry.change
        )
        known.claimed_at = now
        return attempt

    def end_claims(self, entries: Sequence[DeliveryEntry]) -> None:
        """Whoever claims these has settled what their lanes had claimed before."""
        keys, ids = {one.key for one in entries}, {one.delivery_id for one in entries}
        for known in self.deliveries.values():
            entry = known.entry
            if known.claimed_at is not None and entry.key in keys and entry.delivery_id not in ids:
                known.claimed_at, known.entry = None, entry._replace(state="parked")

    def put(self, entry: DeliveryEntry, now: float) -> None:
        known = self.deliveries.get(entry.delivery_id)
        if known is None:
            known = self.deliveries[entry.delivery_id] = StoredDelivery(entry, now)
        elif known.settled_at is not None and entry.state not in FINAL:
            return
        else:
            known.entry = later_delivery(known.entry, entry)
        is_final = entry.state in FINAL
        if is_final and known.settled_at is None:
            known.settled_at = now
        known.scan_at = None if entry.scan_seconds is None else now + entry.scan_seconds
        if is_final or not entry.claim_open:
            known.claimed_at = None
        elif known.claimed_at is None:
            known.claimed_at = now
        if is_final and known.scan_at is None:
            known.entry = known.entry._replace(change=b"")

    def wake_parts(self, partition: int, entries: Sequence[LaneEntry], now: float) -> None:
        """Where a main part has made something: the other parts, parked for want of it, need wait no longer."""
        for key in [one.key for one in entries if one.key.part == MAIN and one.external_id]:
            main = self.lanes.get(key)
            if main is None or not main.external_id:
                for other, lane in self.lanes.items():
                    is_part = other.part != MAIN and other._replace(part=MAIN) == key
                    if is_part and lane.partition == partition and lane.is_parked:
                        lane.due_at = None if lane.due_at is None else min(lane.due_at, now)

    def put_lane(self, partition: int, entry: LaneEntry, now: float) -> None:
        lane = self.lanes.setdefault(entry.key, StoredLane(partition))
        lane.partition = partition
        lane.seen = max(lane.seen, entry.seen)
        if entry.key.part == MAIN:
            lane.external_id = entry.external_id or lane.external_id
        lane.is_parked, lane.parks = entry.is_parked, entry.parks
        lane.due_at = None if entry.due_seconds is None else now + entry.due_seconds
        lane.unsure_at = None if entry.unsure_seconds is None else now - entry.unsure_seconds
        lane.last = entry.last or lane.last

    def put_late(self, partition: int, entry: DeliveryEntry, now: float) -> None:
        lane = self.lanes.setdefault(entry.key, StoredLane(partition))
        lane.unsure_at = now
        lane.due_at = min(now + _LATE_SECONDS, float("inf") if lane.due_at is None else lane.due_at)
        if entry.key.part == MAIN:
            lane.external_id = lane.external_id or entry.external_id
        known = self.deliveries.get(entry.delivery_id)
        if known is None or known.settled_at is None:
            self.put(entry._replace(state="delivered", folded=0), now)
        elif entry.scan_seconds is not None and known.scan_at is None:
            known.scan_at = now + entry.scan_seconds
            known.entry = known.entry._replace(change=known.entry.change or entry.change)

    # ---- reading -------------------------------------------------------------------------------------------------

    def lane_row(self, key: LaneKey, now: float, *, with_last: bool) -> LaneRow:
        lane = self.lanes[key]
        main = self.lanes.get(key._replace(part=MAIN))
        claimed = [one for one in self.open_of(key) if one.claimed_at is not None]
        return LaneRow(
            key=key,
            seen=lane.seen,
            external_id="" if main is None else main.external_id,
            is_parked=lane.is_parked,
            parks=lane.parks,
            unsure_seconds=None if lane.unsure_at is None else now - lane.unsure_at,
            last=lane.last if with_last else b"",
            claim=_open_claim(claimed[0], now) if claimed else None,
            due_seconds=None if lane.due_at is None else lane.due_at - now,
        )

    def open_of(self, key: LaneKey) -> list[StoredDelivery]:
        """What is not final of a lane, by revision."""
        found = [one for one in self.deliveries.values() if one.entry.key == key and one.settled_at is None]
        return sorted(found, key=lambda one: one.entry.revision)


def _open_claim(delivery: StoredDelivery, now: float) -> OpenClaim:
    claimed_at = now if delivery.claimed_at is None else delivery.claimed_at
    return OpenClaim(delivery.entry.delivery_id, delivery.entry.attempts, now - claimed_at)
