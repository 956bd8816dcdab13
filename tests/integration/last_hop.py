"""The way from a changed row to those who asked for it, one test's own: and what they really got."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import httpx
import psycopg
from integration.rows_by_hand import put_titled, row_session

from airflow_provider_atlan_meta.cli import main
from airflow_provider_atlan_meta.sandbox.delivery_oracle import (
    Causes,
    DeliveryVerdict,
    Received,
    Reported,
    judge_deliveries,
)
from airflow_provider_atlan_meta.sandbox.expected_deliveries import Asked, read_asked
from airflow_provider_atlan_meta.sandbox.isolation import ChangeCapture, Database, Isolation
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.sandbox.received_calls import (
    CallLog,
    Shown,
    SlackMessage,
    WebhookCall,
    slack_messages,
    webhook_calls,
)
from airflow_provider_atlan_meta.sandbox.recorder import webhook_secret
from airflow_provider_atlan_meta.sandbox.told_changes import ToldChanges

HOOK, CHAT = "hook", "chat"
SHORT_LEASE_SECONDS = 6
_REPORTED = """
  select delivery_id::text, state, folded from meta.delivery where state = 'folded' or folded > 0"""


@dataclass
class LastHop:
    """A database, its connector, and subscriptions to a webhook and a channel that nobody else calls.

    :param environ: for our services; ``hook`` is the webhook's connection.
    """

    store: Database
    capture: ChangeCapture
    session: psycopg.Connection[Any]
    environ: dict[str, str]
    recorder: str
    path: str
    channel: str
    secret: str
    calls: CallLog
    changes: ToldChanges
    folder: Path
    asked: tuple[Asked, ...] = ()

    # ---- what is done ------------------------------------------------------------------------------------------------

    def put(self, incident: str, status: str) -> None:
        put_titled(self.session, incident, status)

    def subscribe(self, text: str) -> None:
        """Makes the stored subscriptions those of ``text``."""
        file = self.folder / "subscriptions.yaml"
        file.write_text(text)
        code, _ = self.cli("subscription", "apply", "-f", str(file))
        assert code == 0
        self.asked = read_asked(text)

    def cli(self, *argv: str) -> tuple[int, Any]:
        """Exit code and document of an ``atlan-meta`` command."""
        out = io.StringIO()
        with patch.dict(os.environ, self.environ), contextlib.redirect_stdout(out):
            code = main([*argv, "--json"])
        return code, json.loads(out.getvalue() or "null")

    def script(self, service: str, mode: str, **fields: Any) -> None:
        """Makes the next calls to the webhook, or to the Slack method ``path``, misbehave."""
        wanted = {
            "service": service,
            "mode": mode,
            "path": self.path if service == "webhook" else "",
            **fields,
        }
        httpx.post(f"{self.recorder}/_script", json=wanted, timeout=10).raise_for_status()

    # ---- what came of it ---------------------------------------------------------------------------------------------

    def recorded(self) -> list[Mapping[str, Any]]:
        """Calls to our webhook and our channel, whatever came of them."""
        return [call for call in self.calls.read() if self._is_ours(call)]

    def _is_ours(self, call: Mapping[str, Any]) -> bool:
        body = call["body"]
        return bool(
            call["path"] == self.path or (isinstance(body, dict) and body.get("channel") == self.channel)
        )

    def webhooks(self) -> list[WebhookCall]:
        return webhook_calls(self.recorded(), self.secret)

    def messages(self) -> list[SlackMessage]:
        return slack_messages(self.recorded())

    def told(self, incident: str) -> list[Any]:
        """What the webhook was told of it: statuses in the order they came."""
        return [status_of(call) for call in self.webhooks() if call.event["subject"] == incident]

    def verdict(self, causes: Causes | None = None) -> DeliveryVerdict:
        """The oracle's, as it is."""
        return self._judged(self.webhooks(), self.messages(), causes)

    def await_delivered(self, changes: int, seconds: float = 90) -> None:
        """Until so many changes were told, and each of them to everybody, once.

        :raises AssertionError: what the oracle finds wrong at the end.
        """
        deadline = time.monotonic() + seconds
        while len(told := self.changes.read()) < changes or not self.verdict().ok:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(told)} of {changes} changes told; {self.verdict().findings[:10]}")
            time.sleep(0.2)

    def verdict_of_firsts(self, causes: Causes | None = None) -> DeliveryVerdict:
        """The oracle's on what came first: a call under an id, a state of a message, that came again is left out."""
        return self._judged(first_calls(self.webhooks()), list(map(first_shown, self.messages())), causes)

    def _judged(
        self, webhooks: Sequence[WebhookCall], messages: Sequence[SlackMessage], causes: Causes | None
    ) -> DeliveryVerdict:
        received = Received(webhooks, messages, self._reported())
        return judge_deliveries(self.changes.read(), self.asked, received, causes or {})

    def _reported(self) -> Reported:
        with psycopg.connect(self.store.dsn(self.store.admin)) as connection:
            rows = connection.execute(_REPORTED).fetchall()
        return Reported(
            skipped=frozenset(name for name, state, _ in rows if state == "folded"),
            doubles={name: folded for name, _, folded in rows if folded},
        )

    def rows(self, query: str) -> list[Any]:
        with psycopg.connect(self.store.dsn(self.store.admin)) as connection:
            return connection.execute(query.encode()).fetchall()

    def owners(self) -> set[str | None]:
        """Labels of those whose lease on a partition of changes has not run out."""
        return {
            label
            for (label,) in self.rows(
                "select owner_label from meta.ingest_offset where sink = 'consumer' and expires_at > now()"
            )
        }

    def unfinished(self) -> int:
        """Deliveries that are not final, and lanes that want attention."""
        ((number,),) = self.rows(
            "select (select count(*) from meta.delivery where settled_at is null)"
            " + (select count(*) from meta.delivery_lane where due_at is not null)"
        )
        return int(number)


def subscriptions_to(channel: str, conn_id: str = HOOK) -> str:
    """Everything to the webhook, acme's incidents to the channel."""
    return f"""
subscriptions:
  - name: {HOOK}
    tenant: "*"
    match: {{}}
    destination:
      type: webhook
      conn_id: {conn_id}
  - name: {CHAT}
    tenant: acme
    match:
      kind: incident
    destination:
      type: slack
      channel: {channel}
"""


def webhook_connection(url: str, path: str, secret: str, **extra: Any) -> str:
    """As an ``AIRFLOW_CONN_*`` variable holds it."""
    fields = {"conn_type": "http", "host": url, "password": secret, "extra": {"path": path, **extra}}
    return json.dumps(fields)


@contextlib.contextmanager
def last_hop(sandbox: Sandbox, isolation: Isolation, folder: Path, partitions: int = 4) -> Iterator[LastHop]:
    """connect and recorder must run; subscribed, and nobody consumes yet."""
    store = isolation.new_database()
    capture = isolation.new_capture(store, isolation.new_topics(partitions))
    capture.apply()
    recorder, secret = str(sandbox.fields()["recorder_url"]), webhook_secret(sandbox.home)
    path, channel = f"/webhook/{store.name}", f"C{uuid4().hex[:10].upper()}"
    hook = webhook_connection(recorder, path, secret)
    with (
        ToldChanges(capture.bootstrap, capture.topic) as changes,
        CallLog(recorder) as calls,
        row_session(store) as session,
    ):
        hop = LastHop(
            store=store,
            capture=capture,
            session=session,
            environ={**capture.environ, "AIRFLOW_CONN_HOOK": hook},
            recorder=recorder,
            path=path,
            channel=channel,
            secret=secret,
            calls=calls,
            changes=changes,
            folder=folder,
        )
        try:
            hop.subscribe(subscriptions_to(channel))
            yield hop
        finally:
            httpx.delete(f"{recorder}/_script", timeout=10)
            isolation.remove_capture(capture)


# ---- judging -----------------------------------------------------------------------------------------------------


def status_of(call: WebhookCall) -> Any:
    data = call.event["data"]
    return (data.get("after") or {}).get("status")


def first_calls(calls: Sequence[WebhookCall]) -> list[WebhookCall]:
    """Without those under an id that came before."""
    first: dict[str, WebhookCall] = {}
    for call in calls:
        first.setdefault(call.id, call)
    return list(first.values())


def first_shown(message: SlackMessage) -> SlackMessage:
    """Every state once, but the one it ends in stays where it is."""
    first: dict[str, Shown] = {}
    for shown in message.shown:
        first.setdefault(shown.text, shown)
    steps = list(first.values())
    if steps and steps[-1].text != message.shown[-1].text:
        steps.append(message.shown[-1])
    return replace(message, shown=steps)


def applied_states(calls: Sequence[WebhookCall]) -> dict[str, tuple[int, Any]]:
    """What a receiver shows in the end that applies whatever it is sent: subject -> (revision, status)."""
    return {
        call.event["subject"]: (int(call.event["entityversion"]), status_of(call))
        for call in calls
        if call.event["entitykind"] == "incident"
    }
