"""The destinations' contract, on the fake and on the client that talks to a recorder over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
from collections.abc import Iterator

import pytest
from contract.recorder_server import serving
from contract.webhook_destination import FIRST, WebhookDestinationContract

from airflow_provider_atlan_meta.clients.webhook import WebhookClient, WebhookConfig
from airflow_provider_atlan_meta.core.sending import SendOutcome
from airflow_provider_atlan_meta.core.webhook_message import SigningSecret, WebhookMessage
from airflow_provider_atlan_meta.testing.destinations import MemoryWebhook
from airflow_provider_atlan_meta.testing.recorder import Recorder
from airflow_provider_atlan_meta.testing.scripts import Script

KEY = b"s" * 32
SECRET = SigningSecret(KEY)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Recorder]]:
    with serving() as running:
        yield running


class FakeBench:
    def __init__(self) -> None:
        self._fake = MemoryWebhook()
        self.answer_next = self._fake.answer_next
        self.lose_next_answer = self._fake.lose_next_answer

    async def send(self, *messages: WebhookMessage) -> list[SendOutcome]:
        return [await self._fake.send(message) for message in messages]

    def applied(self) -> list[WebhookMessage]:
        return self._fake.applied

    def called(self) -> list[WebhookMessage]:
        return self._fake.called


class RecorderBench:
    def __init__(self, url: str, recorder: Recorder) -> None:
        self._config = WebhookConfig(url=f"{url}/webhook/ops", secrets=(SECRET,))
        self._recorder = recorder
        recorder.forget(None)
        recorder.scripts.clear()

    def answer_next(self, status: int, *, retry_after: str | None = None) -> None:
        # the recorder's scripts know seconds only
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        self._recorder.scripts.append(
            Script(service="webhook", mode="status", status=status, retry_after=seconds)
        )

    def lose_next_answer(self) -> None:
        self._recorder.scripts.append(Script(service="webhook", mode="cut"))

    async def send(self, *messages: WebhookMessage) -> list[SendOutcome]:
        async with WebhookClient(self._config) as client:
            return list(await asyncio.gather(*[client.send(message) for message in messages]))

    def applied(self) -> list[WebhookMessage]:
        return [message for message, applied_at in self._calls() if applied_at is not None]

    def called(self) -> list[WebhookMessage]:
        return [message for message, _ in self._calls()]

    def _calls(self) -> Iterator[tuple[WebhookMessage, float | None]]:
        for entry in self._recorder.recorded("webhook"):
            yield (
                WebhookMessage(entry["headers"]["webhook-id"], entry["body"].encode()),
                entry["applied_at"],
            )


class TestFakeWebhook(WebhookDestinationContract):
    @pytest.fixture
    def bench(self) -> FakeBench:
        return FakeBench()


class TestWebhookOverHttp(WebhookDestinationContract):
    @pytest.fixture
    def bench(self, server: tuple[str, Recorder]) -> RecorderBench:
        return RecorderBench(*server)

    def test_what_arrives_is_signed_at_the_time_of_the_try(self, server: tuple[str, Recorder]) -> None:
        url, recorder = server
        recorder.forget(None)
        config = WebhookConfig(url=f"{url}/webhook/ops", secrets=(SECRET,))

        async def send() -> None:
            async with WebhookClient(config, clock=lambda: 1_700_000_000.9) as client:
                await client.send(FIRST)

        asyncio.run(send())

        entry = recorder.recorded("webhook")[0]
        headers = entry["headers"]
        assert (headers["webhook-id"], headers["webhook-timestamp"]) == (FIRST.id, "1700000000")
        signed = f"{FIRST.id}.1700000000.{entry['body']}".encode()
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert headers["content-type"].startswith("application/cloudevents+json")

    def test_a_receiver_that_acts_after_the_timeout_is_unknown_and_acts_once(
        self, server: tuple[str, Recorder]
    ) -> None:
        url, recorder = server
        recorder.forget(None)
        recorder.scripts.append(Script(service="webhook", mode="delay", seconds=0.4))
        config = WebhookConfig(
            url=f"{url}/webhook/ops", secrets=(SECRET,), connect_seconds=0.1, total_seconds=0.1
        )

        async def send() -> tuple[SendOutcome, float | None, float | None]:
            async with WebhookClient(config) as client:
                outcome = await client.send(FIRST)
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

    def test_an_endpoint_nobody_listens_at_was_certainly_not_reached(self) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            config = WebhookConfig(url=f"http://127.0.0.1:{closed.getsockname()[1]}/", secrets=(SECRET,))

            async def send() -> SendOutcome:
                async with WebhookClient(config) as client:
                    return await client.send(FIRST)

            outcome = asyncio.run(send())
        assert outcome.result == "retry"
        assert outcome.detail == "not reached (ClientConnectorError)"
