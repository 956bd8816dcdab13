"""The recorder answers as Slack does, remembers every call, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from airflow_provider_atlan_meta.testing import recorder as recorder_module
from airflow_provider_atlan_meta.testing.clock import ManualClock
from airflow_provider_atlan_meta.testing.recorder import AnswerCutError, build_app
from airflow_provider_atlan_meta.testing.slack_api import RateLimited, SlackApi

SAMPLES = Path(__file__).parents[2] / "fixtures" / "slack"
TOKEN = {"authorization": "Bearer xoxb-example"}
POST = "/slack/api/chat.postMessage"
UPDATE = "/slack/api/chat.update"
DELETE = "/slack/api/chat.delete"


def sample(name: str) -> Any:
    return json.loads((SAMPLES / name).read_text())


@pytest.fixture
def client() -> TestClient:
    return TestClient(build_app())


def post(client: TestClient, **arguments: Any) -> dict[str, Any]:
    answer = client.post(POST, json={"channel": "C0123456789", "text": "hello"} | arguments, headers=TOKEN)
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def test_the_sample_message_gets_an_answer_of_slacks_shape(client: TestClient) -> None:
    request, expected = sample("chat_postMessage.request.json"), sample("chat_postMessage.response.json")
    answer = client.post(POST, json=request, headers=TOKEN).json()
    assert answer["ok"] is True
    assert expected.keys() <= answer.keys()
    assert expected["message"].keys() <= answer["message"].keys()
    assert answer["channel"] == expected["channel"]
    assert answer["message"]["text"] == expected["message"]["text"]
    assert answer["ts"] == answer["message"]["ts"]
    assert answer["message"]["metadata"] == request["metadata"]


def test_errors_have_the_shape_of_the_samples(client: TestClient) -> None:
    refused = post(client, blocks=[{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}])
    expected = next(
        e["body"] for e in sample("chat_postMessage.errors.json") if e["body"]["error"] == "invalid_blocks"
    )
    assert {name: refused[name] for name in expected} == expected
    assert refused["errors"] == ["must be less than 151 characters [json-pointer:/blocks/0/text/text]"]


def test_a_form_body_means_the_same_as_a_json_body(client: TestClient) -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "hello"}}]
    form = {"token": "xoxb-example", "channel": "C0123456789", "text": "hello", "blocks": json.dumps(blocks)}
    answer = client.post(POST, data=form).json()
    assert answer["ok"] is True
    assert answer["message"]["blocks"] == blocks


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({}, "not_authed"),
        ({"authorization": "Bearer nonsense"}, "invalid_auth"),
        ({"authorization": "Basic eDp5"}, "not_authed"),
    ],
)
def test_a_call_without_a_valid_token_is_refused(
    client: TestClient, headers: dict[str, str], error: str
) -> None:
    answer = client.post(POST, json={"channel": "C0123456789", "text": "hello"}, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"ok": False, "error": error})


def test_json_without_a_charset_is_warned_about(client: TestClient) -> None:
    assert post(client)["warning"] == "missing_charset"
    typed = TOKEN | {"content-type": "application/json; charset=utf-8"}
    answer = client.post(POST, content=b'{"channel": "C0123456789", "text": "x"}', headers=typed).json()
    assert "warning" not in answer


@pytest.mark.parametrize(
    ("content_type", "content", "error"),
    [
        ("application/json", b"{", "invalid_json"),
        ("application/json", b"[]", "json_not_object"),
        ("text/xml", b"<a/>", "invalid_post_type"),
        (
            "application/x-www-form-urlencoded",
            b"token=xoxb-x&channel=C0123456789&blocks=%5B",
            "invalid_blocks_format",
        ),
        ("application/json", b'{"channel": "C0123456789"}', "no_text"),
        ("application/json", b'{"text": "x"}', "invalid_arguments"),
    ],
)
def test_a_body_slack_cannot_use_is_named(
    client: TestClient, content_type: str, content: bytes, error: str
) -> None:
    answer = client.post(POST, content=content, headers=TOKEN | {"content-type": content_type})
    assert (answer.status_code, answer.json()["error"]) == (200, error)


def test_every_ts_is_unique_and_later_than_the_one_before(client: TestClient) -> None:
    stamps = [post(client)["ts"] for _ in range(50)]
    assert sorted(set(stamps), key=lambda ts: tuple(map(int, ts.split(".")))) == stamps


def test_an_update_changes_the_message_and_keeps_its_ts(client: TestClient) -> None:
    ts = post(client, text="open")["ts"]
    answer = client.post(
        UPDATE, json={"channel": "C0123456789", "ts": ts, "text": "resolved"}, headers=TOKEN
    ).json()
    assert answer["ok"] is True
    assert (answer["ts"], answer["text"], answer["message"]["text"]) == (ts, "resolved", "resolved")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"channel": "C0123456789", "ts": "1.000001", "text": "x"}, "message_not_found"),
        ({"channel": "#alerts", "ts": "1.000001", "text": "x"}, "channel_not_found"),
        ({"channel": "C0123456789", "text": "x"}, "invalid_arguments"),
    ],
)
def test_an_update_of_nothing_is_refused(client: TestClient, arguments: dict[str, str], error: str) -> None:
    assert client.post(UPDATE, json=arguments, headers=TOKEN).json()["error"] == error


def test_a_deleted_message_is_gone(client: TestClient) -> None:
    address = {"channel": "C0123456789", "ts": post(client, text="open")["ts"]}

    assert client.post(DELETE, data=address, headers=TOKEN).json() == {"ok": True, **address}
    assert client.post(DELETE, data=address, headers=TOKEN).json()["error"] == "message_not_found"
    assert (
        client.post(UPDATE, data=address | {"text": "x"}, headers=TOKEN).json()["error"]
        == "message_not_found"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"channel": "#alerts", "ts": "1.000001"}, "channel_not_found"),
        ({"channel": "C0123456789"}, "invalid_arguments"),
    ],
)
def test_a_deletion_of_nothing_is_refused(client: TestClient, arguments: dict[str, str], error: str) -> None:
    assert client.post(DELETE, data=arguments, headers=TOKEN).json()["error"] == error


def test_an_update_of_more_than_4000_characters_is_refused_and_a_post_is_cut_at_40000(
    client: TestClient,
) -> None:
    posted = post(client, text="x" * 40_001)
    assert len(posted["message"]["text"]) == 40_000
    update = {"channel": "C0123456789", "ts": posted["ts"], "text": "x" * 4_001}
    assert client.post(UPDATE, json=update, headers=TOKEN).json()["error"] == "msg_too_long"


def test_a_channel_name_is_answered_with_its_id(client: TestClient) -> None:
    first, second = post(client, channel="#alerts"), post(client, channel="alerts")
    assert first["channel"] == second["channel"]
    assert first["channel"].startswith("C")
    update = {"channel": first["channel"], "ts": first["ts"], "text": "again"}
    assert client.post(UPDATE, json=update, headers=TOKEN).json()["ok"] is True


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        ([{"type": "divider"}] * 51, "no more than 50 items allowed [json-pointer:/blocks]"),
        ([section("x" * 3_001)], "must be less than 3001 characters [json-pointer:/blocks/0/text/text]"),
        ([section("")], "must be more than 0 characters [json-pointer:/blocks/0/text/text]"),
        (
            [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}],
            "no more than 10 items allowed [json-pointer:/blocks/0/fields]",
        ),
        (
            [{"type": "actions", "elements": [{"type": "button"}] * 26}],
            "no more than 25 items allowed [json-pointer:/blocks/0/elements]",
        ),
        ([{"type": "banner"}], "unsupported type: banner [json-pointer:/blocks/0/type]"),
        ([{"type": "section"}], "missing required field: text [json-pointer:/blocks/0]"),
    ],
)
def test_blocks_over_slacks_limits_are_refused_with_the_place(
    client: TestClient, blocks: list[dict[str, Any]], problem: str
) -> None:
    answer = post(client, blocks=blocks)
    assert answer["error"] == "invalid_blocks"
    assert problem in answer["errors"]
    assert f"[ERROR] {problem}" in answer["response_metadata"]["messages"]


def test_blocks_whose_texts_are_too_long_together_are_refused(client: TestClient) -> None:
    assert post(client, blocks=[section("x" * 2_900)] * 4)["error"] == "msg_blocks_too_long"


def test_every_call_is_remembered_without_its_token(client: TestClient) -> None:
    post(client)
    client.post(POST, data={"token": "xoxb-secret", "channel": "C0123456789", "text": "hello"})
    first, second = client.get("/_recorded?service=slack").json()
    assert first.keys() == {
        "number",
        "at",
        "method",
        "path",
        "headers",
        "body",
        "status",
        "applied_at",
        "message",
    }
    assert (first["method"], first["path"], first["status"]) == ("POST", POST, 200)
    assert first["body"] == {"channel": "C0123456789", "text": "hello"}
    assert first["headers"]["authorization"] == "Bearer ***"
    assert second["body"]["token"] == "***"
    assert "xoxb-" not in client.get("/_recorded").text
    assert client.get("/_recorded?service=jira").json() == []


def test_calls_are_numbered_so_that_a_reader_asks_for_what_is_new(client: TestClient) -> None:
    for _ in range(3):
        client.post("/webhook/ops", content=b"{}")
    numbers = [entry["number"] for entry in client.get("/_recorded").json()]
    assert numbers == [1, 2, 3]
    client.delete("/_recorded")
    client.post("/webhook/ops", content=b"{}")
    assert [entry["number"] for entry in client.get("/_recorded?after=3").json()] == [4]
    assert client.get("/_recorded?after=4").json() == []
    assert client.get("/_recorded?after=x").status_code == 400


def test_a_recorded_call_says_where_slack_put_its_message(client: TestClient) -> None:
    ts = post(client)["ts"]
    client.post(UPDATE, json={"channel": "C0123456789", "ts": ts, "text": "again"}, headers=TOKEN)
    recorded = client.get("/_recorded?service=slack").json()
    assert [entry["message"] for entry in recorded] == [{"channel": "C0123456789", "ts": ts}] * 2


def test_what_slack_refuses_took_no_effect(client: TestClient) -> None:
    post(client, channel="C0123456789", text="")
    (entry,) = client.get("/_recorded?service=slack").json()
    assert (entry["status"], entry["applied_at"], entry["message"]) == (200, None, None)


def test_deleted_records_are_gone(client: TestClient) -> None:
    post(client)
    assert client.delete("/_recorded").status_code == 204
    assert client.get("/_recorded").json() == []


def test_scripted_statuses_come_as_often_as_asked_and_have_no_effect(client: TestClient) -> None:
    client.post("/_script", json={"service": "slack", "mode": "status", "status": 503, "times": 2})
    statuses = [
        client.post(POST, json={"channel": "C0123456789", "text": "x"}, headers=TOKEN).status_code
        for _ in range(3)
    ]
    assert statuses == [503, 503, 200]
    assert [entry["status"] for entry in client.get("/_recorded").json()] == [503, 503, 200]


def test_a_scripted_rate_limit_looks_like_slacks(client: TestClient) -> None:
    expected = next(e for e in sample("chat_postMessage.errors.json") if e["status"] == 429)
    client.post("/_script", json={"service": "slack", "mode": "status", "status": 429, "retry_after": 30})
    answer = client.post(POST, json={"channel": "C0123456789", "text": "x"}, headers=TOKEN)
    assert (answer.status_code, answer.json()) == (429, expected["body"])
    assert answer.headers["retry-after"] == expected["headers"]["Retry-After"]


def test_a_script_for_one_method_leaves_the_other_alone(client: TestClient) -> None:
    client.post("/_script", json={"service": "slack", "path": "chat.update", "mode": "status", "status": 500})
    ts = post(client)["ts"]
    update = {"channel": "C0123456789", "ts": ts, "text": "x"}
    assert client.post(UPDATE, json=update, headers=TOKEN).status_code == 500
    assert client.post(UPDATE, json=update, headers=TOKEN).json()["ok"] is True


def test_a_scripted_refusal_is_slacks_own(client: TestClient) -> None:
    client.post("/_script", json={"service": "slack", "mode": "error", "error": "channel_not_found"})
    assert post(client) == {"ok": False, "error": "channel_not_found"}


def test_a_scripted_hang_answers_late_and_has_no_effect(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    client.post("/_script", json={"service": "slack", "mode": "hang", "seconds": 20})
    assert client.post(POST, json={"channel": "C0123456789", "text": "x"}, headers=TOKEN).status_code == 503
    assert waited == [20]


@pytest.mark.parametrize(
    "script",
    [
        {"service": "fax", "mode": "hang"},
        {"service": "slack", "mode": "explode"},
        {"service": "slack", "mode": "status", "status": 200},
        {"service": "slack", "mode": "hang", "seconds": 10_000},
        {"service": "slack", "mode": "hang", "colour": "red"},
        [],
    ],
)
def test_a_script_that_means_nothing_is_refused(client: TestClient, script: Any) -> None:
    answer = client.post("/_script", json=script)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_body_above_one_mebibyte_is_refused_and_memory_stays_bounded(client: TestClient) -> None:
    answer = client.post(
        POST, content=b"x" * (1 << 20 | 1), headers=TOKEN | {"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert client.get("/_recorded").json()[0]["body"] is None
    assert client.app.state.recorder.records.maxlen == recorder_module.RECORDS_KEPT  # type: ignore[attr-defined]


def test_the_recorder_says_that_it_is_up(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 200


# ---- metadata and history


METADATA = {"event_type": "atlan_meta_delivery", "event_payload": {"delivery_id": "d-1"}}


def history(client: TestClient, method: str = "conversations.history", **arguments: Any) -> dict[str, Any]:
    asked = {"channel": "C0123456789", "include_all_metadata": "true"} | arguments
    body: dict[str, Any] = client.get(f"/slack/api/{method}", params=asked, headers=TOKEN).json()
    return body


def test_history_tells_metadata_only_when_asked(client: TestClient) -> None:
    ts = post(client, metadata=METADATA)["ts"]

    (message,) = history(client)["messages"]
    assert (message["ts"], message["metadata"]) == (ts, METADATA)
    (bare,) = history(client, include_all_metadata="false")["messages"]
    assert "metadata" not in bare


def test_an_update_keeps_metadata_replaces_it_or_takes_it_away(client: TestClient) -> None:
    update = {"channel": "C0123456789", "ts": post(client, metadata=METADATA)["ts"], "text": "next"}
    seen = []
    for more in ({}, {"metadata": METADATA | {"event_type": "other"}}, {"metadata": {}}):
        assert client.post(UPDATE, json=update | more, headers=TOKEN).json()["ok"] is True
        seen.append(history(client)["messages"][0].get("metadata", {}).get("event_type"))
    assert seen == ["atlan_meta_delivery", "other", None]


def test_history_comes_newest_first_in_pages_of_the_asked_size(client: TestClient) -> None:
    stamps = [post(client, text=str(number))["ts"] for number in range(5)]
    pages, cursor = [], ""
    while True:
        page = history(client, limit=2, cursor=cursor)
        pages.append([message["ts"] for message in page["messages"]])
        cursor = page["response_metadata"]["next_cursor"]
        assert page["has_more"] is bool(cursor)
        if not cursor:
            break
    assert pages == [[stamps[4], stamps[3]], [stamps[2], stamps[1]], [stamps[0]]]


def test_the_ends_of_a_time_window_count_only_when_inclusive(client: TestClient) -> None:
    first, second, third = (post(client)["ts"] for _ in range(3))
    window = {"oldest": first, "latest": third}
    assert [one["ts"] for one in history(client, **window)["messages"]] == [second]
    both = history(client, **window, inclusive="true")["messages"]
    assert [one["ts"] for one in both] == [third, second, first]


def test_answers_in_a_thread_are_in_its_replies_not_in_the_channel(client: TestClient) -> None:
    root = post(client)["ts"]
    reply = post(client, thread_ts=root)["ts"]
    assert [one["ts"] for one in history(client)["messages"]] == [root]
    replies = history(client, "conversations.replies", ts=root)["messages"]
    assert [one["ts"] for one in replies] == [root, reply]
    assert history(client, "conversations.replies", ts="1.000001")["error"] == "thread_not_found"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"channel": "#alerts"}, "channel_not_found"),
        ({"limit": 1_000}, "invalid_limit"),
        ({"limit": "many"}, "invalid_arguments"),
        ({"cursor": "somewhere"}, "invalid_cursor"),
    ],
)
def test_history_of_nowhere_is_refused(client: TestClient, arguments: dict[str, Any], error: str) -> None:
    assert history(client, **arguments)["error"] == error


def test_history_lags_while_scripted(client: TestClient) -> None:
    ts = post(client)["ts"]
    client.post("/_script", json={"service": "slack", "mode": "lag", "seconds": 60})
    assert post(client)["ok"] is True  # a lag is history's: posts do not use it up
    assert history(client)["messages"] == []
    assert history(client)["messages"][1]["ts"] == ts


# ---- rate limits


def test_slacks_limits_count_per_channel_once_they_are_switched_on(client: TestClient) -> None:
    assert client.post("/_limits", json={"service": "slack", "enforced": True}).status_code == 204
    post(client)
    throttled = client.post(POST, json={"channel": "C0123456789", "text": "x"}, headers=TOKEN)
    assert (throttled.status_code, throttled.headers["retry-after"]) == (429, "1")
    assert throttled.json() == {"ok": False, "error": "ratelimited"}
    assert post(client, channel="C9876543210")["ok"] is True
    client.post("/_limits", json={"service": "slack", "enforced": False})
    assert post(client)["ok"] is True


@pytest.mark.parametrize("body", [{"service": "slack"}, {"service": "webhook", "enforced": True}, []])
def test_a_limit_that_means_nothing_is_refused(client: TestClient, body: Any) -> None:
    assert client.post("/_limits", json=body).status_code == 400


def test_fifty_updates_fit_into_a_minute_and_the_next_is_told_when_to_come_back() -> None:
    clock = ManualClock(1_000.0)
    slack = SlackApi(clock)
    slack.limits_enforced = True

    def call(method: str, **arguments: Any) -> dict[str, Any]:
        body = json.dumps({"channel": "C0123456789", "text": "x"} | arguments).encode()
        return slack.call(method, authorization="Bearer xoxb-x", content_type="application/json", body=body)

    ts = call("chat.postMessage")["ts"]
    for _ in range(50):
        assert call("chat.update", ts=ts)["ok"] is True
    clock.advance(10)
    with pytest.raises(RateLimited) as caught:
        call("chat.update", ts=ts)
    assert caught.value.retry_after == 50
    clock.advance(50)
    assert call("chat.update", ts=ts)["ok"] is True


# ---- webhooks, and answers that get lost


def test_a_webhook_is_remembered_exactly_as_it_came(client: TestClient) -> None:
    body = b'{"b": 1,  "a": "\xc3\xa4"}'
    answer = client.post("/webhook/ops", content=body, headers={"webhook-id": "msg_1"})
    assert (answer.status_code, answer.content) == (204, b"")
    (entry,) = client.get("/_recorded?service=webhook").json()
    assert entry["body"].encode() == body
    assert (entry["path"], entry["status"], entry["headers"]["webhook-id"]) == ("/webhook/ops", 204, "msg_1")
    assert entry["applied_at"] >= entry["at"]
    assert client.get("/_recorded?service=slack").json() == []


def test_a_scripted_redirect_names_another_place(client: TestClient) -> None:
    client.post("/_script", json={"service": "webhook", "mode": "status", "status": 302, "path": "/ops"})
    answer = client.post("/webhook/ops", content=b"{}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (302, "/webhook/redirected")
    assert client.get("/_recorded").json()[0]["applied_at"] is None


def test_an_answer_that_is_cut_has_taken_effect(client: TestClient) -> None:
    client.post("/_script", json={"service": "slack", "mode": "cut"})
    with pytest.raises(AnswerCutError):
        post(client, text="heard")
    (message,) = history(client)["messages"]
    assert message["text"] == "heard"
    entry = client.get("/_recorded?service=slack").json()[0]
    assert entry["status"] is None
    assert entry["applied_at"] is not None


def test_a_delayed_effect_is_not_there_before_its_time(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = client.app.state.recorder  # type: ignore[attr-defined]
    before: list[Any] = []

    async def sleep(seconds: float) -> None:
        before.append((seconds, recorder.recorded("webhook")[0]["applied_at"]))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    client.post("/_script", json={"service": "webhook", "mode": "delay", "seconds": 12})
    assert client.post("/webhook/ops", content=b"{}").status_code == 204
    assert before == [(12, None)]
    assert recorder.recorded("webhook")[0]["applied_at"] is not None
