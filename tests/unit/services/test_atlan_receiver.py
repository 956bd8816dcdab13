"""Every answer to Atlan: its greeting, its events, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.core.metrics import Metrics
from airflow_provider_atlan_meta.services.atlan_receiver import AtlanReceiver
from airflow_provider_atlan_meta.services.intake import Intake
from airflow_provider_atlan_meta.services.tenant_secrets import TenantSecrets
from airflow_provider_atlan_meta.testing.asgi import Answered, Request
from airflow_provider_atlan_meta.testing.publisher import MemoryPublisher

FIXTURES = Path(__file__).parents[2] / "fixtures" / "atlan"
BODY = (FIXTURES / "event_classification_add.json").read_bytes()
GREETING = (FIXTURES / "webhook_validation_body.json").read_bytes()
CONNECTIONS: Mapping[str, Mapping[str, Any]] = {
    "atlan_meta_atlan_tenant_acme": {"webhook_secret": "s3cret", "webhook_secret_previous": "older"},
    "atlan_meta_atlan_tenant_gone": {"webhook_secret": "s3cret", "disabled": True},
    "atlan_meta_montecarlo_tenant_mconly": {"webhook_secret": "s3cret"},
}


class NoMetrics(Metrics):
    def count(self, name: Any, *labels: str) -> None:
        self.last = (name, *labels)

    def observe(self, name: Any, value: float, *labels: str) -> None: ...

    def set(self, name: Any, value: float, *labels: str) -> None: ...


class Endpoint:
    """The receiver on fakes."""

    def __init__(self) -> None:
        self.publisher = MemoryPublisher()
        self.unreadable = False
        intake = Intake(
            publisher=self.publisher,
            topic="t",
            max_in_flight=10,
            metrics=NoMetrics(),
            now_ms=lambda: 1_795_000_000_000,
        )
        self.receiver = AtlanReceiver(intake, TenantSecrets(self._find, now=lambda: 0.0, system="atlan"))

    def _find(self, conn_id: str) -> ConnectionInfo | None:
        if self.unreadable:
            raise ConfigurationError("file is broken")
        extra = CONNECTIONS.get(conn_id)
        return None if extra is None else ConnectionInfo(conn_id=conn_id, extra=extra)

    def answer(
        self, body: bytes = BODY, secret: str | bytes | None = "s3cret", tenant: str = "acme", **headers: str
    ) -> Answered:
        said: dict[str, str | bytes] = {"content-type": "text/plain; charset=utf-8"}
        if secret is not None:
            said["x-atlan-signing-secret"] = secret
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(headers=said, pieces=[body])

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.receiver.receive(tenant, scope, receive, send)

        return asyncio.run(request.send_to(app))

    def stored(self) -> list[Any]:
        return self.publisher.records("t")


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("event_*.json")), ids=lambda file: file.stem)
@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "application/json", ""])
def test_every_operation_is_taken_and_lands_under_its_entity(file: Path, content_type: str) -> None:
    endpoint = Endpoint()
    answer = endpoint.answer(file.read_bytes(), content_type=content_type)
    (record,) = endpoint.stored()
    value = json.loads(record.value)
    assert answer.status == 202
    assert answer.json() == {"accepted": 1, "ids": [value["id"]]}
    assert value["data"] == json.loads(file.read_bytes())
    assert record.key.startswith(b"acme|default%2F")
    assert dict(record.headers)["ce_source"] == b"atlan"


@pytest.mark.parametrize("tenant", ["acme", "nobody", "gone"])
def test_the_greeting_is_answered_without_a_secret_and_keeps_nothing(tenant: str) -> None:
    endpoint = Endpoint()
    answer = endpoint.answer(GREETING, secret=None, tenant=tenant)
    assert (answer.status, answer.json()) == (200, {"accepted": 0, "ids": []})
    assert endpoint.stored() == []


def test_the_secret_that_is_being_rotated_out_is_right_as_well() -> None:
    assert Endpoint().answer(secret="older").status == 202


@pytest.mark.parametrize(
    ("secret", "tenant"),
    [
        (None, "acme"),
        ("", "acme"),
        ("S3cret", "acme"),
        (b"\xff" * 5000, "acme"),
        ("s3cret", "nobody"),
        ("s3cret", "mconly"),
        ("s3cret", "NOT A TENANT"),
        ("wrong", "gone"),
    ],
)
def test_no_secret_a_wrong_one_and_an_unknown_tenant_are_told_the_same(
    secret: str | bytes | None, tenant: str
) -> None:
    endpoint = Endpoint()
    answer = endpoint.answer(secret=secret, tenant=tenant)
    assert answer.status == 401
    assert answer.body == endpoint.answer(secret="wrong").body
    assert endpoint.stored() == []


def test_a_disabled_tenant_is_told_so_only_when_its_secret_is_right() -> None:
    assert Endpoint().answer(tenant="gone").status == 403


def test_without_the_secret_a_body_is_not_read_beyond_a_greetings_size() -> None:
    endpoint = Endpoint()
    answer = endpoint.answer(secret=None, content_length="2000")
    assert answer.status == 401
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"[]", {}, 400),
        (b"\xff", {}, 400),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", {}, 400),
        (json.dumps({"message": {"operationType": "x" * 513}}).encode(), {}, 400),
        (b"x" * ((1 << 20) + 1), {}, 413),
        (BODY, {"content_type": "application/xml"}, 415),
        (BODY, {"content_encoding": "gzip"}, 415),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_cannot_be_an_event_is_refused(body: bytes, headers: dict[str, str], status: int) -> None:
    endpoint = Endpoint()
    assert endpoint.answer(body, **headers).status == status
    assert endpoint.stored() == []


def test_what_kafka_does_not_acknowledge_and_unreadable_secrets_are_503s() -> None:
    endpoint = Endpoint()
    endpoint.publisher.failure = TransientError("away")
    assert endpoint.answer().status == 503
    endpoint = Endpoint()
    endpoint.unreadable = True
    assert endpoint.answer().status == 503


def test_random_bytes_are_never_a_fault_of_ours() -> None:
    rng, endpoint = Random(5), Endpoint()
    for _ in range(100):
        noise = rng.randbytes(rng.randrange(60))
        torn = bytearray(BODY)
        for _ in range(rng.randrange(1, 9)):
            torn[rng.randrange(len(torn))] = rng.randrange(256)
        for body in (noise, bytes(torn)):
            assert endpoint.answer(body, secret=rng.choice(["s3cret", noise])).status in (202, 400, 401)
