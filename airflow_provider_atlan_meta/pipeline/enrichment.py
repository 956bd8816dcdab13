"""Asks the source's API about the incidents of a batch before it is planned: one call per tenant, not per webhook.

An answer follows the webhooks it was asked after; without one the webhooks stand for themselves. So nothing that goes
wrong here ever holds back a batch for longer than one call may take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from airflow_provider_atlan_meta.core.errors import AtlanMetaError, RejectedError, TransientError
from airflow_provider_atlan_meta.core.merging import IncidentKey, IncidentState
from airflow_provider_atlan_meta.core.montecarlo_api import Alert, AlertSource
from airflow_provider_atlan_meta.core.rows import Answer, EventRow

Outcome = Literal["answered", "failed", "skipped"]
# Incidents that were asked about: what the API said, None without an answer.
Answers = Mapping[IncidentKey, Answer | None]


@dataclass(frozen=True, kw_only=True)
class EnrichmentPolicy:
    """:param lease_margin_seconds: of lease that must be left behind a call.
    :param pause_seconds, refused_seconds: nobody is asked for as long after no answer, and after a refusal.
    :param max_incidents: of one batch and tenant; a backlog that names more is left to the poll.
    """

    timeout_seconds: float = 2.0
    lease_margin_seconds: float = 5.0
    pause_seconds: float = 5.0
    refused_seconds: float = 300.0
    max_incidents: int = 100


def _ignore(tenant: str, outcome: Outcome, error: AtlanMetaError | None) -> None:
    del tenant, outcome, error


class Enrichment:
    """For one engine. Not thread-safe.

    :param source: a tenant's; None: it has none, its incidents are not asked about.
    :param told: hears of every call, and of every batch that went without.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        source: Callable[[str], AlertSource | None],
        *,
        policy: EnrichmentPolicy | None = None,
        told: Callable[[str, Outcome, AtlanMetaError | None], None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._policy = policy or EnrichmentPolicy()
        self._told = told
        self._clock = clock
        self._paused_until: dict[str, float] = {}
        # of the last call per tenant: an incident's newest webhook when it was asked about, and what was said
        self._remembered: dict[str, dict[str, tuple[int, Alert | None]]] = {}

    def answers(
        self,
        events: Sequence[EventRow],
        current: Mapping[IncidentKey, IncidentState],
        *,
        derive: Callable[[Alert, str], Answer],
        lease_left: Callable[[], float],
    ) -> Answers:
        """:param events: of one partition, in offset order. :param current: their incidents as read.
        :param derive: raises RejectedError: the answer cannot be stored.
        :param lease_left: seconds of the lease that are left now.
        """
        asked: dict[IncidentKey, Answer | None] = {}
        for tenant, newest in _woken(events, current).items():
            source = self._source(tenant)
            if source is None:
                continue
            if len(newest) > self._policy.max_incidents:
                self._told(tenant, "skipped", None)
                continue
            found = self._ask(source, tenant, newest, lease_left)
            for incident in newest:
                asked[tenant, incident] = _derived(found.get(incident), tenant, derive)
        return asked

    def _ask(
        self, source: AlertSource, tenant: str, newest: Mapping[str, int], lease_left: Callable[[], float]
    ) -> Mapping[str, Alert | None]:
        """By incident; None or missing: no answer."""
        # a batch that is planned again was asked about already
        known = self._remembered.get(tenant, {})
        if all(one in known and offset <= known[one][0] for one, offset in newest.items()):
            return {one: known[one][1] for one in newest}
        policy = self._policy
        is_paused = self._clock() < self._paused_until.get(tenant, float("-inf"))
        if is_paused or lease_left() < policy.timeout_seconds + policy.lease_margin_seconds:
            self._told(tenant, "skipped", None)
            return {}
        try:
            found = source.by_ids(sorted(newest), timeout_seconds=policy.timeout_seconds)
        except AtlanMetaError as error:
            self._pause(tenant, error)
            return {}
        self._told(tenant, "answered", None)
        self._remembered[tenant] = {one: (offset, found.get(one)) for one, offset in newest.items()}
        return dict(found)

    def _pause(self, tenant: str, error: AtlanMetaError) -> None:
        if isinstance(error, TransientError):
            seconds = max(self._policy.pause_seconds, error.retry_after or 0.0)
        else:
            seconds = self._policy.refused_seconds
        self._paused_until[tenant] = self._clock() + seconds
        self._told(tenant, "failed", error)


def _woken(
    events: Sequence[EventRow], current: Mapping[IncidentKey, IncidentState]
) -> dict[str, dict[str, int]]:
    """tenant -> incident -> its newest webhook, of those that are not only said again."""
    last: dict[IncidentKey, bytes | None] = {}
    woken: dict[str, dict[str, int]] = {}
    for event in events:
        if event.statement is None or event.seen is not None:
            continue
        key = (event.tenant_id, event.subject)
        if key not in last:
            last[key] = current[key].last_event_id if key in current else None
        if last[key] != event.event_id:
            last[key] = event.event_id
            woken.setdefault(event.tenant_id, {})[event.subject] = event.offset
    return woken


def _derived(alert: Alert | None, tenant: str, derive: Callable[[Alert, str], Answer]) -> Answer | None:
    if alert is None:
        return None
    try:
        return derive(alert, tenant)
    except RejectedError:
        return None
