"""What a poll of Monte Carlo asks and what of the answers goes onto the log: decisions only, the clock is passed in.

The cursor is the largest ``updatedTime`` a poll has read to, never the wall clock: an API that shows an update late
is asked again. It is not the newest time in the store either: a webhook's answer brings that forward past alerts whose
webhooks were lost while no poll ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError
from airflow_provider_atlan_meta.core.events import MAX_BODY_BYTES, MAX_SUBJECT, MetadataEvent
from airflow_provider_atlan_meta.core.merging import IncidentKey, IncidentState
from airflow_provider_atlan_meta.core.montecarlo import NAME
from airflow_provider_atlan_meta.core.montecarlo_api import ALERT_TYPE, Alert
from airflow_provider_atlan_meta.core.rows import UPDATED_AT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PolledRows(Protocol):
    """What the store knows of incidents."""

    def read_incidents(self, keys: Sequence[IncidentKey]) -> dict[IncidentKey, IncidentState]: ...

    def unconfirmed(self, tenant: str, limit: int) -> list[str]:
        """Ids of Monte Carlo's incidents whose last word is a webhook's: those of the last day first, of more
        than ``limit`` any.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class PollPolicy:
    """:param overlap: how late the API may show an update.
    :param first_look: how far the first poll of a tenant looks back.
    :param ahead: how far the sender's clock may be ahead of ours.
    :param unconfirmed: ids asked for in one run.
    """

    overlap: timedelta = timedelta(minutes=10)
    first_look: timedelta = timedelta(days=1)
    ahead: timedelta = timedelta(days=1)
    unconfirmed: int = 500


@dataclass(frozen=True, kw_only=True)
class PollWindow:
    """Times of update in [after, before)."""

    after: datetime
    before: datetime


def poll_window(
    cursor: int | None,
    *,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    policy: PollPolicy = PollPolicy(),
) -> PollWindow:
    """What to ask for.

    :param cursor: microseconds; None: nothing was read yet.
    :param since, until: asked for by somebody, timezone-aware.
    :raises ConfigurationError: an empty window.
    """
    after = now - policy.first_look
    if cursor is not None:
        # one time far ahead of all others would hide them
        after = min(moment_of(cursor), now) - policy.overlap
    window = PollWindow(after=since or after, before=until or now + policy.ahead)
    if window.after >= window.before:
        raise ConfigurationError(
            f"nothing is between {window.after.isoformat()} and {window.before.isoformat()}; `from` must be before `to`"
        )
    return window


def news(alerts: Iterable[Alert], rows: Mapping[str, IncidentState]) -> list[str]:
    """Ids of the alerts that the store does not know in this version, or only from a webhook.

    :param rows: by incident id.
    """
    return list(dict.fromkeys(alert.id for alert in alerts if not _is_known(alert, rows.get(alert.id))))


def alert_event(tenant: str, alert: Alert, seen: int) -> MetadataEvent:
    """The event an alert is.

    :param seen: log_position of its incident's row before the API was asked; -1: there was none.
    :raises RejectedError: larger than an event may be.
    """
    if len(alert.node) > MAX_BODY_BYTES or len(alert.id) > MAX_SUBJECT:
        raise RejectedError("alert larger than an event may be", detail=f"{len(alert.node)} bytes")
    updated = moment_of(alert.updated_at).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return MetadataEvent(
        id=str(identity.event_id(tenant, NAME, f"{alert.id}|{updated}")),
        source=NAME,
        type=ALERT_TYPE,
        subject=alert.id,
        tenant=tenant,
        data=msgspec.Raw(b'{"alert":%b,"seen":%d}' % (alert.node, seen)),
        time=updated,
    )


def moment_of(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _is_known(alert: Alert, row: IncidentState | None) -> bool:
    if row is None or row.unconfirmed:
        return False
    told = row.values[UPDATED_AT]
    return told is not None and told >= alert.updated_at
