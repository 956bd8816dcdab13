"""B4: 9,000 messages from the topic into ``meta.event`` in one operator run, against the Kafka provider's operator."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.sandbox.home import HOME_VARIABLE
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation, Topics
from airflow_provider_atlan_meta.sandbox.kafka import REBALANCE_DELAY_VARIABLE
from airflow_provider_atlan_meta.services.ingest import IngestRequest, ingest_once
from airflow_provider_atlan_meta.testing.records import produce
from benchmarks import corpus, stage
from benchmarks.airflow_peers import consume_operator, postgres_hook
from benchmarks.measure import Cost, cost_of, median_ratio, take_turns
from benchmarks.results import Row, row

ID = "B4"
MESSAGES = 9_000
WITHOUT_DELAY = 2.5
WITH_DELAY = 8.0
# The broker's own default: how long a new group waits for more members.
_DEFAULT_DELAY_MS = 3000
_COLUMNS = [
    *("event_key", "tenant_id", "event_id", "source", "type", "subject", "received_at", "payload"),
]


def run(rounds: int, quick: bool) -> list[Row]:
    with stage.isolation(["postgres"]) as stores:
        database = stores.new_database()
        with stage.isolation(["kafka"]) as logs:
            rows = _compare(database, logs, rounds, delay_ms=0, target=WITHOUT_DELAY)
        if not quick:
            with _broker_with_default_delay() as logs:
                rows += _compare(database, logs, rounds, delay_ms=_DEFAULT_DELAY_MS, target=WITH_DELAY)
                rows.append(_short_poll(database, logs))
    return rows


@contextmanager
def _broker_with_default_delay() -> Iterator[Isolation]:
    """A broker of its own: the sandbox's has no delay."""
    kept = {name: os.environ.pop(name, None) for name in (HOME_VARIABLE, REBALANCE_DELAY_VARIABLE)}
    os.environ[REBALANCE_DELAY_VARIABLE] = str(_DEFAULT_DELAY_MS)
    try:
        with stage.isolation(["kafka"]) as made:
            yield made
    finally:
        del os.environ[REBALANCE_DELAY_VARIABLE]
        os.environ.update({name: value for name, value in kept.items() if value is not None})


def _compare(database: Database, logs: Isolation, rounds: int, *, delay_ms: int, target: float) -> list[Row]:
    topics = _filled_topics(logs)
    left: list[int] = []
    with stage.superuser(database) as admin:
        contenders: dict[str, Callable[[], Cost]] = {
            "ours": lambda: _ours(database, admin, topics, left),
            "stock": lambda: _stock(database, admin, topics),
        }
        for contender in contenders.values():
            contender()
        costs = take_turns(contenders, rounds)
    ours, stock = ([cost.wall for cost in costs[name]] for name in ("ours", "stock"))
    what = f"{MESSAGES:,} messages, topic to event table, rebalance delay {delay_ms} ms"
    details: dict[str, Any] = {"rounds": rounds, "ours_max": max(ours), "peer_min": min(stock)}
    return [
        row(
            ID,
            f"{what} / ConsumeFromTopicOperator + upsert_rows",
            ours=sorted(ours)[len(ours) // 2],
            peer=sorted(stock)[len(stock) // 2],
            unit="s",
            ratio=median_ratio(stock, ours),
            target=target,
            **details,
        ),
        row(
            ID,
            f"messages left by a run of ours although there was lag, rebalance delay {delay_ms} ms",
            ours=max(left),
            peer=None,
            unit="messages",
            ratio=max(left),
            target=0,
            at_most=True,
            rounds=rounds,
        ),
    ]


def _filled_topics(logs: Isolation) -> Topics:
    topics = logs.new_topics()
    records = corpus.records(MESSAGES, start_ms=stage.today_ms(), touch_incidents=False)
    produce(topics.kafka.extra, topics.events, records)
    return topics


def _ours(database: Database, admin: psycopg.Connection[Any], topics: Topics, left: list[int]) -> Cost:
    admin.execute("truncate meta.event, meta.ingest_offset")
    owner = LeaseOwner(id=uuid4(), label="bench/run/task#1", task="bench/run/task")
    request = IngestRequest(topic=topics.events, max_records=MESSAGES)

    def work() -> None:
        outcome = ingest_once(kafka=topics.kafka, postgres=database.ingest, request=request, owner=owner)
        left.append(MESSAGES - outcome.records)

    cost = cost_of(work)
    _check(admin, MESSAGES)
    return cost


def _stock(database: Database, admin: psycopg.Connection[Any], topics: Topics) -> Cost:
    """Told how many messages there are: without, it waits a whole ``poll_timeout`` at the end."""
    admin.execute("truncate meta.event")
    cost = cost_of(lambda: _consume(database, topics, max_messages=MESSAGES, poll_timeout=60))
    _check(admin, MESSAGES)
    return cost


def _short_poll(database: Database, logs: Isolation) -> Row:
    """The operator with a poll shorter than the join of its group: it ends green, having read nothing."""
    topics = _filled_topics(logs)
    with stage.superuser(database) as admin:
        admin.execute("truncate meta.event, meta.ingest_offset")
        _consume(database, topics, max_messages=MESSAGES, poll_timeout=2)
        stock = _count(admin)
        left: list[int] = []
        _ours(database, admin, topics, left)
    return row(
        ID,
        "messages read of 9,000 / ConsumeFromTopicOperator with poll_timeout 2 s, default delay",
        ours=MESSAGES - left[0],
        peer=stock,
        unit="messages",
        ratio=(MESSAGES - left[0]) / MESSAGES,
    )


def _consume(database: Database, topics: Topics, *, max_messages: int, poll_timeout: float) -> None:
    hook = postgres_hook(database.ingest)

    def store(messages: list[Any]) -> None:
        hook.upsert_rows("meta.event", [_row(message) for message in messages], _COLUMNS, ["event_key"], [])

    consume_operator(
        kafka=topics.kafka,
        topic=topics.events,
        group=f"bench-{uuid4()}",
        apply=store,
        max_messages=max_messages,
        poll_timeout=poll_timeout,
    ).execute({})


def _row(message: Any) -> tuple[Any, ...]:
    """What a DAG's author would write; it checks nothing."""
    event = json.loads(message.value())
    received_ms = int(dict(message.headers())["received_at"])
    event_id = UUID(event["id"])
    return (
        UUID(bytes=identity.event_key(event_id.bytes, received_ms)),
        event["tenant"],
        event_id,
        event["source"],
        event["type"],
        event["subject"],
        datetime.fromtimestamp(received_ms / 1000, UTC),
        json.dumps(event["data"]),
    )


def _check(admin: psycopg.Connection[Any], count: int) -> None:
    if (found := _count(admin)) != count:
        raise RuntimeError(f"meta.event holds {found} instead of {count} events")


def _count(admin: psycopg.Connection[Any]) -> int:
    found = admin.execute("select count(*) from meta.event").fetchone()
    return int(found[0]) if found else 0
