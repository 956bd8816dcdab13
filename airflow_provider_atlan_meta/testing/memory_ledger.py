"""Leases and cursors in memory: ``core.ports.Ledger`` for one owner, over the database all owners share.

    database = MemoryDatabase(clock)
    mine = MemoryLedger(database, LeaseOwner(id=uuid4(), label="service a:1"))
    theirs = MemoryLedger(database, LeaseOwner(id=uuid4(), label="service b:1"))

Held to the same contract suite as the real ledger (``tests/contract/ledger.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.core.ports import ForeignLease, Lease, LeaseOwner, LogIdentity, Taken
from airflow_provider_atlan_meta.testing.memory_database import LedgerKey, LedgerRow, MemoryDatabase


class MemoryLedger:
    """Implements ``core.ports.Ledger`` on the database's clock."""

    def __init__(
        self,
        database: MemoryDatabase,
        owner: LeaseOwner,
        *,
        sink: str = "postgres",
        lease_seconds: float = 30.0,
    ) -> None:
        self._database = database
        self._owner = owner
        self._sink = sink
        self._lease_seconds = lease_seconds

    def take(self, log: LogIdentity, first_offsets: Mapping[int, int], limit: int) -> Taken:
        self._database.check_up()
        self._rows(log, first_offsets)
        now = self._database.clock()
        for partition, offset in first_offsets.items():
            self._database.ledger.setdefault(self._key(log, partition), LedgerRow(log.topic_id, offset, now))
        rows = self._rows(log, first_offsets)
        free = [p for p, row in rows.items() if row.expires_at < now or row.owner == self._owner.id]
        free.sort(key=lambda partition: (rows[partition].owner != self._owner.id, partition))
        for partition in free[:limit]:
            row = rows[partition]
            row.owner, row.label, row.epoch = self._owner.id, self._owner.label, row.epoch + 1
            row.expires_at = now + self._lease_seconds
        leases = [Lease(p, rows[p].next_offset, rows[p].epoch) for p in sorted(free[:limit])]
        return Taken(leases, self._foreign(rows))

    def look(self, log: LogIdentity) -> tuple[dict[int, int], list[ForeignLease]]:
        self._database.check_up()
        rows = self._rows(log, log.partitions)
        return {partition: row.next_offset for partition, row in rows.items()}, self._foreign(rows)

    def renew(self, log: LogIdentity, leases: Sequence[Lease]) -> set[int]:
        self._database.check_up()
        kept = self._kept(log, leases)
        for row in kept.values():
            row.expires_at = self._database.clock() + self._lease_seconds
        return set(kept)

    def release(self, log: LogIdentity, leases: Sequence[Lease]) -> None:
        self._database.check_up()
        for row in self._kept(log, leases).values():
            row.expires_at = float("-inf")

    def _key(self, log: LogIdentity, partition: int) -> LedgerKey:
        return (log.cluster_id, log.topic, partition, self._sink)

    def _rows(self, log: LogIdentity, partitions: Mapping[int, int] | Sequence[int]) -> dict[int, LedgerRow]:
        rows = {}
        for partition in partitions:
            row = self._database.ledger.get(self._key(log, partition))
            if row is None:
                continue
            if row.topic_id != log.topic_id:
                raise TerminalError(
                    f"the ledger knows {log.topic}/{partition} as {row.topic_id}, but the topic is now {log.topic_id}: "
                    "it was deleted and created again. Nothing was read"
                )
            rows[partition] = row
        return rows

    def _kept(self, log: LogIdentity, leases: Sequence[Lease]) -> dict[int, LedgerRow]:
        rows = self._rows(log, [lease.partition for lease in leases])
        return {p: rows[p] for p, _, epoch in leases if p in rows and rows[p].epoch == epoch}

    def _foreign(self, rows: Mapping[int, LedgerRow]) -> list[ForeignLease]:
        now = self._database.clock()
        return [
            ForeignLease(partition, row.next_offset, row.label, row.expires_at - now, now - row.moved_at)
            for partition, row in sorted(rows.items())
            if row.expires_at > now and row.owner != self._owner.id
        ]
