"""Every call is kept, also when the recorder forgets it, and calls without an end yet are looked at again."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from airflow_provider_atlan_meta.sandbox.received_calls import CallLog, slack_messages
from airflow_provider_atlan_meta.testing import recorder
from airflow_provider_atlan_meta.testing.recorder import build_app


class Recorded(httpx.BaseTransport):
    """``GET /_recorded`` of a list of calls."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.asked: list[int] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        after = int(request.url.params["after"])
        self.asked.append(after)
        return httpx.Response(200, json=[call for call in self.calls if call["number"] > after])

    def add(self, number: int, *, applied_at: float | None = 1.0, status: int | None = 204) -> None:
        call = {"number": number, "at": float(number), "applied_at": applied_at, "status": status}
        self.calls.append(call)


def numbers(log: CallLog) -> list[int]:
    return [call["number"] for call in log.read()]


def test_it_begins_where_it_began_to_listen() -> None:
    recorded = Recorded()
    recorded.add(1)
    with CallLog("http://recorder", transport=recorded) as log:
        recorded.add(2)
        assert numbers(log) == [2]


def test_what_the_recorder_has_forgotten_is_kept() -> None:
    recorded = Recorded()
    with CallLog("http://recorder", transport=recorded) as log:
        recorded.add(1)
        assert numbers(log) == [1]
        recorded.calls.clear()
        recorded.add(2)
        assert numbers(log) == [1, 2]


def test_a_call_without_an_end_is_looked_at_again() -> None:
    recorded = Recorded()
    with CallLog("http://recorder", transport=recorded) as log:
        recorded.add(1, applied_at=None, status=None)
        recorded.add(2)
        log.read()
        recorded.calls[0]["applied_at"] = 9.0
        assert [call["applied_at"] for call in log.read()] == [9.0, 1.0]
        log.read()
        assert recorded.asked[-1] == 2


def test_what_is_forgotten_is_still_told() -> None:
    recorded, told = Recorded(), []
    with CallLog("http://recorder", transport=recorded, on_call=told.append) as log:
        recorded.add(1)
        log.read()
        log.forget()
        recorded.add(2)
        recorded.add(3, applied_at=None, status=None)
        assert numbers(log) == [3]
        recorded.calls[2]["applied_at"] = 9.0
        assert numbers(log) == []
    assert [call["number"] for call in told] == [1, 2, 3]


def test_it_reads_the_real_recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "RECORDS_KEPT", 2)
    client = TestClient(build_app())
    post, update = "/slack/api/chat.postMessage", "/slack/api/chat.update"
    headers = {"authorization": "Bearer xoxb-example"}

    def body(delivery: str = "", **fields: Any) -> dict[str, Any]:
        blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "in a &lt;block&gt;"}}]
        said = {"channel": "C0123456789", "text": "hello", "blocks": blocks, **fields}
        payload = {"delivery_id": delivery}
        return (
            said | {"metadata": {"event_type": "atlan_meta_delivery", "event_payload": payload}}
            if delivery
            else said
        )

    class Transport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=client.get(str(request.url.raw_path, "ascii")).content)

    with CallLog("http://recorder", transport=Transport()) as log:
        ts = client.post(post, json=body("a"), headers=headers).json()["ts"]
        client.post(post, json=body("c", thread_ts=ts), headers=headers)
        log.read()
        client.post(update, json=body(ts=ts, text="again"), headers=headers)
        client.post(update, json=body(ts="1.000001"), headers=headers)
        message, answer = slack_messages(log.read())
    assert [shown.text for shown in message.shown] == ["hello in a <block>", "again in a <block>"]
    assert (message.delivery_id, answer.delivery_id) == ("a", "c")
    assert (answer.thread_ts, answer.channel) == (message.ts, message.channel)
