"""What the pipeline needs from the outside, as small Protocols. Clients implement them, testing fakes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from airflow_provider_atlan_meta.core.merging import BatchPlan, IncidentKey, IncidentState
from airflow_provider_atlan_meta.core.rows import DeadLetter, LogRecord


@dataclass(frozen=True, kw_only=True)
class LogIdentity:
    """A topic that cannot be mistaken for another one of the same name."""

    cluster_id: str
    topic: str
    topic_id: str
    partitions: tuple[int, ...]


class Poll(NamedTuple):
    """What one look at the log gave.

    :param ends: partitions whose last stable record was reached, with the offset behind it (transaction markers
        take offsets without being records).
    """

    records: list[LogRecord]
    ends: dict[int, int]


class RecordLog(Protocol):
    """A topic read by position, never by group: the ledger knows the positions. Not thread-safe."""

    def identify(self) -> LogIdentity: ...

    def bounds(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """partition -> (first offset kept, last stable offset)."""
        ...

    def assign(self, positions: Mapping[int, int]) -> None:
        """Reads exactly these partitions, from these offsets, from now on."""
        ...

    def poll(self, max_records: int, timeout_seconds: float) -> Poll:
        """Returns as soon as there is something, at the latest after the timeout."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class LeaseOwner:
    """Who holds a lease: new for every process start and every task try.

    :param label: for people: ``service host:pid`` or ``dag/run/task#try``.
    :param task: the label without its try; an earlier try's lease is waited for, not taken for somebody else's.
    """

    id: UUID
    label: str
    task: str = ""

    def is_earlier_try(self, other_label: str) -> bool:
        return bool(self.task) and other_label != self.label and other_label.rsplit("#", 1)[0] == self.task


class Lease(NamedTuple):
    """A partition this process may write, as the ledger stood when it was taken."""

    partition: int
    next_offset: int
    epoch: int


class ForeignLease(NamedTuple):
    """A partition somebody else owns.

    :param moved_seconds: since its cursor last moved. :param left_seconds: until it may be taken.
    """

    partition: int
    next_offset: int
    label: str
    left_seconds: float
    moved_seconds: float


class Taken(NamedTuple):
    leases: list[Lease]
    foreign: list[ForeignLease]


class Commit(NamedTuple):
    """The ledger's row as the writer believes it is, and where it shall stand afterwards."""

    cluster_id: str
    topic: str
    partition: int
    sink: str
    epoch: int
    start: int
    end: int
    lease_seconds: float


class Ledger(Protocol):
    """Leases and cursors per (cluster, topic, partition, sink), on the database's clock."""

    def take(self, log: LogIdentity, first_offsets: Mapping[int, int], limit: int) -> Taken:
        """Leases what is free or expired, at most ``limit`` partitions; every lease taken has a new epoch.

        :param first_offsets: where a partition starts that the ledger does not know yet.
        :raises TerminalError: the ledger knows the topic under another id.
        """
        ...

    def look(self, log: LogIdentity) -> tuple[dict[int, int], list[ForeignLease]]:
        """partition -> cursor of what the ledger knows, and who holds a lease now; changes nothing."""
        ...

    def renew(self, log: LogIdentity, leases: Sequence[Lease]) -> set[int]:
        """Extends the leases; returns the partitions still owned."""
        ...

    def release(self, log: LogIdentity, leases: Sequence[Lease]) -> None:
        """Frees what is still owned under these epochs; the cursor stays."""
        ...


class EventStore(Protocol):
    """Events, incidents and entities, written together with the cursor.

    :ivar mapping_revision: of the mappings that what it applies was derived under: it applies nothing under another,
        but raises MappingMovedError. None: derived under none, nothing is checked.
    """

    mapping_revision: int | None

    def read_incidents(self, keys: Sequence[IncidentKey]) -> dict[IncidentKey, IncidentState]: ...

    def known_events(self, keys: Sequence[bytes], tenants: Sequence[str]) -> dict[bytes, bool]: ...

    def apply(
        self,
        plan: BatchPlan,
        *,
        commit: Commit | None,
        dead_letters: Sequence[DeadLetter] = (),
        held: bool = False,
    ) -> None:
        """:param commit: None: a replay, which has no cursor. :param held: its changes are told to nobody."""
        ...

    def ensure_event_days(self) -> None: ...

    def close(self) -> None: ...


class OutboundRecord(NamedTuple):
    """A record on its way to a topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class RecordPosition(NamedTuple):
    """Where a record landed."""

    partition: int
    offset: int


class Publisher(Protocol):
    """Sends records to the log. Records of one key keep the order of the calls."""

    async def publish(self, records: Sequence[OutboundRecord]) -> list[RecordPosition]:
        """Returns when every record is acknowledged by all in-sync replicas, in the order of acknowledgement.

        :raises AtlanMetaError: at least one is not; it may or may not be in the log, the others are.
        """
        ...


class RecordSender(Protocol):
    """Records to Kafka from a plain thread."""

    def send(self, records: Sequence[OutboundRecord]) -> None:
        """Returns once all are acknowledged.

        :raises TransientError: not all are; some may be.
        """
        ...


class StoredDeadLetter(NamedTuple):
    """A dead letter with its origin, which is its identity. :param at: when it was set aside, ISO 8601."""

    cluster_id: str
    topic: str
    partition: int
    offset: int
    sink: str
    key: bytes | None
    headers: list[tuple[str, bytes | None]]
    value: bytes | None
    stage: str
    reason: str
    fingerprint: str
    at: str


class DeadLetterOutbox(Protocol):
    """Dead letters that were committed with a cursor and are not on their topic yet."""

    def unpublished(self, limit: int) -> list[StoredDeadLetter]: ...

    def mark_published(self, letters: Sequence[StoredDeadLetter]) -> None: ...
