"""Subscriptions and receipts for the command line: applied as role meta_consumer, read as role meta_reader."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig
from airflow_provider_atlan_meta.clients.postgres_receipts import PostgresReceipts
from airflow_provider_atlan_meta.clients.postgres_subscriptions import PostgresSubscriptions
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.receipts import Readable, Receipt, ReceiptQuery, SubscriptionUse
from airflow_provider_atlan_meta.core.routing import Subscription
from airflow_provider_atlan_meta.core.stored_subscriptions import Applied, loaded, subscription_of
from airflow_provider_atlan_meta.core.subscription_diff import described
from airflow_provider_atlan_meta.services.explain import (
    Explained,
    FoundChange,
    change_in,
    explain_change,
    find_change,
)

_MAX_EVENT_BYTES = 2 << 20
STDIN = "-"


@dataclass(frozen=True, kw_only=True)
class ListedSubscription:
    """:ivar state: ``enabled``, ``disabled``, or ``unusable``: then ``reason`` says why."""

    subscription: Subscription
    use: SubscriptionUse
    state: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        use = self.use
        return {
            "name": self.subscription.name,
            **described(self.subscription),
            "state": self.state,
            "reason": self.reason,
            "revision": self.subscription.revision,
            "applied_at": _spelled(use.applied_at),
            "applied_by": use.applied_by,
            "disabled_at": _spelled(use.disabled_at),
            "parked": use.parked,
            "last_delivery": _spelled(use.last_delivery),
        }


def apply_subscriptions(
    postgres: ConnectionInfo, wanted: Sequence[Subscription], *, actor: str, dry_run: bool = False
) -> Applied:
    """:param postgres: role meta_consumer."""
    store = PostgresSubscriptions(
        PostgresConfig.from_connection(postgres), application_name="atlan-meta subscription"
    )
    return store.apply(wanted, actor=actor, dry_run=dry_run)


def list_subscriptions(reader: ConnectionInfo) -> tuple[Readable, list[ListedSubscription]]:
    with PostgresReceipts(PostgresConfig.from_connection(reader)) as receipts:
        readable, stored = receipts.readable(), receipts.subscriptions()
    problems = loaded(0, (row for row, _ in stored)).unusable
    listed = []
    for row, use in stored:
        problem = problems.get(row.name, "")
        listed.append(
            ListedSubscription(
                subscription=subscription_of(row),
                use=use,
                state="unusable" if problem else "enabled" if row.enabled else "disabled",
                reason=problem or ("" if row.enabled else row.disabled_reason or "by its file"),
            )
        )
    return readable, listed


def read_receipts(reader: ConnectionInfo, query: ReceiptQuery) -> tuple[Readable, list[Receipt]]:
    with PostgresReceipts(PostgresConfig.from_connection(reader)) as receipts:
        return receipts.readable(), receipts.receipts(query)


def explain_event(
    reader: ConnectionInfo,
    event: str,
    *,
    tenant: str = "",
    subscriptions: Sequence[Subscription] | None = None,
) -> Explained:
    """:param event: a file (``-``: stdin), or an id to be looked up.
    :param subscriptions: instead of those that are stored.
    """
    with PostgresReceipts(PostgresConfig.from_connection(reader)) as receipts:
        found = read_event(event) if is_file(event) else find_change(receipts, event, tenant)
        if subscriptions is not None:
            return explain_change(found, subscriptions)
        stored = loaded(0, (row for row, _ in receipts.subscriptions()))
    return explain_change(found, stored.subscriptions, stored.unusable)


def is_file(event: str) -> bool:
    """Whether it names a file; what ends in ``.json`` is meant as one even where there is none."""
    try:
        return event == STDIN or event.endswith(".json") or Path(event).is_file()
    except (OSError, ValueError):
        # too long for a name: some incident's id
        return False


def read_event(event: str) -> FoundChange:
    """:raises ConfigurationError: the file cannot be read, or holds no change."""
    if event == STDIN:
        return change_in(sys.stdin.buffer.read(_MAX_EVENT_BYTES), "stdin")
    try:
        with Path(event).open("rb") as file:
            content = file.read(_MAX_EVENT_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"{event} cannot be read ({error.strerror}); --event takes a file with one ChangeEvent as JSON, "
            "or the id of a change, an incident or an entity"
        ) from None
    return change_in(content, event)


def _spelled(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
