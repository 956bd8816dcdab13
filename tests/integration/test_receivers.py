"""CloudEvents and Atlan's webhooks through the real producer, on Kafka and as rows in PostgreSQL."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.rows import EventRow, LogRecord
from airflow_provider_atlan_meta.sandbox.environment import connection_variables
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation, Topics
from airflow_provider_atlan_meta.services.ingest import IngestRequest, LeaseOwner, ingest_once
from airflow_provider_atlan_meta.testing.tokens import AUDIENCE, ISSUER, TokenIssuer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

FIXTURES = Path(__file__).parents[1] / "fixtures" / "atlan"
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
EVENT = {
    "specversion": "1.0",
    "id": "A-1",
    "source": "/dbt/prod",
    "type": "com.example.run",
    "data": {"n": 1.50},
}


@dataclass
class Published:
    """An issuer's keys over HTTP."""

    issuer: TokenIssuer = field(default_factory=TokenIssuer)

    def __post_init__(self) -> None:
        published = self

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = published.issuer.jwks()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/certs"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def keys() -> Iterator[Published]:
    made = Published()
    yield made
    made.close()


class Endpoints:
    """A running producer, asked over HTTP."""

    def __init__(self, url: str, keys: Published) -> None:
        self._url = url
        self._keys = keys

    def events(
        self, body: object, kind: str = STRUCTURED, tenant: str = "acme", **headers: str
    ) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        said = {
            "content-type": kind,
            "authorization": f"Bearer {self._keys.issuer.token()}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return self._post(f"{tenant}/events", raw, said)

    def atlan(self, body: bytes, secret: str | None) -> httpx.Response:
        said = {"content-type": "text/plain; charset=utf-8"}
        if secret is not None:
            said["x-atlan-signing-secret"] = secret
        return self._post("acme/atlan", body, said)

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return httpx.post(
            f"{self._url}/v1/{path}", content=body, headers=headers, timeout=40, trust_env=False
        )


def rows_on(topics: Topics) -> dict[str, list[EventRow]]:
    """Every record on the topic as ingest sees it, by event id."""
    config = KafkaConfig.from_connection(topics.kafka)
    consumer = Consumer(
        {
            **config.librdkafka(),
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    found: dict[str, list[EventRow]] = {}
    try:
        waiting = set(consumer.list_topics(topics.events, timeout=10).topics[topics.events].partitions)
        consumer.assign([TopicPartition(topics.events, number, 0) for number in waiting])
        while waiting:
            message = consumer.poll(20)
            assert message is not None, f"no end of partitions {waiting}"
            if message.error() is not None:
                waiting.discard(message.partition())
                continue
            headers = tuple(message.headers())
            record = LogRecord(message.partition(), message.offset(), message.key(), message.value(), headers)
            found.setdefault(dict(headers)["ce_id"].decode(), []).append(enrich(record))
    finally:
        consumer.close()
    return found


def test_what_both_endpoints_accept_is_on_kafka_and_nothing_else_is(
    service: Callable[..., Any], isolation: Isolation, database: Database, keys: Published
) -> None:
    topics = isolation.new_topics()
    connections = {
        "atlan_meta_oauth2_default": {
            "conn_type": "atlan_meta_oauth2",
            "host": ISSUER,
            "extra": {"audience": AUDIENCE, "jwks_uri": keys.url},
        },
        "atlan_meta_atlan_tenant_acme": {
            "conn_type": "atlan_meta_atlas",
            "extra": {"webhook_secret": "s3cret"},
        },
    }
    producer = service("producer", {**topics.environ, **connection_variables(connections)})
    producer.start()
    ask = Endpoints(producer.url, keys)
    atlan = sorted(FIXTURES.glob("event_*.json"))
    binary = {f"ce_{name}": str(value) for name, value in EVENT.items() if name != "data"}

    accepted = [
        ask.events({**EVENT, "subject": "orders"}),
        ask.events(b'{"n": 1.50}', "application/json", **{**binary, "ce_id": "A%202"}),
        ask.events([{**EVENT, "id": str(n)} for n in range(300)], BATCH),
        ask.events([], BATCH),
        *[ask.atlan(file.read_bytes(), "s3cret") for file in atlan],
    ]
    refused = [
        ask.events(EVENT, tenant="globex"),
        ask.events(EVENT, authorization="Bearer x.y.z"),
        ask.events({**EVENT, "source": "montecarlo"}),
        ask.events([EVENT, {**EVENT, "id": ""}], BATCH),
        ask.events(EVENT, "application/json"),
        ask.events(b"x" * ((1 << 20) + 1)),
        ask.atlan(atlan[0].read_bytes(), "wrong"),
        ask.atlan(b"[]", "s3cret"),
    ]
    greeted = ask.atlan((FIXTURES / "webhook_validation_body.json").read_bytes(), None)

    assert [answer.status_code for answer in accepted] == [202] * len(accepted), producer.tail()
    assert [answer.status_code for answer in refused] == [403, 401, 400, 400, 415, 413, 401, 400]
    assert greeted.status_code == 200
    ids = [event_id for answer in accepted for event_id in answer.json()["ids"]]
    assert len(ids) == sum(answer.json()["accepted"] for answer in accepted) == 302 + len(atlan)
    rows = rows_on(topics)
    assert sorted(rows) == sorted(ids)
    assert all(len(copies) == 1 for copies in rows.values())
    (structured,), (encoded,) = (
        rows[str(identity.event_id("acme", "/dbt/prod", said))] for said in ("A-1", "A 2")
    )
    assert (structured.source, structured.type, structured.subject) == ("/dbt/prod", EVENT["type"], "orders")
    assert json.loads(structured.payload) == {**EVENT, "subject": "orders"}
    assert b"1.50" in encoded.payload
    subjects = {
        json.loads(file.read_bytes())["message"]["entity"]["attributes"]["qualifiedName"] for file in atlan
    }
    assert {row.subject for (row,) in rows.values() if row.source == "atlan"} == subjects
    assert all(row.statement is None for (row,) in rows.values())
    outcome = ingest_once(
        kafka=topics.kafka,
        postgres=database.ingest,
        request=IngestRequest(topic=topics.events),
        owner=LeaseOwner(id=uuid4(), label="test"),
    )
    assert (outcome.records, outcome.rejected) == (len(ids), 0)
    with psycopg.connect(database.dsn(database.admin)) as connection:
        stored = connection.execute("select event_id from meta.event").fetchall()
        incidents = connection.execute("select count(*) from meta.incident").fetchone()
    assert sorted(event_id for (event_id,) in stored) == sorted(UUID(event_id) for event_id in ids)
    assert incidents == (0,)


def test_an_issuer_that_is_away_stops_nobody_and_its_new_key_waits(
    service: Callable[..., Any], isolation: Isolation, keys: Published
) -> None:
    topics = isolation.new_topics()
    connection = {
        "conn_type": "atlan_meta_oauth2",
        "host": ISSUER,
        "extra": {"audience": AUDIENCE, "jwks_uri": keys.url},
    }
    environ = {**topics.environ, **connection_variables({"atlan_meta_oauth2_default": connection})}
    producer = service("producer", environ)
    keys.issuer.rotate()
    producer.start()
    ask = Endpoints(producer.url, keys)

    assert ask.events(EVENT).status_code == 202
    keys.server.server_close()
    assert [ask.events({**EVENT, "id": str(n)}).status_code for n in range(5)] == [202] * 5
    keys.issuer.rotate()
    assert ask.events({**EVENT, "id": "new key"}).status_code == 401
    assert keys.issuer.requests == 1
    assert producer.terminate() == 0
    assert len(rows_on(topics)) == 6
