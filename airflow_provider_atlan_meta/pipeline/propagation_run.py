"""What one bounded or endless run of the consumption side is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_provider_atlan_meta.core.deliveries import DeliveryLedger, LaneKey, SubscriptionStore
from airflow_provider_atlan_meta.core.ports import Ledger, LogIdentity, RecordLog
from airflow_provider_atlan_meta.pipeline.change_intake import ChangeIntake, Gate
from airflow_provider_atlan_meta.pipeline.delivery_calls import CallPolicy, DeliveryCalls
from airflow_provider_atlan_meta.pipeline.delivery_writer import DeliveryWriter, WritePolicy
from airflow_provider_atlan_meta.pipeline.due_lanes import DueLanes
from airflow_provider_atlan_meta.pipeline.endpoints import Destinations
from airflow_provider_atlan_meta.pipeline.lane_board import LaneBoard, TakenWrite
from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange
from airflow_provider_atlan_meta.pipeline.wakes import Wake


@dataclass(frozen=True)
class Ports:
    """What a run works on. ``leases`` and ``ledger`` share one session, used by one thread at a time."""

    log: RecordLog
    leases: Ledger
    ledger: DeliveryLedger
    subscriptions: SubscriptionStore
    destinations: Destinations


@dataclass(frozen=True, kw_only=True)
class PropagatePolicy:
    """:param batch_records: changes read at once. :param open_changes: read and not finished: then reading waits.
    :param max_partitions: of one ``follow``; None: all that are free.
    :param stop_seconds: calls under way get this long to end.
    """

    batch_records: int = 500
    open_changes: int = 2_000
    lease_seconds: float = 30.0
    max_partitions: int | None = None
    stop_seconds: float = 12.0
    linger: float = 0.005
    unwritten: int = 64

    @property
    def calls(self) -> CallPolicy:
        return CallPolicy(unwritten=self.unwritten, lease_left=min(15.0, self.lease_seconds / 2))

    @property
    def writes(self) -> WritePolicy:
        return WritePolicy(
            lease=self.lease_seconds, renew=min(10.0, self.lease_seconds / 3), linger=self.linger
        )


@dataclass
class Run:
    """One ``follow`` or ``drain`` under way.

    :ivar is_bounded: it comes to an end, and tells the ``ranges`` it wrote.
    """

    identity: LogIdentity
    board: LaneBoard
    calls: DeliveryCalls
    writer: DeliveryWriter
    intake: ChangeIntake
    due: DueLanes
    records: int = 0
    is_bounded: bool = False
    ranges: list[PartitionRange] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)
    parked: set[LaneKey] = field(default_factory=set)
    workers: list[asyncio.Task[None]] = field(default_factory=list)
    progress: Wake = field(default_factory=Wake)
    is_assigned: bool = False

    def check(self) -> None:
        """:raises TransientError, TerminalError: what ended a worker."""
        for worker in self.workers:
            if worker.done():
                worker.result()
        if self.calls.failure is not None:
            raise self.calls.failure


class RunHooks(NamedTuple):
    """:param in_thread: runs a call of ledger or store, which blocks, one at a time."""

    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    written: Callable[[list[TakenWrite], frozenset[int]], None]
    gone: Callable[[str, str], None]
    gated: Callable[[Gate], None]
    clock: Callable[[], float]


def new_run(identity: LogIdentity, ports: Ports, policy: PropagatePolicy, hooks: RunHooks) -> Run:
    """Nothing is held and nothing works yet."""
    board = LaneBoard()
    writer = DeliveryWriter(
        identity,
        board,
        ports.ledger,
        policy.writes,
        in_thread=hooks.in_thread,
        told=hooks.written,
        clock=hooks.clock,
    )
    calls = DeliveryCalls(
        board,
        ports.destinations,
        policy.calls,
        claim=writer.claim,
        told=writer.wake,
        gone=hooks.gone,
        clock=hooks.clock,
    )
    writer.calls = calls
    threaded: dict[str, Any] = {"in_thread": hooks.in_thread, "clock": hooks.clock}
    capabilities = ports.destinations.capabilities
    intake = ChangeIntake(
        identity, board, ports.ledger, ports.subscriptions, capabilities, gated=hooks.gated, **threaded
    )
    due = DueLanes(identity, board, ports.ledger, writer, calls, intake, **threaded)
    return Run(identity, board, calls, writer, intake, due)
