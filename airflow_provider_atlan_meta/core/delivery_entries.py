"""What is told of a delivery or a lane more than once, as the one entry it comes to in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from airflow_provider_atlan_meta.core.deliveries import (
    FINAL,
    DeliveryEntry,
    LaneEntry,
    PartitionWrite,
    Subject,
)

Entry = TypeVar("Entry")


def once_each(
    entries: Iterable[Entry], key: Callable[[Entry], Hashable], merge: Callable[[Entry, Entry], Entry]
) -> tuple[Entry, ...]:
    """One entry per key, in the order of the keys' first ones."""
    found: dict[Hashable, Entry] = {}
    for entry in entries:
        before = found.get(key(entry))
        found[key(entry)] = entry if before is None else merge(before, entry)
    return tuple(found.values())


def later_delivery(before: DeliveryEntry, entry: DeliveryEntry) -> DeliveryEntry:
    """A final state stays; of a delivery that has one, only the end of a scan is added."""
    if before.state in FINAL and entry.state not in FINAL:
        return before
    merged = entry._replace(
        change_id=before.change_id or entry.change_id,
        attempts=max(before.attempts, entry.attempts),
        change=entry.change or before.change,
        folded=before.folded + entry.folded,
        external_id=entry.external_id or before.external_id,
    )
    if before.state not in FINAL:
        return merged
    return merged._replace(
        state=before.state,
        status=before.status,
        detail=before.detail,
        external_id=before.external_id or entry.external_id,
    )


def late_again(before: DeliveryEntry, entry: DeliveryEntry) -> DeliveryEntry:
    """A delivery that was made twice by one former owner: it is looked up for doubles if either says so."""
    return before._replace(
        scan_seconds=entry.scan_seconds if before.scan_seconds is None else before.scan_seconds,
        change=before.change or entry.change,
        external_id=before.external_id or entry.external_id,
    )


def later_lane(before: LaneEntry, entry: LaneEntry) -> LaneEntry:
    return entry._replace(
        seen=max(before.seen, entry.seen),
        external_id=entry.external_id or before.external_id,
        last=entry.last or before.last,
    )


def compact(write: PartitionWrite) -> PartitionWrite:
    """The same write with one entry per delivery, lane and subject."""
    seen: dict[Subject, int] = {}
    for subject, revision in write.seen:
        seen[subject] = max(revision, seen.get(subject, 0))
    return write._replace(
        deliveries=once_each(write.deliveries, lambda entry: entry.delivery_id, later_delivery),
        lanes=once_each(write.lanes, lambda entry: entry.key, later_lane),
        seen=tuple(seen.items()),
    )
