"""The ledger of deliveries in schema ``meta``, on PostgreSQL's clock: one round trip per call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresSession, dead_letter_row
from airflow_provider_atlan_meta.clients.postgres_delivery_rows import (
    BEGIN,
    CLAIM,
    SETTLE,
    SETTLE_LATE,
    claim_columns,
    lane_row,
    late_columns,
    lease_columns,
    parked_delivery,
    subject_columns,
    write_columns,
)
from airflow_provider_atlan_meta.clients.postgres_ledger import application_name
from airflow_provider_atlan_meta.core.deliveries import (
    Begun,
    DeliveryEntry,
    DueLane,
    DueScan,
    PartitionWrite,
    Subject,
)
from airflow_provider_atlan_meta.core.delivery_entries import (
    compact,
    late_again,
    later_delivery,
    once_each,
)
from airflow_provider_atlan_meta.core.ports import Lease, LeaseOwner, LogIdentity

_LANE = """l.subscription, l.part, l.tenant_id, l.kind, l.id, l.seen, l.external_id, l.is_parked, l.parks,
       extract(epoch from now() - l.unsure_at)::float8, {last}, l.claim_id, l.claim_attempt,
       extract(epoch from now() - l.claimed_at)::float8, extract(epoch from l.due_at - now())::float8"""

# Partition by partition, so that the index gives the longest due first. What the lane delivered last comes once.
_DUE = """
select l.partition, {lane},
       d.delivery_id, d.revision, d.change::text, d.attempts
  from (select due.* from unnest(%(partitions)s::int[]) p (partition)
         cross join lateral (
               select o.subscription, o.part, o.tenant_id, o.kind, o.id, o.due_at from meta.delivery_lane o
                where o.partition = p.partition and o.due_at <= now() order by o.due_at limit %(lanes)s) due
         order by due.due_at limit %(lanes)s) k
  join meta.lane_state l on l.tenant_id = k.tenant_id and l.kind = k.kind and l.id = k.id
   and l.subscription = k.subscription and l.part = k.part
  left join lateral (
       select w.delivery_id, w.revision, w.change, w.attempts, row_number() over (order by w.revision) as n
         from meta.delivery w
        where w.tenant_id = l.tenant_id and w.kind = l.kind and w.id = l.id
          and w.subscription = l.subscription and w.part = l.part and w.settled_at is null
        order by w.revision limit %(deliveries)s + 1) d on true
 order by k.due_at, l.tenant_id, l.kind, l.id, l.subscription, l.part, d.revision"""
_DUE_SCANS = """
select l.partition, {lane}, d.delivery_id, d.revision, d.change::text, d.attempts
  from meta.delivery d
  join meta.lane_state l on l.tenant_id = d.tenant_id and l.kind = d.kind and l.id = d.id
   and l.subscription = d.subscription and l.part = d.part
 where d.scan_at <= now() and l.partition = any (%(partitions)s::int[]) order by d.scan_at limit %(limit)s"""
_DUE = _DUE.format(lane=_LANE.format(last="case when d.n is null or d.n = 1 then l.last::text end"))
_DUE_SCANS = _DUE_SCANS.format(lane=_LANE.format(last="null::text"))
_READ_ROWS = "select tenant_id, kind, id, revision, columns from meta.read_changed_rows(%s, %s, %s, %s)"


class PostgresDeliveries:
    """Implements ``core.deliveries.DeliveryLedger`` as role meta_consumer.

    :ivar session: what a ``PostgresLedger`` of the same owner and sink may share.
    """

    def __init__(self, config: PostgresConfig, *, sink: str, owner: LeaseOwner, lease_seconds: float) -> None:
        self.session = PostgresSession(config, application_name=application_name(owner))
        self._sink = sink
        self._lease_seconds = lease_seconds

    def begin(
        self, log: LogIdentity, reach: Mapping[Lease, int], subjects: Sequence[Subject], *, with_last: bool
    ) -> Begun:
        rows = self._fetch(
            BEGIN,
            *(log.cluster_id, log.topic, self._sink, self._lease_seconds),
            *(*lease_columns(reach.items()), *subject_columns(dict.fromkeys(subjects)), with_last),
        )
        lost, reached, lanes, seen, version = set(), {}, {}, {}, 0
        for what, partition, *row in rows:
            if what == "lane":
                lane = lane_row(row)
                lanes[lane.key] = lane
            elif what == "change":
                seen[Subject(*row[2:5])] = row[5]
            elif what == "version":
                version = row[5]
            elif row[5] is None:
                lost.add(partition)
            else:
                reached[partition] = row[5]
        return Begun(frozenset(lost), reached, lanes, seen, version)

    def claim(self, log: LogIdentity, lease: Lease, claims: Sequence[DeliveryEntry]) -> Mapping[UUID, int]:
        if not claims:
            return {}
        rows = self._fetch(
            CLAIM,
            *(log.cluster_id, log.topic, self._sink, lease.partition, lease.epoch),
            *claim_columns(once_each(claims, lambda one: one.delivery_id, later_delivery)),
        )
        return {UUID(bytes=delivery): attempt for delivery, attempt in rows}

    def write(self, log: LogIdentity, writes: Sequence[PartitionWrite]) -> frozenset[int]:
        writes = [compact(write) for write in writes]
        if not _are_apart(writes):
            return frozenset().union(*(self._write(log, [write]) for write in writes))
        return self._write(log, writes) if writes else frozenset()

    def write_late(self, log: LogIdentity, delivered: Sequence[tuple[int, DeliveryEntry]]) -> None:  # noqa: ARG002
        if delivered:
            entries = once_each(
                delivered, lambda one: one[1].delivery_id, lambda a, b: (b[0], late_again(a[1], b[1]))
            )
            self._fetch(SETTLE_LATE, *late_columns(entries))

    def due(
        self,
        log: LogIdentity,  # noqa: ARG002 - a lane has the number of its partition
        partitions: Sequence[int],
        *,
        lanes: int,
        deliveries: int,
    ) -> tuple[DueLane, ...]:
        rows = self.session.fetch(
            _DUE, {"partitions": list(partitions), "lanes": lanes, "deliveries": deliveries}
        )
        found = []
        for _, group in groupby(rows, lambda row: row[1:6]):
            first, *more = group
            parked = [parked_delivery(row[16:]) for row in (first, *more) if row[16] is not None]
            found.append(
                DueLane(first[0], lane_row(first[1:16]), tuple(parked[:deliveries]), len(parked) > deliveries)
            )
        return tuple(found)

    def due_scans(self, log: LogIdentity, partitions: Sequence[int], *, limit: int) -> tuple[DueScan, ...]:  # noqa: ARG002
        rows = self.session.fetch(_DUE_SCANS, {"partitions": list(partitions), "limit": limit})
        return tuple(DueScan(row[0], lane_row(row[1:16]), parked_delivery(row[16:])) for row in rows)

    def read_rows(self, subjects: Sequence[Subject]) -> Mapping[Subject, tuple[int, bytes]]:
        if not subjects:
            return {}
        tenants, kinds, ids = (list(column) for column in zip(*dict.fromkeys(subjects), strict=True))
        rows = self.session.fetch(_READ_ROWS, (",".join(sorted(set(tenants))), tenants, kinds, ids))
        return {Subject(*row[:3]): (row[3], row[4].encode()) for row in rows}

    def close(self) -> None:
        self.session.close()

    def _write(self, log: LogIdentity, writes: Sequence[PartitionWrite]) -> frozenset[int]:
        letters = [(write.lease.partition, letter) for write in writes for letter in write.dead_letters]
        pack = self.session.packers["staged_dead_letter"].pack
        ((lost,),) = self._fetch(
            SETTLE,
            *(log.cluster_id, log.topic, self._sink, self._lease_seconds),
            *write_columns(writes),
            [partition for partition, _ in letters],
            pack(dead_letter_row(letter) for _, letter in letters),
        )
        return frozenset(lost)

    def _fetch(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        _ = self.session.packers
        return self.session.fetch(query, arguments)


def _are_apart(writes: Sequence[PartitionWrite]) -> bool:
    """Whether no two are about the same partition, delivery, lane or subject: one statement writes a row once."""
    keys = [
        *(("partition", write.lease.partition) for write in writes),
        *(entry.delivery_id for write in writes for entry in write.deliveries),
        *(lane.key for write in writes for lane in write.lanes),
        *(subject for write in writes for subject, _ in write.seen),
    ]
    return len(keys) == len(set(keys))
