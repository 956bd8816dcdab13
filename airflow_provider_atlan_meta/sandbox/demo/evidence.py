"""What the passes are judged by: rows, change messages, and the calls that Slack and the webhook's receiver got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg

from airflow_provider_atlan_meta.sandbox.delivery_oracle import (
    Causes,
    DeliveryVerdict,
    Received,
    Reported,
    judge_deliveries,
)
from airflow_provider_atlan_meta.sandbox.expected_deliveries import SLACK, Asked, read_asked
from airflow_provider_atlan_meta.sandbox.oracle import Verdict, judge, percentile
from airflow_provider_atlan_meta.sandbox.received_calls import CallLog, slack_messages, webhook_calls
from airflow_provider_atlan_meta.sandbox.stored_rows import ChangeMessage, read_stored
from airflow_provider_atlan_meta.sandbox.told_changes import ToldChanges
from airflow_provider_atlan_meta.testing.manifest import SentPost

SUBSCRIPTIONS = Path(str(files(__package__) / "subscriptions.yaml"))
_REVISIONS = """
  select (select coalesce(sum(revision), 0) from meta.incident where opened_at >= %(since)s)
       + (select coalesce(sum(revision), 0) from meta.entity where changed_at >= %(since)s)"""
# The only thing believed of the product's own books: what it owns up to.
_REPORTED = """
  select delivery_id::text, state, folded from meta.delivery
   where at >= %(since)s and (state = 'folded' or folded > 0)"""


@dataclass(frozen=True)
class Judged:
    """Both oracles' verdicts: on rows and change messages, and on the last hop."""

    rows: Verdict
    deliveries: DeliveryVerdict

    @property
    def lost(self) -> int:
        return self.rows.lost + self.deliveries.lost

    @property
    def duplicated(self) -> int:
        return self.rows.duplicated + self.deliveries.duplicated

    @property
    def ok(self) -> bool:
        return self.rows.ok and self.deliveries.ok

    @property
    def findings(self) -> list[str]:
        return self.rows.findings + self.deliveries.findings

    def percentile(self, share: float, destination: str, run: str) -> float | None:
        """Of the time from a post of ``run`` to what its change made at ``destination``, in milliseconds."""
        return percentile(self.deliveries.latency_ms[destination].get(run, ()), share)


@dataclass
class Evidence:
    """Everything since ``since``, seconds since 1970.

    :param dsn: a role that may read the tenants. :param secret: what webhooks are signed with.
    """

    dsn: str
    tenants: Sequence[str]
    since: float
    changes: ToldChanges
    calls: CallLog
    secret: str = field(repr=False)
    asked: Sequence[Asked] = field(default_factory=lambda: read_asked(SUBSCRIPTIONS.read_text()))

    def listen(self) -> None:
        self.changes.listen()
        self.calls.listen()

    def close(self) -> None:
        self.changes.close()
        self.calls.close()

    def forget(self) -> None:
        """Nothing is judged any more."""
        self.changes.forget()
        self.calls.forget()

    @property
    def slack_types(self) -> tuple[str, ...]:
        """The incidents' types that a channel hears of."""
        return tuple([kind for one in self.asked if one.destination == SLACK for kind in one.match["type"]])

    def is_told(self) -> bool:
        """Whether every revision in the store is on the changes topic."""
        return len(self.changes.read()) >= int(self._rows(_REVISIONS)[0][0])

    def is_delivered(self) -> bool:
        """Whether nothing that has been told is missing at the receivers."""
        return not self.deliveries().lost

    def deliveries(self, causes: Causes | None = None) -> DeliveryVerdict:
        recorded = self.calls.read()
        received = Received(webhook_calls(recorded, self.secret), slack_messages(recorded), self._reported())
        return judge_deliveries(self.changes.read(), self.asked, received, causes or {})

    def judge(self, posts: Sequence[SentPost]) -> Judged:
        """The whole truth about ``posts`` and nothing but them."""
        messages = [
            ChangeMessage(told.kind, told.tenant, told.id, told.revision) for told in self.changes.read()
        ]
        rows = judge(posts, read_stored(self.dsn, self.tenants, since=self.since, messages=messages))
        return Judged(rows, self.deliveries(rows.causes))

    def _reported(self) -> Reported:
        rows = self._rows(_REPORTED)
        return Reported(
            skipped=frozenset(name for name, state, _ in rows if state == "folded"),
            doubles={name: folded for name, _, folded in rows if folded},
        )

    def _rows(self, query: str) -> list[Any]:
        with psycopg.connect(self.dsn, connect_timeout=3) as connection:
            return connection.execute(
                query.encode(), {"since": datetime.fromtimestamp(self.since, UTC)}
            ).fetchall()
