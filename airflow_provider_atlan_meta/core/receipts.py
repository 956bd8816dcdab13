"""What is told of deliveries and subscriptions to people who ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

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
    """Whose rows a connection sees. :param is_limited: those of its tenants only, and what is of ``*``."""

    is_limited: bool
    tenants: tuple[str, ...]

    def hides(self, tenant: str) -> bool:
        return self.is_limited and tenant not in self.tenants

    @property
    def hint(self) -> str:
        """Behind an empty answer: which tenants could have been in it; empty where all could."""
        if not self.is_limited:
            return ""
        if self.tenants:
            return f"; this connection sees {', '.join(self.tenants)}"
        return (
            "; this connection sees no tenant: name them in its extra, "
            '{"options": "-c meta.tenants=acme,globex"}'
        )


class SubscriptionUse(NamedTuple):
    """What has become of a subscription. :param parked: subjects that wait for it."""

    applied_at: datetime | None
    applied_by: str
    disabled_at: datetime | None
    parked: int
    last_delivery: datetime | None


class KnownRow(NamedTuple):
    """A row as it is now.

    :param change_id: of its last revision. :param changed_at: as changes spell it.
    :param columns: the effective ones as JSON; empty: it is gone, and this is what is left of it.
    """

    subject: Subject
    revision: int
    change_id: str
    changed_at: str
    columns: bytes


class ChangeArchive(Protocol):
    """Where changes can be found again."""

    def changed(self, change_id: str) -> tuple[Subject, int] | None:
        """What a delivered change told of: the row and its revision."""
        ...

    def rows(self, row_id: str) -> Sequence[KnownRow]:
        """Rows of this id as they are now, of every kind and tenant that may be seen."""
        ...

    def changes(self, subject: Subject) -> Sequence[bytes]:
        """The row's changes that are still kept, as JSON: last ones delivered, and those that wait."""
        ...
