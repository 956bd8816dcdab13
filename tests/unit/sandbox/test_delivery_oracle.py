"""The oracle of the last hop passes what is right and finds each planted fault."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_atlan_meta.core.identity import change_id, delivery_id
from airflow_provider_atlan_meta.sandbox import delivery_oracle, expected_deliveries, received_calls
from airflow_provider_atlan_meta.sandbox.delivery_oracle import (
    DeliveryVerdict,
    Received,
    Reported,
    judge_deliveries,
)
from airflow_provider_atlan_meta.sandbox.expected_deliveries import (
    Told,
    change_id_of,
    delivery_id_of,
    read_asked,
)
from airflow_provider_atlan_meta.sandbox.expected_deliveries import (
    expected_deliveries as deliveries_of,
)
from airflow_provider_atlan_meta.sandbox.received_calls import slack_messages, webhook_calls
from airflow_provider_atlan_meta.testing.manifest import SentPost

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
CHANNEL = "C0DEMO0001"
ASKED = read_asked(
    f"""
subscriptions:
  - {{name: everything, tenant: "*", match: {{}}, destination: {{type: webhook}}}}
  - name: volume
    tenant: "*"
    match: {{kind: incident, type: open_volume_incident}}
    destination: {{type: slack, channel: {CHANNEL}}}
"""
)
ROW = {
    "source": "montecarlo",
    "type": "open_volume_incident",
    "title": "Has 42 rows vs. 101 expected & <more>",
    "severity": None,
    "status": None,
}
STATES: tuple[dict[str, Any], ...] = (
    {},
    {"status": "ACKNOWLEDGED"},
    {"status": "FIXED", "severity": "SEV-1"},
)
Calls = list[dict[str, Any]]


def told(id: str, revision: int, row: dict[str, Any], kind: str = "incident") -> Told:
    one = Told(
        change_id="",
        kind=kind,
        op="created" if revision == 1 else "updated",
        tenant="acme",
        id=id,
        revision=revision,
        row=row,
    )
    return replace(one, change_id=change_id_of(one))


def changes() -> list[Told]:
    """Two incidents Slack hears of, one it does not, and an entity."""
    found = [told("e1", 1, {"name": "orders"}, "entity")]
    for id, kind in (("i1", "open_volume_incident"), ("i2", "open_volume_incident"), ("i3", "other")):
        row: dict[str, Any] = {**ROW, "type": kind}
        for revision, state in enumerate(STATES, 1):
            row = row | state
            found.append(told(id, revision, row))
    return found


class Recorder:
    """What a faultless product would have called, a call per 10 ms."""

    def __init__(self) -> None:
        self.calls: Calls = []

    def add(self, path: str, body: Any, **fields: Any) -> dict[str, Any]:
        at = 1_795_000_000.0 + len(self.calls) / 100
        call = {"number": len(self.calls) + 1, "at": at, "path": path, "body": body, "status": 200}
        self.calls.append(call | {"headers": {}, "applied_at": at + 0.001, "message": None} | fields)
        return self.calls[-1]

    def webhook(self, change: Told) -> None:
        event = {
            "specversion": "1.0",
            "id": change.change_id,
            "type": f"com.atlan.meta.{change.kind}.{change.op}.v1",
            "subject": change.id,
            "tenantid": change.tenant,
            "entitykind": change.kind,
            "entityversion": f"{change.revision:019d}",
            "data": {"before": None, "after": change.row},
        }
        name = delivery_id_of(change.change_id, "everything")
        headers = signed(name, 1_795_000_000 + len(self.calls) // 100, json.dumps(event))
        self.add("/webhook/changes", json.dumps(event), headers=headers)

    def slack(self, change: Told, ts: str) -> None:
        title = "*Has 42 rows vs. 101 expected &amp; &lt;more&gt;*"
        text = f"{title} status {change.row['status']}, {change.row['severity']} (change {change.change_id})"
        place = {"channel": CHANNEL, "ts": ts}
        if change.revision == 1:
            self.add(
                "/slack/api/chat.postMessage",
                {"channel": CHANNEL, "text": text, "metadata": metadata(change, "")},
                message=place,
            )
            return
        self.add(
            "/slack/api/chat.update",
            {**place, "text": text},
            message=place,
        )
        answer = {"channel": CHANNEL, "ts": f"{ts}.{change.revision}"}
        self.add(
            "/slack/api/chat.postMessage",
            {
                "channel": CHANNEL,
                "thread_ts": ts,
                "text": "changed",
                "metadata": metadata(change, "thread"),
            },
            message=answer,
        )


def signed(name: str, at: int, body: str) -> dict[str, str]:
    """As Standard Webhooks says."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signature = hmac.digest(key, f"{name}.{at}.{body}".encode(), hashlib.sha256)
    return {
        "content-type": "application/cloudevents+json; charset=utf-8",
        "webhook-id": name,
        "webhook-timestamp": str(at),
        "webhook-signature": "v1," + base64.b64encode(signature).decode(),
    }


def metadata(change: Told, part: str) -> dict[str, Any]:
    name = delivery_id_of(change.change_id, "volume", part)
    return {"event_type": "atlan_meta_delivery", "event_payload": {"delivery_id": name}}


def faultless() -> Calls:
    recorder = Recorder()
    for change in changes():
        recorder.webhook(change)
        if change.row.get("type") == "open_volume_incident":
            recorder.slack(change, ts=f"17.{change.id}")
    return recorder.calls


def judged(calls: Calls, **reported: Any) -> DeliveryVerdict:
    received = Received(webhook_calls(calls, SECRET), slack_messages(calls), Reported(**reported))
    return judge_deliveries(changes(), ASKED, received, {})


def webhooks(calls: Calls) -> Calls:
    return [call for call in calls if call["path"].startswith("/webhook")]


def slack(calls: Calls, method: str, *, thread: bool = False) -> Calls:
    return [c for c in calls if c["path"].endswith(method) and ("thread_ts" in c["body"]) is thread]


def again(calls: Calls, call: dict[str, Any], **fields: Any) -> None:
    """The call happens once more, last of all."""
    calls.append(
        {**deepcopy(call), "number": len(calls) + 1, "applied_at": calls[-1]["applied_at"] + 1} | fields
    )


def test_what_a_faultless_product_calls_is_right() -> None:
    verdict = judged(faultless())
    assert verdict.findings == []
    assert verdict.ok
    assert verdict.deliveries == {"webhook": 10, "slack": 2 * (3 + 2)}
    assert verdict.incidents_shown == 2


def test_calls_without_an_effect_do_not_count() -> None:
    calls = faultless()
    again(calls, webhooks(calls)[0], applied_at=None, status=429)
    assert judged(calls).ok


def test_messages_of_others_in_the_chat_do_not_count() -> None:
    calls = faultless()
    again(
        calls,
        slack(calls, "chat.postMessage")[0],
        body={"channel": "C0SANDBOX01", "text": "a DAG failed"},
        message={"channel": "C0SANDBOX01", "ts": "99.1"},
    )
    assert judged(calls).ok


def test_a_row_without_a_title_and_a_deletion_told_again_without_its_row_are_right() -> None:
    untitled = told("i4", 1, {**ROW, "title": None, "status": "FIXED"})
    deleted = replace(told("i5", 2, {}), op="deleted")
    recorder = Recorder()
    recorder.webhook(untitled)
    recorder.slack(untitled, ts="17.i4")
    recorder.calls[-1]["body"]["text"] = f"none, status FIXED (change {untitled.change_id})"
    recorder.webhook(deleted)

    received = Received(webhook_calls(recorder.calls, SECRET), slack_messages(recorder.calls))
    assert judge_deliveries([untitled, deleted], ASKED, received, {}).findings == []


Fault = Callable[[Calls], None]


def _webhook_missing(calls: Calls) -> None:
    calls.remove(webhooks(calls)[3])


def _webhook_doubled(calls: Calls) -> None:
    again(calls, webhooks(calls)[-1])


def _webhook_under_another_id(calls: Calls) -> None:
    """As if its id were made anew at every try; rightly signed."""
    call = webhooks(calls)[3]
    call["headers"] = signed("0b9d3c8e-2f67-4d0a-8c42-6f1f5f3a7e11", int(call["at"]), call["body"])


def _webhooks_swapped(calls: Calls) -> None:
    one, other = webhooks(calls)[1:3]
    one["applied_at"], other["applied_at"] = other["applied_at"], one["applied_at"]


def _webhook_badly_signed(calls: Calls) -> None:
    webhooks(calls)[0]["headers"]["webhook-signature"] = "v1,bm90aGluZw=="


def _webhook_played_back(calls: Calls) -> None:
    webhooks(calls)[0]["at"] += 600


def _webhook_of_another_row(calls: Calls) -> None:
    """The right id around the wrong content."""
    call = webhooks(calls)[2]
    call["body"] = call["body"].replace('"ACKNOWLEDGED"', '"FIXED"')
    call["headers"] = signed(call["headers"]["webhook-id"], int(call["at"]), call["body"])


def _slack_never_posted(calls: Calls) -> None:
    calls[:] = [
        c for c in calls if "slack" not in c["path"] or "i2" not in json.dumps([c["body"], c["message"]])
    ]


def _slack_stale(calls: Calls) -> None:
    calls.remove(slack(calls, "chat.update")[-1])


def _slack_older_after_newer(calls: Calls) -> None:
    again(calls, slack(calls, "chat.update")[0])


def _slack_two_messages(calls: Calls) -> None:
    again(calls, slack(calls, "chat.postMessage")[0], message={"channel": CHANNEL, "ts": "99.9"})


def _slack_answer_missing(calls: Calls) -> None:
    calls.remove(slack(calls, "chat.postMessage", thread=True)[0])


def _slack_answer_doubled(calls: Calls) -> None:
    again(
        calls,
        slack(calls, "chat.postMessage", thread=True)[0],
        message={"channel": CHANNEL, "ts": "99.9"},
    )


def _slack_answers_swapped(calls: Calls) -> None:
    one, other = slack(calls, "chat.postMessage", thread=True)[:2]
    one["applied_at"], other["applied_at"] = other["applied_at"], one["applied_at"]


def _slack_answer_elsewhere(calls: Calls) -> None:
    slack(calls, "chat.postMessage", thread=True)[0]["body"]["thread_ts"] = "17.i2"


def _slack_step_skipped(calls: Calls) -> None:
    calls.remove(slack(calls, "chat.update")[0])


def _slack_update_doubled(calls: Calls) -> None:
    again(calls, slack(calls, "chat.update")[-1])


def _slack_wrong_channel(calls: Calls) -> None:
    for call in calls:
        if "slack" in call["path"]:
            call["message"]["channel"] = call["body"]["channel"] = "C0DEMO0002"


def _slack_without_status(calls: Calls) -> None:
    last = slack(calls, "chat.update")[-1]
    last["body"]["text"] = last["body"]["text"].replace("status FIXED", "status")


def _slack_with_an_old_status(calls: Calls) -> None:
    last = slack(calls, "chat.update")[-1]
    last["body"]["text"] += " ACKNOWLEDGED"


def _slack_without_title(calls: Calls) -> None:
    last = slack(calls, "chat.update")[-1]
    last["body"]["text"] = last["body"]["text"].replace("42", "43")


def _slack_of_a_row_nobody_asked_for(calls: Calls) -> None:
    other = next(change for change in changes() if change.id == "i3")
    again(
        calls,
        slack(calls, "chat.postMessage")[0],
        body={"channel": CHANNEL, "text": "x", "metadata": metadata(other, "")},
        message={"channel": CHANNEL, "ts": "99.9"},
    )


@pytest.mark.parametrize(
    ("fault", "lost", "duplicated", "reordered", "words"),
    [
        (_webhook_missing, 1, 0, 0, "never sent"),
        (_webhook_doubled, 0, 1, 0, "sent 2 times"),
        (_webhook_under_another_id, 1, 1, 0, "nobody asked"),
        (_webhooks_swapped, 0, 0, 1, "came after revision 2"),
        (_webhook_badly_signed, 0, 0, 0, "signature"),
        (_webhook_played_back, 0, 0, 0, "timestamp"),
        (_webhook_of_another_row, 0, 0, 0, "not the row of the change"),
        (_slack_never_posted, 1, 0, 0, "never posted"),
        (_slack_stale, 1, 0, 0, "shows revision 2, not 3"),
        (_slack_older_after_newer, 1, 1, 1, "shows revision 2, not 3"),
        (_slack_two_messages, 0, 1, 0, "is there 2 times"),
        (_slack_answer_missing, 1, 0, 0, "answer"),
        (_slack_answer_doubled, 0, 1, 0, "is there 2 times"),
        (_slack_answers_swapped, 0, 0, 1, "out of order"),
        (_slack_answer_elsewhere, 0, 0, 0, "another thread"),
        (_slack_step_skipped, 1, 0, 0, "revision 2 was never shown"),
        (_slack_update_doubled, 0, 1, 0, "shown 2 times"),
        (_slack_wrong_channel, 0, 0, 0, "not in C0DEMO0001"),
        (_slack_without_status, 0, 0, 0, "does not show the status"),
        (_slack_with_an_old_status, 0, 0, 0, "shows the status 'acknowledged'"),
        (_slack_without_title, 0, 0, 0, "does not show the title"),
        (_slack_of_a_row_nobody_asked_for, 0, 1, 0, "nobody asked"),
    ],
)
def test_a_fault_is_found(fault: Fault, lost: int, duplicated: int, reordered: int, words: str) -> None:
    calls = faultless()
    fault(calls)
    verdict = judged(calls)
    assert not verdict.ok
    assert (verdict.lost, verdict.duplicated, verdict.reordered) == (lost, duplicated, reordered)
    assert any(words in finding for finding in verdict.findings), verdict.findings


def test_a_change_that_was_not_told_under_its_own_id_is_found() -> None:
    wrong = [replace(change, change_id=changes()[1].change_id) for change in changes()[:1]]
    verdict = judge_deliveries(wrong, (), Received((), ()), {})
    assert "change_id" in verdict.findings[0]


def test_steps_reported_as_folded_may_be_skipped_but_never_the_last_state() -> None:
    calls = faultless()
    _slack_step_skipped(calls)
    _slack_answer_missing(calls)
    second = next(change for change in changes() if change.id == "i1" and change.revision == 2)
    skipped = {delivery_id_of(second.change_id, "volume", part) for part in ("", "thread")}
    verdict = judged(calls, skipped=skipped)
    assert (verdict.findings, verdict.folded) == ([], 2)
    _slack_stale(calls)
    every = {delivery_id_of(change.change_id, "volume") for change in changes()}
    assert judged(calls, skipped=skipped | every).lost == 1


def test_a_double_that_was_taken_away_and_reported_counts_as_folded() -> None:
    calls = faultless()
    _slack_two_messages(calls)
    again(
        calls,
        slack(calls, "chat.update")[0],
        path="/slack/api/chat.delete",
        body={"channel": CHANNEL, "ts": "99.9"},
    )
    assert judged(calls).duplicated == 1
    first = next(change for change in changes() if change.id == "i1")
    verdict = judged(calls, doubles={delivery_id_of(first.change_id, "volume"): 1})
    assert (verdict.findings, verdict.folded) == ([], 1)


def test_latency_runs_from_the_post_to_the_call_for_the_change_it_caused() -> None:
    calls = faultless()
    post = SentPost(
        run="service",
        seq=1,
        tenant="acme",
        kind="created",
        subject="i1",
        body=b"{}",
        expected_status=202,
        sent_at=webhooks(calls)[1]["at"] - 0.05,
    )
    received = Received(webhook_calls(calls, SECRET), slack_messages(calls))
    verdict = judge_deliveries(changes(), ASKED, received, {("acme", "i1", 1): post})
    assert verdict.latency_ms["webhook"]["service"] == [pytest.approx(50, abs=0.1)]
    assert verdict.latency_ms["slack"]["service"] == [pytest.approx(61, abs=0.1)]


def test_the_time_of_the_last_state_shown_is_told_by_run() -> None:
    calls = faultless()
    post = SentPost(
        run="throttled",
        seq=1,
        tenant="acme",
        kind="x",
        subject="i1",
        body=b"{}",
        expected_status=202,
        sent_at=1.0,
    )
    received = Received((), slack_messages(calls))
    verdict = judge_deliveries(changes(), ASKED, received, {("acme", "i1", 3): post})
    assert verdict.shown_at["throttled"] == slack(calls, "chat.update")[1]["applied_at"]


def test_its_ids_are_those_of_the_product() -> None:
    one = told("i1", 7, ROW)
    assert one.change_id == str(change_id("acme", "incident", "i1", 1, 7))
    assert delivery_id_of(one.change_id, "s") == str(delivery_id(one.change_id, "s"))
    assert delivery_id_of(one.change_id, "s", "thread") == str(delivery_id(one.change_id, "s.thread"))


def test_a_change_told_twice_is_delivered_once() -> None:
    assert len(deliveries_of([*changes(), *changes()], ASKED)) == len(deliveries_of(changes(), ASKED))


def test_a_pattern_it_does_not_understand_is_refused_instead_of_being_guessed() -> None:
    with pytest.raises(ValueError, match="title is more than"):
        read_asked(
            "subscriptions: [{name: a, tenant: b, match: {title: [{prefix: x}]}, destination: {type: webhook}}]"
        )


@pytest.mark.parametrize("module", [delivery_oracle, expected_deliveries, received_calls])
def test_the_oracle_shares_no_code_with_the_product(module: Any) -> None:
    source = Path(module.__file__).read_text()
    for room in ("core", "pipeline", "clients", "services", "config"):
        assert f"airflow_provider_atlan_meta.{room}" not in source
