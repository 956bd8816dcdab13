"""The ledger of deliveries: what it knows of a lane, what it is told, and its port.

A lane is one subject on its way to one part of one subscription. Whoever holds the lease of the partition its changes
come from holds the lane: everything about it is written under that lease, in one transaction with the cursor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

from airflow_provider_atlan_meta.core.ports import Lease, LogIdentity
from airflow_provider_atlan_meta.core.routing import Subscription
from airflow_provider_atlan_meta.core.rows import DeadLetter

MAIN = ""

DeliveryState = Literal["claimed", "parked", "delivered", "folded", "rejected"]
# Nothing becomes of these any more.
FINAL: tuple[DeliveryState, ...] = ("delivered", "folded", "rejected")


class Subject(NamedTuple):
    """A row that changes tell of."""

    tenant_id: str
    kind: str
    id: str


class LaneKey(NamedTuple):
    """:param part: of the destination: ``""`` its main part, else a second one such as Slack's ``thread``."""

    subscription: str
    part: str
    tenant_id: str
    kind: str
    id: str

    @property
    def subject(self) -> Subject:
        return Subject(self.tenant_id, self.kind, self.id)


class OpenClaim(NamedTuple):
    """A claim nobody has told the end of. :param age_seconds: on the ledger's clock."""

    delivery_id: UUID
    attempt: int
    age_seconds: float


class LaneRow(NamedTuple):
    """A lane as the ledger knows it; the defaults are those of a lane it does not know.

    :param seen: highest revision that is finished in this lane.
    :param external_id: what the target holds of this subject, as the main part left it: every part reads the same.
    :param parks: how often in a row the lane was parked without a delivery in between.
    :param unsure_seconds: since a call of unknown outcome may have been sent last; None: nothing is unsure.
    :param last: the change the lane delivered last, as JSON; empty: none, or it was not asked for.
    :param due_seconds: from now until the lane wants attention; negative: since; None: it wants none.
    """

    key: LaneKey
    seen: int = 0
    external_id: str = ""
    is_parked: bool = False
    parks: int = 0
    unsure_seconds: float | None = None
    last: bytes = b""
    claim: OpenClaim | None = None
    due_seconds: float | None = None


class ParkedDelivery(NamedTuple):
    """:param change: as JSON. :param attempts: calls that were begun for it."""

    delivery_id: UUID
    revision: int
    change: bytes
    attempts: int


class DueLane(NamedTuple):
    """A lane that wants attention: parked ones to be drained, or a closing send.

    :param row: with ``last``. :param deliveries: what is parked or claimed, by revision, a bounded number.
    :param has_more: more are parked behind those.
    """

    partition: int
    row: LaneRow
    deliveries: tuple[ParkedDelivery, ...]
    has_more: bool


class DueScan(NamedTuple):
    """A claimed delivery that may have taken effect more than once: to be looked up and folded."""

    partition: int
    row: LaneRow
    delivery: ParkedDelivery


class DeliveryEntry(NamedTuple):
    """What the ledger is to say of a delivery. A final state is never overwritten; of a delivered one a scan's end
    (no ``scan_seconds``, ``folded``) is added.

    :param attempts: calls that were begun; the ledger keeps the larger number.
    :param status: of the last answer, where it was an HTTP one. :param detail: for people, free of secrets.
    :param change: as JSON; kept while the delivery is not final, and while a scan is due.
    :param scan_seconds: from now until it is looked up for doubles; None: it need not be.
    :param folded: doubles that a scan took away.
    :param claim_open: nobody knows yet whether the claimed call took effect; else a claim of it is settled.
    :param external_id: what this delivery made at the target: its receipt.
    """

    key: LaneKey
    delivery_id: UUID
    change_id: str
    revision: int
    state: DeliveryState
    attempts: int = 0
    status: int | None = None
    detail: str = ""
    change: bytes = b""
    scan_seconds: float | None = None
    folded: int = 0
    claim_open: bool = False
    external_id: str = ""


class LaneEntry(NamedTuple):
    """What the ledger is to say of a lane.

    :param seen: the ledger keeps the larger one. :param external_id: of the main part; empty leaves what is there.
    :param due_seconds: from now until the lane wants attention, whoever holds it then; None: it wants none.
    :param unsure_seconds: as in ``LaneRow``. :param last: empty leaves what is there.
    """

    key: LaneKey
    seen: int
    external_id: str = ""
    is_parked: bool = False
    parks: int = 0
    due_seconds: float | None = None
    unsure_seconds: float | None = None
    last: bytes = b""


class PartitionWrite(NamedTuple):
    """What one partition's owner has to say, with the cursor; all of it is written, or nothing.

    :param number: 1 for the first write under a lease, then one more each time. The same number again is the same
        write again, which may have been written already; a lower one comes too late and is refused.
    :param end: where the cursor shall stand; never behind where it stands.
    :param reach: what was sent lies before it; None leaves what ``begin`` said.
    :param seen: highest revision per subject among the changes the cursor passes.
    """

    lease: Lease
    number: int
    end: int
    reach: int | None = None
    deliveries: tuple[DeliveryEntry, ...] = ()
    lanes: tuple[LaneEntry, ...] = ()
    seen: tuple[tuple[Subject, int], ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()


class Begun(NamedTuple):
    """:param lost: partitions that are somebody else's now.
    :param reached: partition -> ``reach`` as it was before this call: what an owner before may have sent lies below.
    :param lanes: those of the subjects that the ledger knows, every part of every subscription.
    :param seen: highest revision the cursor has passed, of the subjects it knows.
    :param version: of the subscriptions; another number means they were changed.
    """

    lost: frozenset[int]
    reached: Mapping[int, int]
    lanes: Mapping[LaneKey, LaneRow]
    seen: Mapping[Subject, int]
    version: int


class DeliveryLedger(Protocol):
    """Times are told as ages and waits, so that the ledger's own clock is the only one. Not thread-safe.

    Every method raises TransientError while the ledger cannot be reached: then nothing may be sent, and the same call
    may be made again.
    """

    def begin(
        self, log: LogIdentity, reach: Mapping[Lease, int], subjects: Sequence[Subject], *, with_last: bool
    ) -> Begun:
        """Before a call is made for any record below ``reach``. Extends the leases.

        :param reach: lease -> the offset behind what may be sent from now on; never goes down.
        :param with_last: whether ``LaneRow.last`` is wanted.
        """
        ...

    def claim(self, log: LogIdentity, lease: Lease, claims: Sequence[DeliveryEntry]) -> Mapping[UUID, int]:
        """Commits the right to call: delivery -> which attempt it is. One that is missing may not be called: it is
        final already, or the partition is somebody else's (then all are missing). Claiming again is a new attempt.
        A lane has one open claim: whoever claims anew has settled the one before.
        """
        ...

    def write(self, log: LogIdentity, writes: Sequence[PartitionWrite]) -> frozenset[int]:
        """Returns the partitions that are somebody else's now, of which nothing was written. Extends the leases.

        With a main part's first ``external_id`` its other parts that are parked become due.
        """
        ...

    def write_late(self, log: LogIdentity, delivered: Sequence[tuple[int, DeliveryEntry]]) -> None:
        """What was delivered (partition, entry) by an owner that has lost its lease: the deliveries become final
        unless they are, their lanes unsure from now on; a lane without an ``external_id`` gets the main part's;
        nothing else changes.
        """
        ...

    def due(
        self, log: LogIdentity, partitions: Sequence[int], *, lanes: int, deliveries: int
    ) -> tuple[DueLane, ...]:
        """Lanes of these partitions whose time has come, the longest due first; at most ``deliveries`` of each."""
        ...

    def due_scans(self, log: LogIdentity, partitions: Sequence[int], *, limit: int) -> tuple[DueScan, ...]:
        """Deliveries whose ``scan_seconds`` are over."""
        ...

    def read_rows(self, subjects: Sequence[Subject]) -> Mapping[Subject, tuple[int, bytes]]:
        """The rows as they are now: (revision, effective columns as JSON, spelled as changes spell them)."""
        ...


class SubscriptionStore(Protocol):
    """Subscriptions as they were applied last."""

    def load(self) -> tuple[int, tuple[Subscription, ...]]:
        """Their version, as in ``Begun.version``, and all of them, disabled ones included, by name."""
        ...

    def disable(self, name: str, reason: str) -> None:
        """The receiver wants nothing any more. Audited; disabling twice is once."""
        ...
