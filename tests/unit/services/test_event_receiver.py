"""Every answer to a sender of CloudEvents: who is let in, what is taken, and what is told."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import httpx
import pytest

from airflow_provider_atlan_meta.clients.oauth2 import OAuth2Config, TokenVerifier
from airflow_provider_atlan_meta.clients.prometheus import PrometheusMetrics
from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.services.bearer_tenants import BearerTenants
from airflow_provider_atlan_meta.services.event_receiver import EventReceiver
from airflow_provider_atlan_meta.services.intake import Intake
from airflow_provider_atlan_meta.services.tenant_secrets import TenantSecrets
from airflow_provider_atlan_meta.testing.asgi import Answered, Request
from airflow_provider_atlan_meta.testing.publisher import MemoryPublisher
from airflow_provider_atlan_meta.testing.tokens import AUDIENCE, ISSUER, TokenIssuer

EVENT = {
    "specversion": "1.0",
    "id": "A-1",
    "source": "/dbt/prod",
    "type": "com.example.run",
    "data": {"n": 1},
}
OAUTH2: Mapping[str, Any] = {"audience": AUDIENCE, "jwks_uri": "https://sso.example.com/certs"}
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


class Endpoint:
    """The receiver on fakes."""

    def __init__(self) -> None:
        self.publisher = MemoryPublisher()
        self.metrics = PrometheusMetrics()
        self.issuer = TokenIssuer()
        self.now = 0.0
        self.unreadable = self.away = False
        self.connections = {
            "atlan_meta_oauth2_default": ConnectionInfo(conn_id="o", host=ISSUER, extra=OAUTH2),
            "atlan_meta_montecarlo_tenant_gone": ConnectionInfo(
                conn_id="g", extra={"webhook_secret": "s", "disabled": True}
            ),
        }
        self.intake = Intake(
            publisher=self.publisher,
            topic="t",
            max_in_flight=10,
            metrics=self.metrics,
            now_ms=lambda: 1_795_000_000_000,
        )
        bearers = BearerTenants(self._find, now=lambda: self.now, verifier=self._verifier)
        tenants = TenantSecrets(self._find, now=lambda: self.now)
        self.receiver = EventReceiver(self.intake, bearers, tenants)

    def _find(self, conn_id: str) -> ConnectionInfo | None:
        if self.unreadable:
            raise ConfigurationError("file is broken")
        return self.connections.get(conn_id)

    def _verifier(self, config: OAuth2Config) -> TokenVerifier:
        def keys(request: httpx.Request) -> httpx.Response:
            del request
            return httpx.Response(503) if self.away else httpx.Response(200, content=self.issuer.jwks())

        return TokenVerifier(config, now=lambda: self.now, transport=httpx.MockTransport(keys))

    def answer(
        self,
        body: object = EVENT,
        *,
        tenant: str = "acme",
        token: str | bytes | None = "",
        pieces: list[bytes] | None = None,
        **headers: str | bytes,
    ) -> Answered:
        said: dict[str, str | bytes] = {"content-type": STRUCTURED}
        if token is not None:
            valid = self.issuer.token() if token == "" else token
            said["authorization"] = valid if isinstance(valid, bytes) else f"Bearer {valid}"
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.request = Request(headers=said, pieces=pieces or [raw])

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.receiver.receive(tenant, scope, receive, send)

        return asyncio.run(self.request.send_to(app))

    def stored(self) -> list[Any]:
        return self.publisher.records("t")


def is_problem(answer: Answered, status: int) -> bool:
    return (
        answer.status == status == answer.json()["status"]
        and answer.headers["content-type"] == "application/problem+json"
    )


# ---- what is taken -------------------------------------------------------------------------------------------------


def test_a_structured_event_is_answered_with_its_event_id_once_kafka_has_it() -> None:
    endpoint = Endpoint()
    answer = endpoint.answer({**EVENT, "subject": "orders", "time": "2026-11-25T09:00:00Z", "ext": "x"})
    (record,) = endpoint.stored()
    value = json.loads(record.value)
    expected = str(identity.event_id("acme", "/dbt/prod", "A-1"))
    assert (answer.status, answer.json()) == (202, {"accepted": 1, "ids": [expected]})
    assert (value["id"], value["source"], value["subject"]) == (expected, "/dbt/prod", "orders")
    assert (value["tenant"], value["time"]) == ("acme", "2026-11-25T09:00:00Z")
    assert value["data"] == {**EVENT, "subject": "orders", "time": "2026-11-25T09:00:00Z", "ext": "x"}
    assert record.key == b"acme|orders"
    assert dict(record.headers)["received_at"] == b"1795000000000"


def test_a_binary_event_is_the_same_event() -> None:
    endpoint = Endpoint()
    attributes = {f"ce_{name}": str(value) for name, value in EVENT.items() if name != "data"}
    answer = endpoint.answer(b'{"n": 1}', content_type="application/json", **attributes)
    assert answer.json() == endpoint.answer().json()
    binary, structured = [json.loads(record.value)["data"] for record in endpoint.stored()]
    assert binary == {**structured, "datacontenttype": "application/json"}


def test_a_batch_is_taken_whole_and_its_ids_come_in_its_order() -> None:
    endpoint = Endpoint()
    answer = endpoint.answer([{**EVENT, "id": str(n)} for n in range(25)], content_type=BATCH)
    ids = [str(identity.event_id("acme", "/dbt/prod", str(n))) for n in range(25)]
    assert (answer.status, answer.json()) == (202, {"accepted": 25, "ids": ids})
    assert {dict(record.headers)["ce_id"].decode() for record in endpoint.stored()} == set(ids)


def test_an_event_twice_in_a_batch_is_two_records_with_keys_of_their_own() -> None:
    endpoint = Endpoint()
    assert endpoint.answer([EVENT, EVENT], content_type=BATCH).json()["accepted"] == 2
    assert len({dict(record.headers)["received_at"] for record in endpoint.stored()}) == 2


def test_an_empty_batch_is_accepted_and_keeps_nothing() -> None:
    endpoint = Endpoint()
    answer = endpoint.answer([], content_type=BATCH)
    assert (answer.status, answer.json()) == (202, {"accepted": 0, "ids": []})
    assert endpoint.stored() == []


def test_a_batch_is_a_503_when_kafka_has_only_a_part_of_it() -> None:
    endpoint = Endpoint()
    endpoint.publisher.failure = TransientError("2 of 3 acknowledged")
    answer = endpoint.answer([EVENT] * 3, content_type=BATCH)
    assert is_problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    assert endpoint.intake.in_flight == 0


def test_events_are_counted_by_tenant_and_never_by_a_senders_word() -> None:
    endpoint = Endpoint()
    endpoint.answer([{**EVENT, "source": f"/{n}"} for n in range(3)], content_type=BATCH)
    text = endpoint.metrics.exposition()[0].decode()
    assert 'atlan_meta_producer_events_total{source="cloudevents",tenant="acme"} 3.0' in text


# ---- who is let in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", [None, b"", b"Bearer", b"Bearer ", b"Basic YTpi", b"bearer x.y.z", b"Bearer \xff", b"Bearer a b"]
)
def test_without_a_valid_token_nobody_is_let_in(token: bytes | None) -> None:
    endpoint = Endpoint()
    answer = endpoint.answer(token=token)
    assert is_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert (endpoint.stored(), endpoint.request.taken) == ([], 0)


def test_a_valid_token_of_another_tenant_is_a_403_whatever_the_path_says() -> None:
    endpoint = Endpoint()
    for named in ("globex", "nobody", "NOT A TENANT", ""):
        assert is_problem(endpoint.answer(tenant=named), 403)
    assert endpoint.stored() == []


def test_a_disabled_tenant_is_a_403() -> None:
    endpoint = Endpoint()
    answer = endpoint.answer(tenant="gone", token=endpoint.issuer.token("gone"))
    assert is_problem(answer, 403)


def test_with_nothing_configured_every_token_is_a_401_and_the_log_says_why(
    service_logs: Callable[[str], io.StringIO],
) -> None:
    endpoint = Endpoint()
    del endpoint.connections["atlan_meta_oauth2_default"]
    stream = service_logs("INFO")
    for _ in range(3):
        assert is_problem(endpoint.answer(), 401)
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert line["conn_id"] == "atlan_meta_oauth2_default"
    assert line["error"] == "there is no such connection"


def test_an_incomplete_connection_lets_nobody_in_until_it_is_whole() -> None:
    endpoint = Endpoint()
    whole = endpoint.connections["atlan_meta_oauth2_default"]
    endpoint.connections["atlan_meta_oauth2_default"] = ConnectionInfo(conn_id="o", host=ISSUER)
    assert is_problem(endpoint.answer(), 401)
    endpoint.connections["atlan_meta_oauth2_default"] = whole
    endpoint.now = 60.0
    assert endpoint.answer().status == 202


def test_why_tokens_are_refused_is_told_once_in_a_while_and_never_with_the_token(
    service_logs: Callable[[str], io.StringIO],
) -> None:
    endpoint = Endpoint()
    stream = service_logs("INFO")
    token = endpoint.issuer.token(aud="account")
    for _ in range(5):
        assert is_problem(endpoint.answer(token=token), 401)
    assert stream.getvalue().count("token refused") == 1
    assert token not in stream.getvalue()


def test_while_keys_or_connections_cannot_be_had_senders_are_told_503() -> None:
    endpoint = Endpoint()
    endpoint.away = True
    assert is_problem(endpoint.answer(), 503)
    endpoint = Endpoint()
    endpoint.unreadable = True
    assert is_problem(endpoint.answer(), 503)
    endpoint.unreadable = False
    assert endpoint.answer().status == 202
    endpoint.unreadable, endpoint.now = True, 30.0
    assert endpoint.answer().status == 202


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_what_breaks_the_specification_is_a_400_that_says_what() -> None:
    endpoint = Endpoint()
    answer = endpoint.answer([EVENT, {**EVENT, "time": "never"}], content_type=BATCH)
    assert is_problem(answer, 400)
    assert answer.json()["detail"] == "time is not RFC 3339: event 2 of the batch"
    for source in ("montecarlo", "atlan", "atlas"):
        assert is_problem(endpoint.answer({**EVENT, "source": source}), 400)
    assert endpoint.stored() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "application/json"},
        {"content_type": "application/cloudevents+xml"},
        {"content_type": "application/cloudevents+json; charset=utf-16"},
        {"content_type": ""},
        {"content_encoding": "gzip"},
    ],
)
def test_what_is_no_cloudevent_at_all_is_a_415(headers: dict[str, str]) -> None:
    assert is_problem(Endpoint().answer(**headers), 415)


def test_a_body_above_1_mib_is_a_413() -> None:
    endpoint = Endpoint()
    assert is_problem(endpoint.answer(content_length=str((1 << 20) + 1)), 413)
    assert endpoint.request.taken == 0
    assert is_problem(endpoint.answer(pieces=[b"x" * (1 << 19)] * 9), 413)


def test_above_the_limit_in_flight_senders_are_told_429() -> None:
    endpoint = Endpoint()
    endpoint.intake.in_flight = 10
    assert is_problem(endpoint.answer(), 429)


def test_random_requests_are_never_a_fault_of_ours() -> None:
    rng, endpoint = Random(7), Endpoint()
    names = [*EVENT, "time", "subject", "ext", "dataschema", "data_base64"]
    for _ in range(150):
        noise = rng.randbytes(rng.randrange(40))
        torn = bytearray(json.dumps([EVENT]).encode())
        torn[rng.randrange(len(torn))] = rng.randrange(256)
        mangled = {**EVENT, rng.choice(names): rng.choice([None, noise.decode("latin-1"), 5, [], {}, 1.5])}
        for body, kind in (
            (noise, BATCH),
            (bytes(torn), BATCH),
            (mangled, STRUCTURED),
            (noise, "text/plain"),
        ):
            answer = endpoint.answer(body, content_type=kind, **{f"ce_{rng.choice(names)}": noise})
            assert answer.status in (202, 400), answer.body
