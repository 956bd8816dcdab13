"""What an ingest did or would do, in offsets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PartitionRange:
    """Offsets [start, end) of one partition, committed. :param deliveries: by state, what was written with it."""

    topic: str
    partition: int
    start: int
    end: int
    records: int
    duplicates: int = 0
    rejected: int = 0
    changes: int = 0
    deliveries: Mapping[str, int] = field(default_factory=dict)

    def followed_by(self, later: PartitionRange) -> PartitionRange:
        """Both as one range."""
        return PartitionRange(
            topic=self.topic,
            partition=self.partition,
            start=self.start,
            end=later.end,
            records=self.records + later.records,
            duplicates=self.duplicates + later.duplicates,
            rejected=self.rejected + later.rejected,
            changes=self.changes + later.changes,
            deliveries=added(self.deliveries, later.deliveries),
        )


def added(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """Both counts as one."""
    return {name: first.get(name, 0) + second.get(name, 0) for name in sorted({*first, *second})}


def joined(ranges: Iterable[PartitionRange]) -> tuple[PartitionRange, ...]:
    """One range per partition: batches of a run follow each other."""
    whole: dict[int, PartitionRange] = {}
    for part in ranges:
        known = whole.get(part.partition)
        whole[part.partition] = part if known is None else known.followed_by(part)
    return tuple(whole[partition] for partition in sorted(whole))


@dataclass(frozen=True, kw_only=True)
class IngestOutcome:
    """What a bounded run did.

    :param owned_by: partition -> who else owns it and works; they are not ours to read.
    :param lag: records of our partitions that the limits left for the next run.
    """

    topic: str
    records: int = 0
    duplicates: int = 0
    rejected: int = 0
    ranges: tuple[PartitionRange, ...] = ()
    owned_by: Mapping[int, str] = field(default_factory=dict)
    lag: int = 0
    dry_run: bool = False

    @classmethod
    def of(
        cls, topic: str, ranges: Iterable[PartitionRange], *, owned_by: Mapping[int, str], lag: int
    ) -> IngestOutcome:
        """:param ranges: as they were committed, in order."""
        whole = joined(ranges)
        return cls(
            topic=topic,
            records=sum(part.records for part in whole),
            duplicates=sum(part.duplicates for part in whole),
            rejected=sum(part.rejected for part in whole),
            ranges=whole,
            owned_by=owned_by,
            lag=lag,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe and small: fit for an XCom."""
        document = {**asdict(self), "owned_by": {str(p): label for p, label in self.owned_by.items()}}
        for part in document["ranges"]:
            # nothing is delivered on this side
            del part["deliveries"]
        return document


@dataclass(frozen=True, kw_only=True)
class PropagateOutcome:
    """What a bounded run of the consumption side did.

    :param records: changes the cursor passed. :param deliveries: state -> number, as written.
    :param parked_lanes: lanes that wait for a later run, as far as this run met them.
    """

    topic: str
    records: int = 0
    deliveries: Mapping[str, int] = field(default_factory=dict)
    rejected: int = 0
    ranges: tuple[PartitionRange, ...] = ()
    owned_by: Mapping[int, str] = field(default_factory=dict)
    lag: int = 0
    parked_lanes: int = 0
    dry_run: bool = False

    @classmethod
    def of(
        cls,
        topic: str,
        ranges: Iterable[PartitionRange],
        *,
        owned_by: Mapping[int, str],
        lag: int,
        parked_lanes: int,
    ) -> PropagateOutcome:
        """:param ranges: as they were committed, in order."""
        whole = joined(ranges)
        deliveries: Mapping[str, int] = {}
        for part in whole:
            deliveries = added(deliveries, part.deliveries)
        return cls(
            topic=topic,
            records=sum(part.records for part in whole),
            deliveries=deliveries,
            rejected=sum(part.rejected for part in whole) + deliveries.get("rejected", 0),
            ranges=whole,
            owned_by=owned_by,
            lag=lag,
            parked_lanes=parked_lanes,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe and small: fit for an XCom."""
        return {**asdict(self), "owned_by": {str(p): label for p, label in self.owned_by.items()}}
