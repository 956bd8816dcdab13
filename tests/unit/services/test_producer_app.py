"""Every answer of the producer, from the sender's side."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families

from airflow_provider_atlan_meta.clients.kafka_health import TopicHealth
from airflow_provider_atlan_meta.clients.prometheus import PrometheusMetrics
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError
from airflow_provider_atlan_meta.services import intake
from airflow_provider_atlan_meta.services.intake import Intake
from airflow_provider_atlan_meta.services.producer_app import ProducerApp, Readiness
from airflow_provider_atlan_meta.services.tenant_secrets import TenantSecrets
from airflow_provider_atlan_meta.services.webhook_receiver import WebhookReceiver
from airflow_provider_atlan_meta.testing.asgi import JSON, Answered, Request
from airflow_provider_atlan_meta.testing.publisher import MemoryPublisher

BODY = json.dumps({"type": "open_anomaly_incident", "payload": {"incident_id": "inc-1"}}).encode()
SECRET = "the shared secret"
FIT = TopicHealth(topic="meta.events.v1", partitions=12, replication=3, min_insync=2)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CONNECTIONS: Mapping[str, Mapping[str, Any]] = {
    "atlan_meta_montecarlo_tenant_acme": {"webhook_secret": SECRET},
    "atlan_meta_montecarlo_tenant_gone": {"webhook_secret": SECRET, "disabled": True},
    "atlan_meta_montecarlo_tenant_bare": {},
}


def signature(body: bytes, secret: str = SECRET) -> str:
    message = urlencode(json.loads(body)).encode("utf8")
    return hmac.new(secret.encode(), message, hashlib.sha512).hexdigest()


def signed(body: bytes = BODY, **more: Any) -> Request:
    headers = {**JSON, "x-mcd-signature": signature(body), **more.pop("headers", {})}
    return Request(headers=headers, pieces=more.pop("pieces", [body]), **more)


@dataclass
class Producer:
    """The application on fakes. ``look`` is what the brokers say of the topic."""

    max_in_flight: int = 100
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    look: TopicHealth | Exception = FIT
    unreadable: bool = False

    def __post_init__(self) -> None:
        clock = count(1_795_000_000_000)
        self.metrics = PrometheusMetrics()
        self.readiness = Readiness(self._look)
        self.readiness.has_been_ready = True
        self.intake = Intake(
            publisher=self.publisher,
            topic="meta.events.v1",
            max_in_flight=self.max_in_flight,
            metrics=self.metrics,
            now_ms=lambda: next(clock),
            ready=lambda: self.readiness.has_been_ready,
        )
        montecarlo = WebhookReceiver(self.intake, TenantSecrets(self._find, now=lambda: 0.0))
        self.app = ProducerApp({"montecarlo": montecarlo}, self.intake, self.readiness, self.metrics)

    async def _look(self) -> TopicHealth:
        if isinstance(self.look, Exception):
            raise self.look
        return self.look

    def _find(self, conn_id: str) -> ConnectionInfo | None:
        if self.unreadable:
            raise ConfigurationError("connections_file /secret/place is not a JSON object")
        extra = CONNECTIONS.get(conn_id)
        return None if extra is None else ConnectionInfo(conn_id=conn_id, extra=extra)

    async def answer(self, request: Request) -> Answered:
        return await request.send_to(self.app)

    def stored(self) -> list[Any]:
        return self.publisher.records("meta.events.v1")

    def number(self, name: str, *labels: str) -> float:
        families = text_string_to_metric_families(self.metrics.exposition()[0].decode())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and set(sample.labels.values()) == set(labels)
        )


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def is_problem(answer: Answered, status: int) -> bool:
    document = answer.json()
    return (
        answer.status == status == document["status"]
        and answer.headers["content-type"] == "application/problem+json"
        and int(answer.headers["content-length"]) == len(answer.body)
        and set(document) == {"type", "title", "status", "detail"}
    )


def test_a_signed_webhook_is_answered_with_its_event_id_once_kafka_has_it() -> None:
    async def scenario() -> None:
        producer = Producer()
        producer.publisher.hold()
        task = asyncio.create_task(producer.answer(signed(headers={"traceparent": TRACE})))
        await producer.publisher.holds(1)
        assert not task.done()
        assert producer.intake.in_flight == 1
        producer.publisher.release()
        answer = await task
        (record,) = producer.stored()
        headers = dict(record.headers)
        assert answer.status == 202
        assert answer.json() == {"accepted": 1, "ids": [headers["ce_id"].decode()]}
        assert headers["received_at"] == b"1795000000000"
        assert headers["traceparent"] == TRACE.encode()
        assert record.key == b"acme|inc-1"
        assert json.loads(record.value)["data"] == json.loads(BODY)
        assert producer.intake.in_flight == 0

    run(scenario)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda: Request(headers=JSON, pieces=[BODY]),
        lambda: signed(headers={"x-mcd-signature": ""}),
        lambda: signed(headers={"x-mcd-signature": signature(BODY, "another secret")}),
        lambda: signed(
            headers={"x-mcd-signature": hmac.new(SECRET.encode(), BODY, hashlib.sha512).hexdigest()}
        ),
        lambda: signed(headers={"x-mcd-signature": "ü".encode() * 64}),
        lambda: signed(headers={"x-mcd-signature": b"\xff" * 128}),
        lambda: signed(headers={"x-mcd-signature": "0" * 100_000}),
        lambda: signed(path="/v1/nobody/montecarlo"),
        lambda: signed(path="/v1/NOT A TENANT/montecarlo"),
        lambda: signed(path="/v1//montecarlo"),
        lambda: signed(path="/v1/bare/montecarlo"),
        lambda: signed(path="/v1/gone/montecarlo", headers={"x-mcd-signature": "0" * 128}),
    ],
)
def test_unsigned_wrong_and_unknown_tenant_are_told_the_same(request_of: Callable[[], Request]) -> None:
    async def scenario() -> None:
        producer = Producer()
        answer = await producer.answer(request_of())
        reference = await producer.answer(signed(headers={"x-mcd-signature": "0" * 128}))
        assert is_problem(answer, 401)
        assert (answer.headers, answer.body) == (reference.headers, reference.body)
        assert "www-authenticate" in answer.headers
        assert producer.stored() == []

    run(scenario)


def test_a_disabled_tenant_is_told_so_only_when_its_signature_is_right() -> None:
    async def scenario() -> None:
        assert is_problem(await Producer().answer(signed(path="/v1/gone/montecarlo")), 403)

    run(scenario)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":' + b"9" * 4301 + b"}",
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
@pytest.mark.parametrize("tenant", ["acme", "nobody"])
def test_a_malformed_body_is_a_400_for_known_and_unknown_tenants_alike(body: bytes, tenant: str) -> None:
    async def scenario() -> None:
        producer = Producer()
        headers = {**JSON, "x-mcd-signature": "0" * 128}
        answer = await producer.answer(
            Request(path=f"/v1/{tenant}/montecarlo", headers=headers, pieces=[body])
        )
        assert is_problem(answer, 400)
        assert producer.stored() == []

    run(scenario)


def test_an_incident_id_that_is_too_long_is_a_400_although_it_is_signed() -> None:
    async def scenario() -> None:
        producer = Producer()
        body = json.dumps({"payload": {"incident_id": "x" * 513}}).encode()
        assert is_problem(await producer.answer(signed(body)), 400)
        assert producer.stored() == []

    run(scenario)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/jsonx", "application/xml; a=json"])
def test_anything_but_json_is_a_415(content_type: str) -> None:
    async def scenario() -> None:
        assert is_problem(await Producer().answer(signed(headers={"content-type": content_type})), 415)

    run(scenario)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json; charset=utf-8"},
        {"content-type": "Application/JSON"},
        {"content-encoding": "identity"},
    ],
)
def test_json_with_parameters_is_json(headers: dict[str, str]) -> None:
    async def scenario() -> None:
        assert (await Producer().answer(signed(headers=headers))).status == 202

    run(scenario)


def test_a_compressed_body_is_a_415() -> None:
    async def scenario() -> None:
        assert is_problem(await Producer().answer(signed(headers={"content-encoding": "gzip"})), 415)

    run(scenario)


def test_a_body_in_many_pieces_is_one_body() -> None:
    async def scenario() -> None:
        producer = Producer()
        assert (await producer.answer(signed(pieces=[BODY[:10], b"", BODY[10:20], BODY[20:]]))).status == 202
        assert json.loads(producer.stored()[0].value)["data"] == json.loads(BODY)

    run(scenario)


def test_a_body_above_1_mib_is_a_413_before_it_is_read_to_the_end() -> None:
    async def scenario() -> None:
        producer = Producer()
        announced = signed(headers={"content-length": str((1 << 20) + 1)})
        endless = signed(pieces=[b"x" * 65536] * 1000)
        at_once = signed(pieces=[b"x" * ((1 << 20) + 1)])
        for request in (announced, endless, at_once):
            answer = await producer.answer(request)
            assert is_problem(answer, 413)
            assert answer.headers["connection"] == "close"
        assert announced.taken == 0
        assert endless.taken == 17

    run(scenario)


def test_a_body_of_exactly_1_mib_is_accepted() -> None:
    async def scenario() -> None:
        body = b'{"a":"' + b"x" * ((1 << 20) - 8) + b'"}'
        assert len(body) == 1 << 20
        assert (
            await Producer().answer(signed(body, headers={"content-length": str(len(body))}))
        ).status == 202

    run(scenario)


def test_a_body_that_does_not_arrive_is_a_408(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(intake, "_BODY_SECONDS", 0.01)
        answer = await Producer().answer(signed(pieces=[BODY[:5]], stalls=True))
        assert is_problem(answer, 408)

    run(scenario)


def test_a_sender_that_hangs_up_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        producer = Producer()
        await producer.answer(signed(pieces=[BODY[:5]], leaves=True))
        assert producer.stored() == []
        assert producer.intake.in_flight == 0

    run(scenario)


def test_above_the_limit_in_flight_senders_are_told_429_and_when_to_come_back() -> None:
    async def scenario() -> None:
        producer = Producer(max_in_flight=2)
        producer.publisher.hold()
        held = [asyncio.create_task(producer.answer(signed())) for _ in range(2)]
        await producer.publisher.holds(2)
        answer = await producer.answer(signed())
        assert is_problem(answer, 429)
        assert answer.headers["retry-after"] == "1"
        producer.publisher.release()
        assert [answered.status for answered in await asyncio.gather(*held)] == [202, 202]
        assert (await producer.answer(signed())).status == 202

    run(scenario)


def test_bodies_being_read_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(intake, "_MAX_READING_BYTES", 100)
        producer = Producer()
        answer = await producer.answer(signed(pieces=[b"x" * 60, b"x" * 60, b"x" * 60]))
        assert is_problem(answer, 429)
        assert (await producer.answer(signed())).status == 202

    run(scenario)


@pytest.mark.parametrize("failure", [TransientError("away"), TerminalError("no such topic")])
def test_what_kafka_does_not_acknowledge_is_a_503_and_accepted_again_when_it_is_back(
    failure: TransientError,
) -> None:
    async def scenario() -> None:
        producer = Producer()
        producer.publisher.failure = failure
        answer = await producer.answer(signed())
        assert is_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert producer.number("atlan_meta_producer_publish_failures_total", type(failure).__name__) == 1
        producer.publisher.failure = None
        assert (await producer.answer(signed())).status == 202

    run(scenario)


def test_a_full_house_while_kafka_is_away_is_a_503_and_not_a_429() -> None:
    async def scenario() -> None:
        producer = Producer(max_in_flight=1)
        producer.publisher.failure = TransientError("away")
        await producer.answer(signed())
        producer.publisher.failure = None
        producer.publisher.hold()
        held = asyncio.create_task(producer.answer(signed()))
        await producer.publisher.holds(1)
        assert is_problem(await producer.answer(signed()), 503)
        producer.publisher.release()
        assert (await held).status == 202

    run(scenario)


def test_a_fault_of_our_own_is_a_500_that_says_nothing_of_it() -> None:
    async def scenario() -> None:
        producer = Producer()
        producer.publisher.publish = None  # type: ignore[assignment, method-assign]
        answer = await producer.answer(signed())
        assert is_problem(answer, 500)
        assert b"NoneType" not in answer.body
        assert producer.intake.in_flight == 0

    run(scenario)


def test_before_the_topic_was_seen_nothing_is_taken() -> None:
    async def scenario() -> None:
        producer = Producer(look=TransientError("no broker"))
        producer.readiness.has_been_ready = False
        assert is_problem(await producer.answer(signed()), 503)
        assert producer.stored() == []

    run(scenario)


def test_while_secrets_cannot_be_read_senders_are_told_503_and_nothing_of_the_reason() -> None:
    async def scenario() -> None:
        producer = Producer(unreadable=True)
        answer = await producer.answer(signed())
        assert is_problem(answer, 503)
        assert b"secret/place" not in answer.body
        producer.unreadable = False
        assert (await producer.answer(signed())).status == 202

    run(scenario)


def test_a_draining_producer_finishes_what_it_holds_and_takes_nothing_new() -> None:
    async def scenario() -> None:
        producer = Producer()
        producer.publisher.hold()
        held = asyncio.create_task(producer.answer(signed()))
        await producer.publisher.holds(1)
        producer.intake.draining = True
        refused = await producer.answer(signed())
        assert is_problem(refused, 503)
        assert refused.headers["connection"] == "close"
        assert (await producer.answer(Request("GET", "/readyz"))).status == 503
        assert (await producer.answer(Request("GET", "/healthz"))).status == 200
        producer.publisher.release()
        assert (await held).status == 202
        assert len(producer.stored()) == 1

    run(scenario)


def test_readyz_names_the_topic_and_what_is_below_production() -> None:
    async def scenario() -> None:
        ready = (await Producer().answer(Request("GET", "/readyz"))).json()
        assert (ready["status"], ready["partitions"], ready["warnings"]) == ("ready", 12, [])
        small = TopicHealth(topic="meta.events.v1", partitions=12, replication=1, min_insync=1)
        answer = await Producer(look=small).answer(Request("GET", "/readyz"))
        assert answer.status == 200
        assert len(answer.json()["warnings"]) == 2

    run(scenario)


def test_readyz_is_a_503_with_the_reason_while_the_topic_takes_no_records() -> None:
    async def scenario() -> None:
        answer = await Producer(look=TerminalError("topic is missing; run x")).answer(
            Request("GET", "/readyz")
        )
        assert answer.status == 503
        assert answer.json() == {"status": "not ready", "reason": "topic is missing; run x"}

    run(scenario)


def test_metrics_count_answers_by_status_and_events_by_tenant() -> None:
    async def scenario() -> None:
        producer = Producer()
        await producer.answer(signed())
        await producer.answer(signed())
        await producer.answer(Request(headers=JSON, pieces=[BODY]))
        answer = await producer.answer(Request("GET", "/metrics"))
        assert answer.status == 200
        assert producer.number("atlan_meta_producer_requests_total", "202") == 2
        assert producer.number("atlan_meta_producer_requests_total", "401") == 1
        assert producer.number("atlan_meta_producer_events_total", "acme", "montecarlo") == 2
        assert producer.number("atlan_meta_producer_request_seconds_count") == 3

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/v1/acme/other", 404),
        ("POST", "/v1/a/b/montecarlo", 404),
        ("GET", "/v1/acme/montecarlo", 405),
        ("PUT", "/v1/acme/montecarlo", 405),
        ("POST", "/healthz", 405),
    ],
)
def test_other_paths_and_methods_are_problems_too(method: str, path: str, status: int) -> None:
    async def scenario() -> None:
        answer = await Producer().answer(Request(method, path))
        assert is_problem(answer, status)
        assert ("allow" in answer.headers) is (status == 405)

    run(scenario)


def test_at_debug_one_line_per_event_carries_the_keys_of_its_walk_and_nothing_of_its_body(
    service_logs: Callable[[str], io.StringIO],
) -> None:
    async def scenario() -> None:
        await Producer().answer(signed(headers={"traceparent": TRACE}))

    stream = service_logs("DEBUG")
    run(scenario)
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines() if "received" in line]
    assert line["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (line["tenant"], line["stage"], line["outcome"]) == ("acme", "producer", "accepted")
    assert line["event_key"].startswith(f"{1_795_000_000_000:012x}")
    assert "open_anomaly_incident" not in stream.getvalue()
    info = service_logs("INFO")
    run(scenario)
    assert info.getvalue() == ""
