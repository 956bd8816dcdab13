"""The ingest engine without servers, for tests: a topic, a database and a clock in memory.

    lane = MemoryLane(partitions=2)
    lane.publish(0, "inc-1", alert_feedback="investigating")
    outcome = lane.ingest().drain(DrainLimits())
    assert outcome.records == 1
    assert lane.database.tables.incidents["acme", "inc-1"].revision == 1

Time stands still unless ``lane.clock.advance`` is called or a reader polls an empty topic. Trouble is made on the
parts: ``MemoryLog.fail_next``, ``MemoryStore.answer_next``, ``MemoryDatabase.is_up``, ``refuses``, ``edit_incident``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.pipeline.ingest import Ingest, IngestPolicy, Listener
from airflow_provider_atlan_meta.testing.clock import ManualClock
from airflow_provider_atlan_meta.testing.memory_database import MemoryDatabase
from airflow_provider_atlan_meta.testing.memory_ledger import MemoryLedger
from airflow_provider_atlan_meta.testing.memory_log import MemoryLog, MemoryTopic
from airflow_provider_atlan_meta.testing.memory_store import Answer, MemoryStore
from airflow_provider_atlan_meta.testing.records import EPOCH_MS, webhook_record

__all__ = [
    "Answer",
    "ManualClock",
    "MemoryDatabase",
    "MemoryLane",
    "MemoryLedger",
    "MemoryLog",
    "MemoryStore",
    "MemoryTopic",
]


class MemoryLane:
    """One topic into one database, for any number of owners.

    :ivar log, store: of the owner ``ingest`` was called for last.
    """

    def __init__(self, *, partitions: int = 1) -> None:
        self.clock = ManualClock()
        self.topic = MemoryTopic(partitions=partitions)
        self.database = MemoryDatabase(self.clock)
        self.log = MemoryLog(self.topic, clock=self.clock)
        self.store = MemoryStore(self.database)
        self._owners = 0
        self._published = 0

    def publish(self, partition: int, incident: str | None, **payload: Any) -> int:
        """Puts a webhook at the end of a partition, received a millisecond after the one before; its offset."""
        self._published += 1
        record = webhook_record(incident, received_at_ms=EPOCH_MS + self._published, **payload)
        return self.topic.append(partition, record) - 1

    def owner(self, label: str = "", *, task: str = "") -> LeaseOwner:
        """Somebody new; owners are numbered, so that runs can be repeated."""
        self._owners += 1
        return LeaseOwner(id=UUID(int=self._owners), label=label or f"owner {self._owners}", task=task)

    def ledger(self, owner: LeaseOwner, *, lease_seconds: float = 30.0) -> MemoryLedger:
        return MemoryLedger(self.database, owner, lease_seconds=lease_seconds)

    def ingest(
        self,
        owner: LeaseOwner | None = None,
        *,
        policy: IngestPolicy | None = None,
        listener: Listener | None = None,
        clock: Callable[[], float] | None = None,
    ) -> Ingest:
        """The engine for one owner, with a reader and a store of its own."""
        owner, policy = owner or self.owner(), policy or IngestPolicy()
        self.log, self.store = MemoryLog(self.topic, clock=self.clock), MemoryStore(self.database)
        return Ingest(
            log=self.log,
            ledger=self.ledger(owner, lease_seconds=policy.lease_seconds),
            store=self.store,
            owner=owner,
            policy=policy,
            listener=listener,
            clock=clock or self.clock,
        )

    def cursors(self) -> dict[int, int]:
        """partition -> next_offset, of what the ledger knows."""
        return {key[2]: row.next_offset for key, row in sorted(self.database.ledger.items())}
