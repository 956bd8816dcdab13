"""A topic, a ledger and destinations in memory, and consumers that come and die upon them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import msgspec

from airflow_provider_atlan_meta.core.changes import ChangeEvent
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.identity import change_id, partition_key
from airflow_provider_atlan_meta.core.lanes import ClaimUse, LanePolicy
from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.core.routing import DestinationSpec, DestinationType, Subscription
from airflow_provider_atlan_meta.core.rows import LogRecord
from airflow_provider_atlan_meta.core.sending import Capabilities, Destination
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits
from airflow_provider_atlan_meta.pipeline.outcomes import PropagateOutcome
from airflow_provider_atlan_meta.pipeline.propagate import SINK, Listener, Propagation
from airflow_provider_atlan_meta.pipeline.propagation_run import Ports, PropagatePolicy
from airflow_provider_atlan_meta.testing.destinations import MemoryDestination
from airflow_provider_atlan_meta.testing.memory_database import MemoryDatabase
from airflow_provider_atlan_meta.testing.memory_deliveries import MemoryDeliveries
from airflow_provider_atlan_meta.testing.memory_ledger import MemoryLedger
from airflow_provider_atlan_meta.testing.memory_log import MemoryLog, MemoryTopic
from airflow_provider_atlan_meta.testing.memory_store import Answer
from airflow_provider_atlan_meta.testing.memory_subscriptions import MemorySubscriptions

# Everything happens, only sooner.
QUICK = LanePolicy(
    retries=0.05,
    first_delay=0.01,
    parked=0.05,
    longest_parked=0.1,
    window=0.2,
    late=0.1,
    lag=0.02,
    margin=0.03,
)


def quick(claims: ClaimUse) -> LanePolicy:
    return LanePolicy(
        **{**{name: getattr(QUICK, name) for name in QUICK.__dataclass_fields__}, "claims": claims}
    )


CAPABILITIES: Mapping[str, Capabilities] = {
    "hook": Capabilities(type=DestinationType(), parts={"": QUICK}),
    "chat": Capabilities(
        type=DestinationType(),
        parts={"": quick(ClaimUse.FIRST), "thread": quick(ClaimUse.EVERY)},
        ops={"thread": ("updated", "deleted")},
        sends_state=True,
        calls_at_once=1,
    ),
}


def change(incident: str, revision: int, *, tenant: str = "acme", **row: Any) -> ChangeEvent:
    op = "created" if revision == 1 else "updated"
    after = {"status": None, "severity": None, **row}
    return ChangeEvent(
        change_id=str(change_id(tenant, "incident", incident, 1, revision)),
        kind="incident",
        op=op,  # type: ignore[arg-type]
        tenant_id=tenant,
        id=incident,
        revision=revision,
        changed_at="2026-11-25T00:00:00+00:00",
        changed=sorted(row) if op == "updated" else None,
        before=dict.fromkeys(row) if op == "updated" else None,
        after=after,
    )


def subscription(name: str = "all", kind: str = "hook", **match: Any) -> Subscription:
    return Subscription(
        name=name,
        tenant="*",
        match=Pattern(match or {"kind": ["incident"]}),
        destination=DestinationSpec(type=kind, conn_id=f"{kind}-{name}"),
    )


@dataclass
class World:
    """:ivar made: conn_id -> destination. :ivar missing: connections nobody knows.
    :ivar answers: of the ledger, to the next consumer's first calls.
    """

    subscriptions: MemorySubscriptions
    partitions: int = 1
    lease_seconds: float = 30.0
    made: dict[str, MemoryDestination] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    states: list[str] = field(default_factory=list)
    policy: PropagatePolicy | None = None
    answers: list[Answer] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.topic = MemoryTopic("meta.changes.v1", partitions=self.partitions)
        self.database = MemoryDatabase(time.monotonic)

    @classmethod
    def of(cls, *subscriptions: Subscription, **options: Any) -> World:
        return cls(MemorySubscriptions(subscriptions or (subscription(),)), **options)

    # ---- Destinations --------------------------------------------------------------------------------------------

    def capabilities(self, kind: str) -> Capabilities | None:
        return CAPABILITIES.get(kind)

    def open(self, spec: DestinationSpec) -> Destination:
        self.opened.append(spec.conn_id)
        if spec.conn_id in self.missing:
            raise ConfigurationError(f"connection {spec.conn_id!r} is not defined")
        return self.destination(spec.conn_id)

    def destination(self, conn_id: str = "hook-all") -> MemoryDestination:
        if conn_id not in self.made:
            parts = {
                part: policy.claims for part, policy in CAPABILITIES[conn_id.split("-")[0]].parts.items()
            }
            self.made[conn_id] = MemoryDestination(parts)
        return self.made[conn_id]

    # ---- what happens --------------------------------------------------------------------------------------------

    def tell(self, *changes: ChangeEvent, partition: int = 0) -> None:
        for one in changes:
            key = partition_key(one.tenant_id, one.id)
            self.topic.append(partition, LogRecord(0, 0, key, msgspec.json.encode(one), ()))

    def consumer(self, label: str = "dag/run/task#1") -> Propagation:
        owner = LeaseOwner(id=uuid4(), label=label)
        deliveries = MemoryDeliveries(self.database, sink=SINK, lease_seconds=self.lease_seconds)
        deliveries.answer_next(*self.answers)
        self.answers = []
        ports = Ports(
            MemoryLog(self.topic),
            MemoryLedger(self.database, owner, sink=SINK, lease_seconds=self.lease_seconds),
            deliveries,
            self.subscriptions,
            self,
        )
        policy = self.policy or PropagatePolicy(lease_seconds=self.lease_seconds, linger=0.0)
        return Propagation(
            ports=ports,
            owner=owner,
            policy=policy,
            listener=Listener(delivered=lambda entry: self.states.append(entry.state)),
        )

    def drain(self, stopped: Callable[[], bool] = lambda: False, **limits: Any) -> PropagateOutcome:
        """One bounded run of a new owner."""
        engine = self.consumer()
        try:
            return run(engine.drain(DrainLimits(**{"max_seconds": 5.0, **limits}), stopped))
        finally:
            engine.close()

    def revisions(self, conn_id: str = "hook-all") -> list[int]:
        return [one.change.revision for one in self.destination(conn_id).applied]

    @property
    def is_through(self) -> bool:
        """Everything is read, and nothing is parked, claimed, unsure or to be scanned."""
        tables = self.database.deliveries
        ends = {partition: self.topic.bounds(partition)[1] for partition in range(self.partitions)}
        rows = {key[2]: row.next_offset for key, row in self.database.ledger.items()}
        return (
            rows == ends
            and all(one.settled_at is not None and one.scan_at is None for one in tables.deliveries.values())
            and all(lane.due_at is None for lane in tables.lanes.values())
        )

    @property
    def cursor(self) -> int:
        """-1: nobody has taken the partition yet."""
        row = self.database.ledger.get(("memory", "meta.changes.v1", 0, SINK))
        return -1 if row is None else row.next_offset


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)
