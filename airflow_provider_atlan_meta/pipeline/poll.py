"""Alerts of one tenant from Monte Carlo's API to the log: what webhooks missed, and what only webhooks told.

An alert found by its time is asked for once more by id, behind a look at its incident's row: the record says which
webhooks the answer is surely newer than.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from airflow_provider_atlan_meta.core.alert_poll import PolledRows, PollWindow, alert_event, news
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.montecarlo_api import Alert, AlertSource
from airflow_provider_atlan_meta.core.ports import OutboundRecord, RecordSender
from airflow_provider_atlan_meta.pipeline.publish import Arrival, event_record

_ASK_SECONDS = 30.0
_IDS_AT_ONCE = 100


class AlertHistory(AlertSource, Protocol):
    """Where alerts are also asked for by the time of their last update."""

    def updated_between(self, after: datetime, before: datetime) -> Iterator[list[Alert]]:
        """Oldest first, page by page; each page is asked for when it is taken."""
        ...


@dataclass(frozen=True, kw_only=True)
class Polled:
    """What one tenant's poll did.

    :param found: alerts in the window. :param published: records on the log; of them ``unconfirmed`` only because
        nothing but webhooks had told of them.
    :param rejected: alerts that no record can hold.
    """

    tenant: str
    found: int = 0
    published: int = 0
    unconfirmed: int = 0
    rejected: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class AlertPoll:
    """One tenant, one run. Every record is acknowledged before the next page is asked for; repeating any part of it
    is safe.

    :param now_ms: milliseconds since 1970; stamped on the records.
    """

    def __init__(
        self,
        tenant: str,
        *,
        api: AlertHistory,
        rows: PolledRows,
        sender: RecordSender,
        topic: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._tenant = tenant
        self._api = api
        self._rows = rows
        self._sender = sender
        self._topic = topic
        self._now_ms = now_ms
        self._published: set[str] = set()
        self._found = self._rejected = self._unconfirmed = 0

    def read_window(self, window: PollWindow, moved: Callable[[int], None]) -> None:
        """Publishes what is new in the window.

        :param moved: hears, page by page, up to which time of update (microseconds) everything is on the log.
        """
        for page in self._api.updated_between(window.after, window.before):
            self._found += len(page)
            states = self._rows.read_incidents([(self._tenant, alert.id) for alert in page])
            rows = {incident_id: state for (_, incident_id), state in states.items()}
            self._publish(news(page, rows))
            moved(max(alert.updated_at for alert in page))

    def confirm(self, limit: int) -> None:
        """Asks for what only webhooks have told of, and publishes what the API says."""
        ids = [i for i in self._rows.unconfirmed(self._tenant, limit) if i not in self._published]
        self._unconfirmed += self._publish(ids)

    def outcome(self) -> Polled:
        return Polled(
            tenant=self._tenant,
            found=self._found,
            published=len(self._published),
            unconfirmed=self._unconfirmed,
            rejected=self._rejected,
        )

    def _publish(self, ids: Sequence[str]) -> int:
        before = len(self._published)
        for start in range(0, len(ids), _IDS_AT_ONCE):
            batch = ids[start : start + _IDS_AT_ONCE]
            # the look comes first: what is written meanwhile is not covered by the answer
            states = self._rows.read_incidents([(self._tenant, incident_id) for incident_id in batch])
            seen = {incident_id: state.log_position for (_, incident_id), state in states.items()}
            alerts = self._api.by_ids(batch, timeout_seconds=_ASK_SECONDS)
            records = [
                record
                for alert in alerts.values()
                if (record := self._record(alert, seen.get(alert.id, -1))) is not None
            ]
            if records:
                self._sender.send(records)
                self._published |= {alert.id for alert in alerts.values()}
        return len(self._published) - before

    def _record(self, alert: Alert, seen: int) -> OutboundRecord | None:
        try:
            event = alert_event(self._tenant, alert, seen)
        except RejectedError:
            self._rejected += 1
            return None
        return event_record(event, self._topic, Arrival(self._now_ms()))
