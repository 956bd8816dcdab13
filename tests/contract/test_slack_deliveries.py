"""Slack's real SDK against the recorder over real HTTP: what claim and settle need of it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from contract.recorder_server import serving

from airflow_provider_atlan_meta.clients import slack_deliveries
from airflow_provider_atlan_meta.clients.slack import PostedMessage, SlackConfig
from airflow_provider_atlan_meta.clients.slack_deliveries import SlackDeliveries, address_of
from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.sending import SendOutcome
from airflow_provider_atlan_meta.testing.recorder import Recorder
from airflow_provider_atlan_meta.testing.scripts import Script
from airflow_provider_atlan_meta.testing.slack_api import SlackApi

CHANNEL = "C0123456789"
T = TypeVar("T")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Recorder]]:
    with serving() as running:
        yield running


class Bench:
    def __init__(self, url: str, recorder: Recorder) -> None:
        self.url, self.recorder = url, recorder
        recorder.forget(None)
        recorder.scripts.clear()
        recorder.slack = SlackApi()

    def script(self, **fields: Any) -> None:
        self.recorder.scripts.append(Script(service="slack", **fields))

    def run(self, work: Callable[[SlackDeliveries], Awaitable[T]], *, timeout: int = 5) -> T:
        config = SlackConfig(token="xoxb-secret", base_url=f"{self.url}/slack/api/", timeout_seconds=timeout)

        async def inside() -> T:
            async with SlackDeliveries(config) as slack:
                return await work(slack)

        return asyncio.run(inside())

    def post(self, delivery_id: str = "d-1", **more: Any) -> SendOutcome:
        return self.run(lambda slack: slack.post(CHANNEL, "opened", delivery_id=delivery_id, **more))

    def find(self, delivery_id: str = "d-1", **more: Any) -> tuple[PostedMessage, ...]:
        window = {"oldest": time.time() - 60, "latest": time.time() + 60} | more
        return self.run(lambda slack: slack.find(CHANNEL, delivery_id, **window))

    def calls(self) -> int:
        return len(self.recorder.recorded("slack"))


@pytest.fixture
def bench(server: tuple[str, Recorder]) -> Bench:
    return Bench(*server)


def test_a_post_has_an_address_and_is_found_by_its_delivery(bench: Bench) -> None:
    bench.post("d-0")
    outcome = bench.post("d-1")

    assert outcome.result == "delivered"
    assert bench.find("d-1") == (address_of(outcome.external_id),)
    assert bench.find("d-2") == ()


def test_an_updated_message_is_found_by_the_delivery_that_posted_it(bench: Bench) -> None:
    message = address_of(bench.post("d-1").external_id)

    outcome = bench.run(lambda slack: slack.update(message, "fixed"))

    assert (outcome.result, address_of(outcome.external_id)) == ("delivered", message)
    assert bench.find("d-1") == (message,)


def test_a_post_whose_answer_was_lost_is_not_repeated_and_is_found(bench: Bench) -> None:
    bench.script(mode="cut", path="chat.postMessage")

    outcome = bench.post()

    assert (outcome.result, outcome.status) == ("unknown", None)
    assert bench.calls() == 1
    assert len(bench.find()) == 1


def test_a_post_that_takes_effect_after_the_timeout_is_not_found_before_it(bench: Bench) -> None:
    bench.script(mode="delay", seconds=1.5)

    outcome = bench.run(lambda slack: slack.post(CHANNEL, "opened", delivery_id="d-1"), timeout=1)

    assert outcome.result == "unknown"
    assert bench.find() == ()
    deadline = time.monotonic() + 10
    while not bench.find():
        assert time.monotonic() < deadline
    assert len(bench.find()) == 1


def test_messages_history_does_not_show_yet_are_found_once_it_does(bench: Bench) -> None:
    bench.post()
    bench.script(mode="lag", seconds=60)

    assert bench.find() == ()
    assert len(bench.find()) == 1


def test_doubled_messages_are_all_found_oldest_first(bench: Bench) -> None:
    posted = [address_of(bench.post().external_id) for _ in range(2)]

    assert list(bench.find()) == posted


def test_every_page_is_looked_at_and_an_unfinished_look_concludes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack_deliveries, "PAGE_MESSAGES", 2)
    monkeypatch.setattr(slack_deliveries, "MAX_PAGES", 2)
    wanted = address_of(bench.post("d-1").external_id)
    for number in range(3):
        bench.post(f"other-{number}")

    assert bench.find("d-1") == (wanted,)
    bench.post("one more")
    with pytest.raises(TransientError, match="nothing was concluded"):
        bench.find("d-1")


def test_an_answer_in_a_thread_is_looked_for_in_the_thread(bench: Bench) -> None:
    root = address_of(bench.post("root").external_id)
    reply = address_of(bench.post("d-1", thread_ts=root.ts).external_id)

    assert bench.find("d-1") == ()
    assert bench.find("d-1", thread_ts=root.ts) == (reply,)


def test_messages_outside_the_time_asked_for_are_not_looked_at(bench: Bench) -> None:
    bench.post()

    assert bench.find(oldest=time.time() + 10) == ()


@pytest.mark.parametrize(
    ("script", "result", "retry_after"),
    [
        ({"mode": "status", "status": 429, "retry_after": 30}, "retry", 30.0),
        ({"mode": "status", "status": 503}, "retry", None),
        ({"mode": "status", "status": 500}, "unknown", None),
        ({"mode": "error", "error": "channel_not_found"}, "blocked", None),
        ({"mode": "error", "error": "msg_blocks_too_long"}, "rejected", None),
        ({"mode": "error", "error": "fatal_error"}, "unknown", None),
        ({"mode": "error", "error": "a_word_of_tomorrow"}, "unknown", None),
    ],
)
def test_what_slack_says_decides_what_is_next_after_one_call(
    bench: Bench, script: dict[str, Any], result: str, retry_after: float | None
) -> None:
    bench.script(**script)

    outcome = bench.post()

    assert (outcome.result, outcome.retry_after) == (result, retry_after)
    assert bench.calls() == 1


def test_slacks_own_limit_is_a_time_to_come_back(bench: Bench) -> None:
    bench.recorder.slack = SlackApi(lambda: 1_700_000_000.0)  # both posts within the same second
    bench.recorder.slack.limits_enforced = True

    assert bench.post("d-1").result == "delivered"
    throttled = bench.post("d-2")

    assert (throttled.result, throttled.status, throttled.retry_after) == ("retry", 429, 1.0)


def test_a_look_that_fails_waits_and_one_that_is_forbidden_says_what_to_do(bench: Bench) -> None:
    bench.script(mode="status", status=429, retry_after=7)
    with pytest.raises(TransientError, match="nothing is known") as caught:
        bench.find()
    assert caught.value.retry_after == 7

    bench.script(mode="error", error="missing_scope")
    with pytest.raises(TerminalError, match="channels:history"):
        bench.find()


def test_a_slack_nobody_reaches_has_certainly_not_been_told() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        config = SlackConfig(token="xoxb-secret", base_url=f"http://127.0.0.1:{closed.getsockname()[1]}/api/")

        async def post() -> SendOutcome:
            async with SlackDeliveries(config) as slack:
                return await slack.post(CHANNEL, "opened", delivery_id="d-1")

        assert asyncio.run(post()).result == "retry"


@pytest.mark.parametrize("text", ["", "C1", "/1.2", "C1/"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        address_of(text)
