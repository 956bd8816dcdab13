"""What the ledger's rows and a look at the log mean for a run: do they fit, what is unread, who else works."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.ports import (
    ForeignLease,
    Lease,
    LeaseOwner,
    Ledger,
    LogIdentity,
    Poll,
    RecordLog,
)
from airflow_provider_atlan_meta.core.rows import LogRecord
from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange

Bounds = Mapping[int, tuple[int, int]]

TAKEN_OVER = "taken over by another owner"


class Unread(NamedTuple):
    """What a bounded run would read, by offsets alone. :param owned_by: partition -> who works on it, so not we."""

    topic: str
    ranges: tuple[PartitionRange, ...]
    owned_by: Mapping[int, str]

    @property
    def records(self) -> int:
        """Transaction markers count."""
        return sum(part.records for part in self.ranges)


def look(log: RecordLog, ledger: Ledger) -> Unread:
    """Takes and changes nothing."""
    identity = log.identify()
    bounds = log.bounds(identity.partitions)
    cursors, foreign = ledger.look(identity)
    others = {lease.partition: lease.label for lease in foreign}
    ranges = tuple(
        PartitionRange(topic=identity.topic, partition=p, start=start, end=end, records=end - start)
        for p, (first, end) in sorted(bounds.items())
        if (start := cursors.get(p, first)) < end and p not in others
    )
    return Unread(identity.topic, ranges, others)


def check_cursors(identity: LogIdentity, leases: Iterable[Lease], bounds: Bounds) -> None:
    """:param bounds: read after the leases were taken: an owner before us may have moved on until then.
    :raises TerminalError: a cursor is not in the log.
    """
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


def owned_by(
    identity: LogIdentity,
    foreign: Iterable[ForeignLease],
    bounds: Bounds,
    owner: LeaseOwner,
    lease_seconds: float,
) -> dict[int, str]:
    """Who else works.

    :raises TransientError: "owned by" would hide a partition nobody moves.
    """
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


def first_offsets(bounds: Bounds) -> dict[int, int]:
    """An unknown partition starts at the oldest record that is kept: accepted means kept."""
    return {partition: first for partition, (first, _) in bounds.items()}


def ends_of(leases: Iterable[Lease], bounds: Bounds) -> dict[int, int]:
    """Of the partitions that have something to read."""
    ends = {lease.partition: bounds[lease.partition][1] for lease in leases}
    return {
        lease.partition: ends[lease.partition]
        for lease in leases
        if lease.next_offset < ends[lease.partition]
    }


def progress(poll: Poll, ends: Mapping[int, int]) -> dict[int, tuple[list[LogRecord], int]]:
    """partition -> its records before its end, and the offset that was reached, at most the end.

    What was reached may lie behind the last record: transaction markers take offsets without being records.
    """
    batches: dict[int, list[LogRecord]] = {partition: [] for partition in poll.ends if partition in ends}
    reached = dict(poll.ends)
    for record in poll.records:
        partition = record.partition
        if partition not in ends:
            continue
        batch = batches.setdefault(partition, [])
        if record.offset < ends[partition]:
            batch.append(record)
        if reached.get(partition, 0) <= record.offset:
            reached[partition] = record.offset + 1
    return {
        partition: (batch, min(reached[partition], ends[partition])) for partition, batch in batches.items()
    }
