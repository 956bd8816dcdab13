"""Why a subscription hears of a change or does not: the change found again, the rules asked one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import msgspec

from airflow_provider_atlan_meta.core.changes import ChangeEvent, Op, completed, decode_change
from airflow_provider_atlan_meta.core.deliveries import Subject
from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError
from airflow_provider_atlan_meta.core.receipts import ChangeArchive, KnownRow
from airflow_provider_atlan_meta.core.routing import Explanation, Router, Subscription

_UNKNOWN = "what changed is not kept, so rules about changed, from/to and before cannot hold here"


@dataclass(frozen=True, kw_only=True)
class FoundChange:
    """:ivar origin: where it is from, and what it lacks therefore; for people."""

    change: ChangeEvent
    origin: str


@dataclass(frozen=True, kw_only=True)
class Explained:
    """:ivar subscriptions: those of the change's tenant and of ``*``, by name.
    :ivar unusable: subscription -> why it cannot be asked.
    """

    found: FoundChange
    subscriptions: Mapping[str, Subscription]
    explanations: tuple[Explanation, ...]
    unusable: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "change": msgspec.to_builtins(self.found.change),
            "origin": self.found.origin,
            "subscriptions": [
                {
                    "name": one.subscription,
                    "tenant": self.subscriptions[one.subscription].tenant,
                    "destination": self.subscriptions[one.subscription].destination.type,
                    "outcome": one.outcome,
                    "leaves": [asdict(leaf) for leaf in one.leaves],
                }
                for one in self.explanations
            ],
            "unusable": dict(self.unusable),
        }


def explain_change(
    found: FoundChange, subscriptions: Sequence[Subscription], unusable: Mapping[str, str] | None = None
) -> Explained:
    return Explained(
        found=found,
        subscriptions={one.name: one for one in subscriptions},
        explanations=Router(subscriptions).explain(found.change),
        unusable=unusable or {},
    )


def change_in(content: bytes, file: str) -> FoundChange:
    """The change that a file holds.

    :raises ConfigurationError: it holds none.
    """
    try:
        change = decode_change(content)
    except RejectedError as error:
        raise ConfigurationError(
            f"{file}: {error}; --event takes one ChangeEvent as JSON, as a record of the changes topic holds it"
        ) from None
    thin = "; it is thin, so rules about columns cannot hold here" if change.truncated else ""
    return FoundChange(change=change, origin=f"from {file}{thin}")


def find_change(archive: ChangeArchive, identity: str, tenant: str = "") -> FoundChange:
    """The change of this id, or else the last one of the incident or entity of this id.

    :param tenant: whose row, where several tenants have one of this id.
    :raises ConfigurationError: nothing of this id can be seen, or several rows.
    """
    identity = identity.strip()
    delivered = archive.changed(identity.lower()) if _is_uuid(identity) else None
    if delivered is not None:
        return _of_change(archive, identity.lower(), *delivered)
    rows = [row for row in archive.rows(identity) if tenant in ("", row.subject.tenant_id)]
    if not rows:
        raise ConfigurationError(
            f"{identity[:80]!r} is no file, and no change that was delivered, no incident and no entity that this "
            "connection may see. A change nobody was sent is found by its incident's id only; the tenants that may "
            "be seen stand in the connection's options (-c meta.tenants=acme)"
        )
    if len(rows) > 1:
        owners = ", ".join(f"{row.subject.kind} of {row.subject.tenant_id}" for row in rows)
        raise ConfigurationError(
            f"{identity[:80]!r} is the id of several rows: {owners}; name one by --tenant"
        )
    return _of_row(archive, rows[0])


def _of_change(archive: ChangeArchive, change_id: str, subject: Subject, revision: int) -> FoundChange:
    for change in _kept(archive, subject):
        if change.change_id == change_id:
            return _whole(archive, change, "as it was told")
    row = _row(archive, subject)
    if row is None:
        raise ConfigurationError(
            f"change {change_id} told of revision {revision} of {subject.kind} {subject.id}, of which nothing is left"
        )
    if row.revision == revision:
        return _of_row(archive, row)
    made = _of_row(archive, row)
    return FoundChange(
        change=made.change,
        origin=f"change {change_id} was revision {revision}, which is not kept; this is the newest, {made.origin}",
    )


def _of_row(archive: ChangeArchive, row: KnownRow) -> FoundChange:
    """Its last change where that is kept; else what the row itself tells of it."""
    for change in _kept(archive, row.subject):
        if change.revision == row.revision:
            return _whole(archive, change, "as it was told")
    op: Op = "updated"
    note = f"made from the row as it is now; {_UNKNOWN}"
    if not row.columns:
        op, note = "deleted", "made from what is left of a deleted row; rules about columns cannot hold here"
    elif row.revision == 1:
        op, note = "created", "made from the row, which is at its first revision"
    change = ChangeEvent(
        change_id=row.change_id,
        kind=row.subject.kind,
        op=op,
        tenant_id=row.subject.tenant_id,
        id=row.subject.id,
        revision=row.revision,
        changed_at=row.changed_at,
        after=msgspec.json.decode(row.columns) if row.columns else None,
    )
    return FoundChange(change=change, origin=note)


def _whole(archive: ChangeArchive, change: ChangeEvent, origin: str) -> FoundChange:
    """A thin one with the columns of the row, while that is what it was."""
    if not change.truncated:
        return FoundChange(change=change, origin=origin)
    row = _row(archive, Subject(change.tenant_id, change.kind, change.id))
    if row is None or row.revision != change.revision or not row.columns:
        return FoundChange(change=change, origin=f"{origin}; it is thin and its row has moved on")
    whole = completed(change, after=msgspec.json.decode(row.columns))
    return FoundChange(change=whole, origin=f"{origin}, its columns from the row; {_UNKNOWN}")


def _kept(archive: ChangeArchive, subject: Subject) -> list[ChangeEvent]:
    return [decode_change(content) for content in archive.changes(subject)]


def _row(archive: ChangeArchive, subject: Subject) -> KnownRow | None:
    return next((row for row in archive.rows(subject.id) if row.subject == subject), None)


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
