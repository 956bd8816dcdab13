"""The destinations' contract, on the fake and on those that talk to a recorder over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from contract.destination import (
    DestinationContract,
    LookupDestinationContract,
    change,
    outgoing,
    sent,
)
from contract.http_bench import HttpBench
from contract.recorder_server import serving

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.lanes import ClaimUse
from airflow_provider_atlan_meta.core.routing import DestinationSpec
from airflow_provider_atlan_meta.core.sending import Destination, SendOutcome
from airflow_provider_atlan_meta.services.destinations import open_destination
from airflow_provider_atlan_meta.testing.clock import ManualClock
from airflow_provider_atlan_meta.testing.destinations import MemoryDestination
from airflow_provider_atlan_meta.testing.recorder import Recorder
from airflow_provider_atlan_meta.testing.scripts import Script

T = TypeVar("T")
KEY = b"s" * 32
CHANNEL = "C0123456789"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Recorder]]:
    with serving() as running:
        yield running


# ---- the fake --------------------------------------------------------------------------------------------------------


class MemoryBench:
    second = "thread"

    def __init__(self, *parts: tuple[str, ClaimUse]) -> None:
        self.options: dict[str, Any] = {}
        self._clock = ManualClock(1000.0)
        self._fake = MemoryDestination(dict(parts), clock=self._clock)
        self._lagging = 0.0
        self.answer_next = self._fake.answer_next
        self.lose_next_answer = self._fake.lose_next_answer
        self.pass_time = self._clock.advance

    def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        async def inside() -> T:
            async with self._fake:
                return await work(self._fake)

        self._fake.lookup_lag, self._lagging = self._lagging, 0.0
        return asyncio.run(inside())

    def applied(self) -> list[int]:
        return [one.change.revision for one in self._fake.applied]

    def calls(self) -> int:
        return len(self._fake.called)

    def delay_next(self, seconds: float) -> None:
        self._fake.lose_next_answer(effect_after=seconds)

    def lag_next_lookup(self, seconds: float) -> None:
        self._lagging = seconds

    def refuse_next_lookup(self, *, is_allowed: bool) -> None:
        self._fake.fail_next_lookup(TransientError("busy") if is_allowed else TerminalError("no scope"))

    def shown(self) -> dict[str, int]:
        return {one.external_id: one.shows.change.revision for one in self._fake.made}


class TestMemoryDestination(DestinationContract):
    @pytest.fixture
    def bench(self) -> MemoryBench:
        return MemoryBench(("", ClaimUse.NEVER))


class TestMemoryDestinationClaimedFirst(LookupDestinationContract):
    @pytest.fixture
    def bench(self) -> MemoryBench:
        return MemoryBench(("", ClaimUse.FIRST), ("thread", ClaimUse.EVERY))


# ---- over HTTP -------------------------------------------------------------------------------------------------------


class WebhookBench(HttpBench):
    service = "webhook"

    def open(self) -> Destination:
        info = ConnectionInfo(
            conn_id="hooks", conn_type="http", host=self.url, password=SECRET, extra={"path": "/webhook/ops"}
        )
        return open_destination(DestinationSpec(type="webhook", conn_id="hooks"), info)

    def applied(self) -> list[int]:
        entries = [entry for entry in self.entries() if entry["applied_at"] is not None]
        return [json.loads(entry["body"])["data"]["revision"] for entry in entries]


class TestWebhook(DestinationContract):
    @pytest.fixture
    def bench(self, server: tuple[str, Recorder]) -> WebhookBench:
        return WebhookBench(*server)

    def test_what_arrives_is_signed_and_carries_the_delivery(self, bench: WebhookBench) -> None:
        one = outgoing(bench)
        sent(bench, one)

        (entry,) = bench.entries()
        headers = entry["headers"]
        signed = f"{one.delivery_id}.{headers['webhook-timestamp']}.{entry['body']}".encode()
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-id"] == one.delivery_id
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert headers["content-type"].startswith("application/cloudevents+json")

    def test_every_try_sends_the_same_bytes_under_the_same_id(self, bench: WebhookBench) -> None:
        bench.lose_next_answer()
        outcomes = [sent(bench, outgoing(bench))[0].result for _ in range(2)]

        first, second = bench.entries()
        assert outcomes == ["unknown", "delivered"]
        assert first["body"] == second["body"]
        assert first["headers"]["webhook-id"] == second["headers"]["webhook-id"]

    def test_the_source_is_the_subscriptions(self, bench: WebhookBench) -> None:
        bench.options = {"source": "/atlan-meta/production"}
        sent(bench, outgoing(bench))

        assert json.loads(bench.entries()[0]["body"])["source"] == "/atlan-meta/production"


class SlackBench(HttpBench):
    service = "slack"
    second = "thread"

    def __init__(self, url: str, recorder: Recorder) -> None:
        super().__init__(url, recorder)
        self.options = {"channel": CHANNEL}

    def open(self) -> Destination:
        info = ConnectionInfo(
            conn_id="slack",
            password="xoxb-secret",
            extra={"base_url": f"{self.url}/slack/api/", "timeout": "1"},
        )
        return open_destination(DestinationSpec(type="slack", conn_id="slack", options=self.options), info)

    def entries(self) -> list[dict[str, Any]]:
        return [entry for entry in super().entries() if "/chat." in entry["path"]]

    def applied(self) -> list[int]:
        return [revision_of(one["body"]) for one in self.entries() if one["applied_at"] is not None]

    def shown(self) -> dict[str, int]:
        there = self.recorder.slack._messages.items()
        return {f"{channel}/{ts}": revision_of(message) for (channel, ts), message in there}

    def delay_next(self, seconds: float) -> None:
        self.script(mode="delay", seconds=seconds)

    def pass_time(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds + 10
        while any(entry["applied_at"] is None for entry in self.entries()):
            assert time.monotonic() < deadline

    def lag_next_lookup(self, seconds: float) -> None:
        self.script(mode="lag", seconds=seconds)

    def refuse_next_lookup(self, *, is_allowed: bool) -> None:
        if is_allowed:
            self.script(mode="status", path="conversations.history", status=429, retry_after=7)
        else:
            self.script(mode="error", path="conversations.history", error="missing_scope")


def revision_of(message: dict[str, Any]) -> int:
    """As people read it below every message."""
    found = re.search(r"revision (\d+)", message["blocks"][-1]["elements"][0]["text"])
    assert found
    return int(found[1])


class TestSlack(LookupDestinationContract):
    @pytest.fixture
    def bench(self, server: tuple[str, Recorder]) -> SlackBench:
        return SlackBench(*server)

    def test_posts_wait_for_each_other_per_channel_and_updates_for_all_of_them(
        self, bench: SlackBench
    ) -> None:
        cases = {
            "post C0123456789": outgoing(bench),
            "update": outgoing(bench, external_id="C0000000001/1.2"),
            "post C0000000001": outgoing(bench, part="thread", external_id="C0000000001/1.2"),
        }

        async def limits(destination: Destination) -> list[str]:
            return [destination.limit_of(one) for one in cases.values()]

        assert bench.run(limits) == list(cases)

    def test_answers_that_wait_for_their_message_hold_up_nothing_else(self, bench: SlackBench) -> None:
        async def limits(destination: Destination) -> set[str]:
            return {destination.limit_of(one) for one in (outgoing(bench), outgoing(bench, part="thread"))}

        assert len(bench.run(limits)) == 2
        assert sent(bench, outgoing(bench, part="thread"))[0].detail == "waits for the message"

    def test_slack_is_asked_to_look_for_no_names_in_posts_and_updates(self, bench: SlackBench) -> None:
        made = sent(bench, outgoing(bench))[0].external_id
        sent(bench, outgoing(bench, change(2), external_id=made))

        for entry in bench.entries():
            assert (entry["body"]["parse"], entry["body"]["link_names"]) == ("none", False)

    def test_a_deleted_message_is_said_to_be_deleted(self, bench: SlackBench) -> None:
        (outcome,) = sent(bench, outgoing(bench, external_id="C0000000001/1.2"))

        assert outcome.result == "rejected"
        assert (
            outcome.detail
            == "message_not_found: somebody deleted the message; nothing more is shown of this row"
        )


def nobody_at(kind: str, **fields: Any) -> SendOutcome:
    """What comes of a call to a port nobody listens at."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        named = {name: value.replace("ADDRESS", address) for name, value in fields.items() if name != "extra"}
        extra = {name: value.replace("ADDRESS", address) for name, value in fields.get("extra", {}).items()}
        info = ConnectionInfo(conn_id="closed", extra=extra, **named)

        one = outgoing(SimpleNamespace(options={"channel": CHANNEL}))

        async def send() -> SendOutcome:
            async with open_destination(DestinationSpec(type=kind, conn_id="closed"), info) as destination:
                return await destination.send(one)

        return asyncio.run(send())


def test_an_endpoint_nobody_listens_at_was_certainly_not_reached() -> None:
    hooks = nobody_at("webhook", host="ADDRESS", password=SECRET)
    slack = nobody_at("slack", password="xoxb-secret", extra={"base_url": "ADDRESS/api/"})

    assert (hooks.result, slack.result) == ("retry", "retry")
    assert hooks.detail == "not reached (ConnectionRefusedError)"
    assert slack.detail == "not reached (ClientConnectorError)"


def test_a_receiver_that_acts_after_the_timeout_is_unknown_and_acts_once(
    server: tuple[str, Recorder],
) -> None:
    from airflow_provider_atlan_meta.clients.webhook import WebhookClient, WebhookConfig
    from airflow_provider_atlan_meta.core.webhook_message import SigningSecret, WebhookMessage

    url, recorder = server
    recorder.forget(None)
    recorder.scripts.append(Script(service="webhook", mode="delay", seconds=0.4))
    config = WebhookConfig(
        url=f"{url}/webhook/ops", secrets=(SigningSecret(KEY),), connect_seconds=0.1, total_seconds=0.1
    )

    async def send() -> tuple[SendOutcome, float | None, float | None]:
        async with WebhookClient(config) as client:
            outcome = await client.send(WebhookMessage("1", b"{}"))
        entry = recorder.recorded("webhook")[0]
        before = entry["applied_at"]
        async with asyncio.timeout(10):
            while entry["applied_at"] is None:  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.01)
        return outcome, before, entry["applied_at"]

    outcome, before, after = asyncio.run(send())
    assert (outcome.result, before) == ("unknown", None)
    assert after is not None
    assert len(recorder.recorded("webhook")) == 1
