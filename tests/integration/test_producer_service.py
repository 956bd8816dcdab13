"""The producer as a process on real Kafka: accepted means kept, whatever happens to either of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_topics import create_topics
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.tenancy import tenant_conn_id
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation, Topics
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.testing.manifest import read_manifest
from airflow_provider_atlan_meta.testing.sender import SendSummary, WebhookSender
from airflow_provider_atlan_meta.testing.webhooks import PlannedPost, WebhookTenant, plan_webhooks, sign

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

TENANTS = [WebhookTenant("acme", "secret of acme"), WebhookTenant("globex", "secret of globex")]
POSTS = 1500


@pytest.fixture
def topics(isolation: Isolation) -> Topics:
    return isolation.new_topics()


def environ(topics: Topics, **settings: str) -> dict[str, str]:
    secrets = {
        f"AIRFLOW_CONN_{tenant_conn_id('montecarlo', tenant.id).upper()}": json.dumps(
            {"conn_type": "atlan_meta_montecarlo", "extra": {"webhook_secret": tenant.secret}}
        )
        for tenant in TENANTS
    }
    own = {f"AIRFLOW__ATLAN_META__{name.upper()}": value for name, value in settings.items()}
    return {**topics.environ, **secrets, **own}


def ids_on(topics: Topics) -> Counter[str]:
    """Event ids of every record on the topic, read to its end."""
    config = KafkaConfig.from_connection(topics.kafka)
    consumer = Consumer(
        {
            **config.librdkafka(),
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    found: Counter[str] = Counter()
    try:
        waiting = set(consumer.list_topics(topics.events, timeout=10).topics[topics.events].partitions)
        consumer.assign([TopicPartition(topics.events, number, 0) for number in waiting])
        while waiting:
            message = consumer.poll(20)
            assert message is not None, f"no end of partitions {waiting}"
            if message.error() is not None:
                waiting.discard(message.partition())
            else:
                found[dict(message.headers())["ce_id"].decode()] += 1
    finally:
        consumer.close()
    return found


class Load(threading.Thread):
    """Sends a plan as fast as 32 connections allow; ``reached`` is set when enough was accepted."""

    def __init__(self, url: str, folder: Path, after: int) -> None:
        super().__init__(daemon=True)
        self.manifest = folder / "manifest.jsonl"
        self.reached = threading.Event()
        self.summary: SendSummary | None = None
        self._left = after
        self._sender = WebhookSender(
            url=url, manifest=self.manifest, concurrency=32, on_post=lambda _: self._count()
        )
        self._plan = plan_webhooks(seed=5, count=POSTS, tenants=TENANTS, malformed=0, unauthorized=0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.join(90)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.reached.set()

    def run(self) -> None:
        self.summary = self._sender.send(self._plan)

    def answers(self) -> Mapping[str, int]:
        self.join(90)
        assert self.summary is not None
        return self.summary.answers

    def accepted(self) -> Counter[str]:
        return Counter(event_id for post in read_manifest(self.manifest) for event_id in post.ids)


def test_sigterm_under_load_answers_what_was_taken_loses_nothing_and_exits_0(
    service: Callable[..., Any], topics: Topics, tmp_path: Path
) -> None:
    producer = service("producer", environ(topics))
    producer.start()
    with Load(producer.url, tmp_path, after=300) as load:
        assert load.reached.wait(60)
        assert producer.terminate() == 0, producer.tail()
    answers = load.answers()
    assert set(answers) <= {"202", "503", "none"}
    assert answers["202"] < POSTS
    accepted, stored = load.accepted(), ids_on(topics)
    assert sum(accepted.values()) == answers["202"]
    assert not accepted - stored, "accepted and not on the topic"
    assert '"unanswered": 0' in producer.tail()


def test_after_kill_9_every_202_is_on_the_topic(
    service: Callable[..., Any], topics: Topics, tmp_path: Path
) -> None:
    producer = service("producer", environ(topics))
    producer.start()
    with Load(producer.url, tmp_path, after=300) as load:
        assert load.reached.wait(60)
        producer.kill()
    answers = load.answers()
    assert set(answers) == {"202", "none"}
    accepted, stored = load.accepted(), ids_on(topics)
    assert not accepted - stored, "accepted and not on the topic"


def post(url: str, planned: PlannedPost) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/{planned.tenant}/montecarlo",
        content=planned.body,
        headers=planned.headers,
        timeout=40,
        trust_env=False,
    )


def webhook(number: int) -> PlannedPost:
    body = json.dumps({"type": "open_anomaly_incident", "payload": {"incident_id": f"inc-{number}"}}).encode()
    tenant = TENANTS[0]
    return PlannedPost(
        tenant=tenant.id, kind="created", subject=None, body=body, signature=sign(tenant.secret, body)
    )


def wait_for_status(wanted: int, ask: Callable[[], httpx.Response], seconds: float = 40) -> httpx.Response:
    async def wait() -> httpx.Response:
        async with asyncio.timeout(seconds):
            while True:
                answer = await asyncio.to_thread(ask)
                if answer.status_code == wanted:
                    return answer
                await asyncio.sleep(0.1)

    return asyncio.run(wait())


def readyz(url: str) -> httpx.Response:
    return httpx.get(f"{url}/readyz", timeout=20, trust_env=False)


def test_without_kafka_senders_are_told_503_and_202_again_once_it_is_back(
    service: Callable[..., Any], sandbox: Sandbox, topics: Topics
) -> None:
    producer = service("producer", environ(topics, delivery_timeout_seconds="1"))
    producer.start()
    assert post(producer.url, webhook(1)).status_code == 202
    sandbox.stop("kafka")
    try:
        answer = post(producer.url, webhook(2))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
        not_ready = wait_for_status(503, lambda: readyz(producer.url))
        assert not_ready.json()["status"] == "not ready"
    finally:
        sandbox.start("kafka")
    accepted = wait_for_status(202, lambda: post(producer.url, webhook(3)))
    assert wait_for_status(200, lambda: readyz(producer.url)).json()["partitions"] == 12
    stored = ids_on(topics)
    assert set(accepted.json()["ids"]) <= set(stored)
    assert producer.terminate() == 0


def test_a_missing_topic_is_not_made_by_accident_and_taken_up_once_it_is_there(
    service: Callable[..., Any], topics: Topics
) -> None:
    variables = environ(topics, topic_prefix=f"{topics.prefix}late")
    producer = service("producer", variables)
    producer.start(ready=False)
    reason = wait_for_status(503, lambda: ask_readyz(producer.url)).json()["reason"]
    assert "topics create" in reason
    assert post(producer.url, webhook(1)).status_code == 503
    settings = Settings(variables)
    create_topics(
        KafkaConfig.from_connection(topics.kafka),
        prefix=settings.text("topic_prefix"),
        partitions=3,
        replication=1,
    )
    assert wait_for_status(200, lambda: readyz(producer.url)).json()["partitions"] == 3
    assert wait_for_status(202, lambda: post(producer.url, webhook(2))).status_code == 202
    producer.send(signal.SIGINT)
    assert producer.wait() == 0


def test_secrets_appear_neither_in_arguments_nor_in_logs(service: Callable[..., Any], topics: Topics) -> None:
    producer = service("producer", environ(topics, log_level="DEBUG"))
    producer.start()
    assert post(producer.url, webhook(1)).status_code == 202
    arguments = Path(f"/proc/{producer.pid}/cmdline").read_bytes().decode()
    assert producer.terminate() == 0
    text = producer.log.read_text()
    for tenant in TENANTS:
        assert tenant.secret not in text + arguments
    assert '"event": "received"' in text


def test_serve_without_a_name_runs_the_whole_lane_and_drains_it(
    topics: Topics, database: Database, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    free = {"producer_port": str(port), "ingest_metrics_port": "0", "consumer_metrics_port": "0"}
    settings = environ(topics, **free, topic_partitions="3")
    argv = [sys.executable, "-m", "airflow_provider_atlan_meta.cli", "serve", "--json"]
    url = f"http://127.0.0.1:{port}"
    log = tmp_path / "serve.log"
    with log.open("wb") as stderr:
        lane = subprocess.Popen(
            argv, env={**os.environ, **settings, **database.environ}, stdout=subprocess.PIPE, stderr=stderr
        )
    try:
        wait_for_status(200, lambda: ask_readyz(url))
        accepted = post(url, webhook(1)).json()["ids"]

        def stored() -> httpx.Response:
            with psycopg.connect(database.dsn(database.admin)) as connection:
                rows = connection.execute("select event_id::text from meta.event").fetchall()
            return httpx.Response(200 if [row[0] for row in rows] == accepted else 404)

        wait_for_status(200, stored)
        lane.terminate()
        stdout, _ = lane.communicate(timeout=60)
        assert lane.returncode == 0, log.read_text()
        assert json.loads(stdout) == {"services": ["producer", "ingest", "consumer"], "exit_code": 0}
    finally:
        if lane.poll() is None:
            lane.kill()
            lane.communicate()


def ask_readyz(url: str) -> httpx.Response:
    try:
        return readyz(url)
    except httpx.TransportError:
        return httpx.Response(0)
