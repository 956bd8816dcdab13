"""Subscriptions as they are stored, and what applying a file has made of them.

What is stored may have been written by another version, or by hand. A subscription that cannot be used is left out and
told of with its reason; it never takes the others down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from airflow_provider_atlan_meta.core.deliveries import SubscriptionStore
from airflow_provider_atlan_meta.core.errors import PatternError
from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.routing import EVERY_TENANT, DestinationSpec, Subscription
from airflow_provider_atlan_meta.core.subscription_diff import SubscriptionDiff, described
from airflow_provider_atlan_meta.core.tenancy import is_tenant


class StoredSubscription(NamedTuple):
    """A row, its JSON columns as values. :param disabled_reason: set where it was not a file that disabled it."""

    name: str
    tenant: str
    match: Any
    destination: Any
    enabled: bool
    revision: int
    disabled_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """:ivar subscriptions: those that can be used, by name. :ivar unusable: name -> why it cannot be."""

    version: int
    subscriptions: tuple[Subscription, ...]
    unusable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Applied:
    """:ivar version: of the subscriptions afterwards.
    :ivar enabled_again: name -> why it had been disabled.
    :ivar abandoned: removed subscription -> deliveries that were waiting and that nobody sends now.
    :ivar resumed: added or changed subscription -> subjects that were waiting and are tried again now.
    :ivar dry_run: nothing was changed, all this would be so.
    """

    version: int
    diff: SubscriptionDiff
    enabled_again: Mapping[str, str] = field(default_factory=dict)
    abandoned: Mapping[str, int] = field(default_factory=dict)
    resumed: Mapping[str, int] = field(default_factory=dict)
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "version": self.version,
            "dry_run": self.dry_run,
            **self.diff.to_dict(),
            "enabled_again": dict(self.enabled_again),
            "abandoned": dict(self.abandoned),
            "resumed": dict(self.resumed),
        }


class AuditEntry(NamedTuple):
    """:param action: ``subscription.add``, ``.change``, ``.remove`` or ``.disable``.
    :param before, after: all that the subscription says; None: it was not, or is not, there.
    """

    actor: str
    action: str
    object: str
    tenant: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    reason: str = ""


class SubscriptionAdministration(SubscriptionStore, Protocol):
    """The store as its administrator has it. Raises TransientError while it cannot be reached: nothing was changed."""

    def load_all(self) -> Loaded:
        """What ``load`` tells, and what it leaves out."""
        ...

    def apply(self, wanted: Sequence[Subscription], *, actor: str, dry_run: bool = False) -> Applied:
        """Makes the stored ones exactly these, all or none, one caller at a time. What differs is decided against
        what is stored then; only that gets a new revision. Every change is audited. What waits for one that is added
        or changed is due at once: it may have waited for just that.
        """
        ...


def subscription_of(row: StoredSubscription) -> Subscription:
    """As far as it can be read; whether it can be used is for ``problem_of`` to say."""
    destination = row.destination if isinstance(row.destination, dict) else {}
    options = destination.get("options", {})
    return Subscription(
        name=row.name,
        tenant=row.tenant,
        match=Pattern(row.match),
        destination=DestinationSpec(
            type=str(destination.get("type", "")),
            conn_id=str(destination.get("conn_id", "")),
            options=options if isinstance(options, dict) else {},
        ),
        enabled=row.enabled,
        revision=row.revision,
    )


def problem_of(subscription: Subscription) -> str:
    """Why it cannot be used; empty when it can."""
    if subscription.tenant != EVERY_TENANT and not is_tenant(subscription.tenant):
        return f"tenant {subscription.tenant[:40]!r} is neither a tenant's name nor {EVERY_TENANT!r}"
    if not subscription.destination.type or not subscription.destination.conn_id:
        return "its destination has no type or no conn_id"
    try:
        _ = subscription.match.compiled
    except PatternError as error:
        return str(error)
    return ""


def loaded(version: int, rows: Iterable[StoredSubscription]) -> Loaded:
    found = [subscription_of(row) for row in rows]
    problems = {one.name: problem for one in found if (problem := problem_of(one))}
    return Loaded(
        version=version,
        subscriptions=tuple(one for one in found if one.name not in problems),
        unusable=problems,
    )


def stored_destination(subscription: Subscription) -> dict[str, Any]:
    """The JSON of the column ``destination``."""
    spec = subscription.destination
    return {"type": spec.type, "conn_id": spec.conn_id, "options": dict(spec.options)}


def audit_entries(diff: SubscriptionDiff, actor: str) -> tuple[AuditEntry, ...]:
    """What an apply leaves behind, one entry per subscription that it added, changed or removed."""
    return (
        *(
            AuditEntry(actor, "subscription.add", one.name, one.tenant, None, described(one))
            for one in diff.added
        ),
        *(
            AuditEntry(
                *(actor, "subscription.change", one.after.name, one.after.tenant),
                *(described(one.before), described(one.after)),
            )
            for one in diff.changed
        ),
        *(
            AuditEntry(actor, "subscription.remove", one.name, one.tenant, described(one), None)
            for one in diff.removed
        ),
    )


def resuming(diff: SubscriptionDiff) -> list[str]:
    """Names of those whose lanes may go on now."""
    return [one.name for one in (*diff.added, *(one.after for one in diff.changed)) if one.enabled]


def disabling(row: StoredSubscription, actor: str, reason: str) -> AuditEntry:
    before = described(subscription_of(row))
    after = {**before, "enabled": False}
    return AuditEntry(actor, "subscription.disable", row.name, row.tenant, before, after, reason)


def enabled_again(diff: SubscriptionDiff, rows: Iterable[StoredSubscription]) -> dict[str, str]:
    """Which of the changed ones somebody else than a file had disabled, and why."""
    reasons = {row.name: row.disabled_reason for row in rows if not row.enabled and row.disabled_reason}
    return {
        one.after.name: reasons[one.after.name]
        for one in diff.changed
        if one.after.enabled and one.after.name in reasons
    }
