"""Each webhook's way, hop by hop, as it happens: answer, place in the log, row, change, webhook, Slack."""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from airflow_provider_atlan_meta.sandbox.expected_rows import Webhook, expected_incident, subject_of
from airflow_provider_atlan_meta.sandbox.received_calls import Call
from airflow_provider_atlan_meta.sandbox.told_changes import ReadChange
from airflow_provider_atlan_meta.testing.manifest import SentPost

_SHOWN = 14
_KEPT = 10_000
_CHANGE_ID = re.compile(r"change ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_HOPS = ("change", "webhook", "Slack")

# tenant, incident, revision
Revision = tuple[str, str, int]


@dataclass
class Hop:
    """One post on its way; what is seen of it is filled in.

    :param revision: what it made of its incident. :param took: hop -> milliseconds since the post.
    """

    post: SentPost
    place: str = ""
    row: str = ""
    incident: str = ""
    revision: Revision | None = None
    took: dict[str, str] = field(default_factory=dict)


class HopBoard:
    """Joins what readers of each hop see, in whatever order they see it.

    Answers, records and rows belong together by event id, everything behind a row by the incident's revision: which
    one a webhook made follows from those before it.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._hops: deque[Hop] = deque(maxlen=_SHOWN)
        self._places: dict[str, deque[str]] = defaultdict(deque)
        self._rows: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
        self._told: dict[tuple[str, str], list[Webhook]] = defaultdict(list)
        self._change_ids: dict[Revision, str] = {}
        self._seen: dict[tuple[str, str], float] = {}

    def on_post(self, post: SentPost) -> None:
        with self._guard:
            self._hops.append(Hop(post, revision=self._revision(post)))

    def _revision(self, post: SentPost) -> Revision | None:
        """What the post makes of its incident; None: nothing."""
        if not post.accepted or (incident := subject_of(post.tenant, post.body)).startswith("event:"):
            return None
        told = self._told[post.tenant, incident]
        told.append(Webhook(post.tenant, post.body, int(post.sent_at * 1000)))
        causes = expected_incident(told).causes
        return (post.tenant, incident, len(causes)) if causes[-1] == len(told) - 1 else None

    def on_record(self, event_id: str, place: str) -> None:
        with self._guard:
            self._places[event_id].append(place)

    def on_row(self, row: dict[str, Any]) -> None:
        """:param row: an event with its incident as it is now."""
        with self._guard:
            self._rows[row["event_id"]].append(row)

    def on_change(self, change: ReadChange) -> None:
        told = change.told
        with self._guard:
            self._change_ids[told.tenant, told.id, told.revision] = told.change_id
            _bound(self._change_ids)
            self._see("change", told.change_id, change.at)

    def on_call(self, call: Call) -> None:
        """A receiver's call; Slack's messages name their change, answers in threads are not shown."""
        body = call["body"]
        if isinstance(body, str):
            hop, change_id = "webhook", json.loads(body)["id"]
        elif not body.get("thread_ts") and (match := _CHANGE_ID.search(json.dumps(body))):
            hop, change_id = "Slack", match[1]
        else:
            return
        with self._guard:
            self._see(hop, change_id, call["applied_at"])

    def _see(self, hop: str, change_id: str, at: float) -> None:
        self._seen.setdefault((hop, change_id), at)
        _bound(self._seen)

    def hops(self) -> list[Hop]:
        """The last posts, with everything known of them by now."""
        with self._guard:
            for hop in self._hops:
                self._fill(hop)
            return list(self._hops)

    def _fill(self, hop: Hop) -> None:
        for event_id in hop.post.ids:
            if not hop.place and self._places[event_id]:
                hop.place = self._places[event_id].popleft()
            if not hop.row and self._rows[event_id]:
                self._fill_row(hop, self._rows[event_id].popleft())
        change_id = self._change_ids.get(hop.revision, "") if hop.revision else ""
        for name in _HOPS:
            at = self._seen.get((name, change_id))
            if at is not None:
                hop.took[name] = _milliseconds(at - hop.post.sent_at)

    @staticmethod
    def _fill_row(hop: Hop, row: dict[str, Any]) -> None:
        hop.row = _milliseconds(row["committed_at"] - hop.post.sent_at)
        if row["duplicate"]:
            hop.incident = "said before: changes nothing"
        elif not row["revision"]:
            hop.incident = "kept as an event"
        elif hop.revision is None:
            hop.incident = "changes nothing"
        else:
            made, now = hop.revision[2], f"{row['status']}, {row['severity']}, revision {row['revision']}"
            hop.incident = now if made == row["revision"] else f"revision {made}; now {now}"

    def __rich__(self) -> Table:
        table = Table(
            title="signed webhook -> producer -> Kafka -> row -> change -> webhook and Slack, ms since the POST",
            expand=True,
        )
        for column in ("tenant", "what happened", "answer", "Kafka", "row", *_HOPS, "status, severity"):
            table.add_column(column, no_wrap=True)
        for hop in self.hops():
            post = hop.post
            took = f" in {(post.answered_at - post.sent_at) * 1000:.0f} ms" if post.answered_at else ""
            answer = f"{post.status or 'none'}{took}"
            colour = "green" if post.accepted else "yellow"
            later = [hop.took.get(name, "") for name in _HOPS]
            table.add_row(
                post.tenant, post.kind, f"[{colour}]{answer}[/]", hop.place, hop.row, *later, hop.incident
            )
        return table


def _bound(entries: dict[Any, Any]) -> None:
    while len(entries) > _KEPT:
        del entries[next(iter(entries))]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"
