"""Subscriptions in memory. Implements ``core.stored_subscriptions.SubscriptionAdministration``.

    subscriptions = MemorySubscriptions()
    subscriptions.apply([...], actor="a test")
    subscriptions.waiting["incidents-to-slack"] = 3   # deliveries that an apply would abandon

Held to the same contract suite as the real store (``tests/contract/subscription_store.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.routing import Subscription
from airflow_provider_atlan_meta.core.stored_subscriptions import (
    Applied,
    AuditEntry,
    Loaded,
    StoredSubscription,
    audit_entries,
    disabling,
    enabled_again,
    loaded,
    resuming,
    stored_destination,
    subscription_of,
)
from airflow_provider_atlan_meta.core.subscription_diff import SubscriptionDiff, described, diff_subscriptions


class MemorySubscriptions:
    """:ivar audit: what was done, in order. :ivar waiting: name -> deliveries that are not final.
    :ivar parked: name -> subjects that wait, which an apply makes due again: in its outcome only.
    :ivar is_down: nothing can be reached: every call raises TransientError.
    """

    def __init__(self, subscriptions: Iterable[Subscription] = (), *, actor: str = "atlan-meta") -> None:
        self._actor = actor
        self._rows: dict[str, StoredSubscription] = {}
        self._version = 0
        self.audit: list[AuditEntry] = []
        self.waiting: dict[str, int] = {}
        self.parked: dict[str, int] = {}
        self.is_down = False
        self.apply(tuple(subscriptions), actor=actor)

    def load(self) -> tuple[int, tuple[Subscription, ...]]:
        found = self.load_all()
        return found.version, found.subscriptions

    def load_all(self) -> Loaded:
        return loaded(self._version, self._read())

    def disable(self, name: str, reason: str) -> None:
        row = next((row for row in self._read() if row.name == name and row.enabled), None)
        if row is not None:
            self._store(row._replace(enabled=False, disabled_reason=reason))
            self.audit.append(disabling(row, self._actor, reason))

    def apply(self, wanted: Sequence[Subscription], *, actor: str, dry_run: bool = False) -> Applied:
        rows = self._read()
        diff = diff_subscriptions(map(subscription_of, rows), wanted)
        again = enabled_again(diff, rows)
        abandoned = {one.name: self.waiting[one.name] for one in diff.removed if one.name in self.waiting}
        resumed = {name: self.parked[name] for name in resuming(diff) if name in self.parked}
        if not dry_run:
            self._write(diff)
            self.audit += audit_entries(diff, actor)
        return Applied(
            version=self._version,
            diff=diff,
            enabled_again=again,
            abandoned=abandoned,
            resumed=resumed,
            dry_run=dry_run,
        )

    def store_by_hand(self, name: str, *, tenant: str, match: Any, destination: Any) -> None:
        """As somebody with SQL would: nothing is checked."""
        self._store(StoredSubscription(name, tenant, match, destination, True, 1))

    def _read(self) -> list[StoredSubscription]:
        if self.is_down:
            raise TransientError("the subscriptions cannot be reached; nothing was changed")
        return [self._rows[name] for name in sorted(self._rows)]

    def _write(self, diff: SubscriptionDiff) -> None:
        for one in (*diff.added, *(changed.after for changed in diff.changed)):
            old = self._rows.get(one.name)
            self._store(
                StoredSubscription(
                    *(one.name, one.tenant, described(one)["match"], stored_destination(one), one.enabled),
                    revision=old.revision + 1 if old else 1,
                    disabled_reason=old.disabled_reason if old and not one.enabled else "",
                )
            )
        for one in diff.removed:
            del self._rows[one.name]
            self._version += 1

    def _store(self, row: StoredSubscription) -> None:
        self._rows[row.name] = row
        self._version += 1
