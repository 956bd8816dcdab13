"""What is told of deliveries and subscriptions to people who ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from airflow_provider_atlan_meta.core.deliveries import DeliveryState, Subject

MAX_RECEIPTS = 10_000


@dataclass(frozen=True, kw_only=True)
class ReceiptQuery:
    """Which receipts; every field that is not empty has to hold. :ivar incident: incident id."""

    change_id: str = ""
    incident: str = ""
    subscription: str = ""
    state: DeliveryState | None = None
    tenant: str = ""
    limit: int = 50


class Receipt(NamedTuple):
    """One delivery: one change to one part of one subscription.

    :param at: when it was first written. :param settled_at: since when its state is final.
    :param external_id: what the target holds of the subject now.
    """

    delivery_id: str
    at: datetime
    settled_at: datetime | None
    state: DeliveryState
    attempts: int
    subscription: str
    part: str
    subject: Subject
    change_id: str
    revision: int
    status: int | None
    detail: str
    folded: int
    external_id: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        told = {**self._asdict(), **self.subject._asdict()}
        del told["subject"]
        times = {name: told[name] and told[name].isoformat() for name in ("at", "settled_at")}
        return {**told, **times}


class Readable(NamedTuple):
    """Whose rows a connection sees. :param role: as which it is logged in."""

    role: str
    tenants: tuple[str, ...]


class SubscriptionUse(NamedTuple):
    """What has become of a subscription's deliveries. :param parked: subjects that wait."""

    applied_at: datetime | None
    applied_by: str
    disabled_at: datetime | None
    disabled_reason: str
    parked: int
    last_delivery: datetime | None


class KnownRow(NamedTuple):
    """A row as it is now. :param columns: effective ones as JSON; empty: it is gone, this is its tombstone."""

    subject: Subject
    revision: int
    changed_at: datetime
    columns: bytes
