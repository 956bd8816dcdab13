"""B19: signed webhook deliveries a second, from a topic of changes to a receiver and the ledger, on this machine.

Real Kafka, real PostgreSQL, ``atlan-meta serve consumer`` and a receiver in processes of their own; the topic is
filled before. The peer is the loop one would write with ``requests``, a row and two commits per message. CPU is that
of every process that takes part.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.routing import DestinationSpec, Subscription
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation, Topics
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.testing.records import change_record, produce
from airflow_provider_atlan_meta.testing.subscriptions import realistic_changes
from benchmarks import deliveries, stage
from benchmarks.deliveries import Receiver
from benchmarks.peers import requests_webhook
from benchmarks.results import Row, row

ID = "B19"
# deliveries a second with both cores free; one round beside other work says nothing of that
TARGET = 2_500
CPU_TARGET = 4.0
COUNT, QUICK_COUNT = 20_000, 6_000
# the peer is slower
PEER_SHARE = 15
_HOOK = "bench_hook"
_SUBSCRIPTION = Subscription(
    name="everything",
    tenant="acme",
    match=Pattern({}),
    destination=DestinationSpec(type="webhook", conn_id=_HOOK),
)
# that many are written before anything is measured: starting costs the same however long the topic is
_WINDOW = 2_500
_SECONDS = 120.0


def run(rounds: int, quick: bool) -> list[Row]:
    """The quick form is one round."""
    count, rounds = (QUICK_COUNT, 1) if quick else (COUNT, rounds)
    ours: list[dict[str, float]] = []
    peer: list[dict[str, float]] = []
    with (
        stage.servers(["postgres", "kafka"]) as sandbox,
        Isolation(sandbox) as made,
        deliveries.receiver() as receiver,
    ):
        topics = made.new_topics()
        produce(topics.kafka.extra, topics.changes, map(change_record, _changes(count)))
        for number in range(rounds):
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                if which == 0:
                    ours.append(_ours(sandbox, made, topics, receiver, count))
                else:
                    peer.append(_peer(sandbox, made.new_database(), topics, receiver, count // PEER_SHARE))
    return _rows(ours, peer, None if quick else TARGET)


def _changes(count: int) -> list[Any]:
    """As rows change: those of many incidents between each other's."""
    changes = realistic_changes(count)
    order = sorted(range(count), key=lambda n: (n // _WINDOW, changes[n].revision, n))
    return [changes[n] for n in order]


def _ours(
    sandbox: Sandbox, made: Isolation, topics: Topics, receiver: Receiver, count: int
) -> dict[str, float]:
    database = made.new_database()
    hooks = deliveries.hook_connections({_HOOK: f"{receiver.port}/hook"}, receiver.secret)
    receiver.reset()
    with deliveries.consumer(topics, database, hooks, [_SUBSCRIPTION]) as process:
        measured = _measured(sandbox, receiver, process.pid, count)
        with stage.superuser(database) as admin:
            stage.wait_until(
                lambda: _written(admin) == (count, count), what="the ledger has every delivery", seconds=10
            )
    return measured


def _written(admin: Any) -> tuple[int, int]:
    """Deliveries, and how far the cursors have come."""
    found = admin.execute(
        "select (select count(*) from meta.delivery where state = 'delivered'),"
        " (select sum(next_offset) from meta.ingest_offset)::bigint"
    ).fetchone()
    return found[0], found[1]


def _peer(
    sandbox: Sandbox, database: Database, topics: Topics, receiver: Receiver, count: int
) -> dict[str, float]:
    with stage.superuser(database) as admin:
        admin.execute(requests_webhook.TABLE)
        job = {
            "kafka": topics.kafka.extra,
            "topic": topics.changes,
            "dsn": database.dsn(database.admin),
            "url": f"http://127.0.0.1:{receiver.port}/hook",
            "secret": receiver.secret,
            "count": count,
        }
        receiver.reset()
        environ = {**os.environ, "ATLAN_META_BENCH_PEER": json.dumps(job)}
        command = [sys.executable, "-m", "benchmarks.peers.requests_webhook"]
        process = subprocess.Popen(command, env=environ, cwd=deliveries.ROOT)
        try:
            measured = _measured(sandbox, receiver, process.pid, count)
            process.wait(30)
        finally:
            process.kill()
            process.wait(10)
        found = admin.execute("select count(*) from public.sent").fetchone()
    if found != (count,):
        raise RuntimeError(f"the peer wrote {found} of {count} rows")
    return measured


def _measured(sandbox: Sandbox, receiver: Receiver, sender: int, count: int) -> dict[str, float]:
    """Rate and CPU from the first calls, which are left out, to the last."""
    pids: dict[str, Callable[[], tuple[int, ...]]] = {
        "sender": lambda: (sender,),
        "receiver": lambda: (receiver.pid,),
        "postgres": lambda: deliveries.member_pids(sandbox, "postgres"),
        "kafka": lambda: deliveries.member_pids(sandbox, "kafka"),
    }
    first = _await_calls(receiver, max(1, count // 20))
    begun = {name: deliveries.cpu_seconds(get()) for name, get in pids.items()}
    since = time.monotonic()
    last = _await_calls(receiver, count)
    seconds = time.monotonic() - since
    sent = count - first["calls"]
    if last["calls"] != count or last["distinct"] != count or last["badly_signed"]:
        raise RuntimeError(f"not one well signed call per change: { {**last, 'waits': None} }")
    cost = {
        f"{name}_us": (deliveries.cpu_seconds(get()) - begun[name]) / sent * 1e6 for name, get in pids.items()
    }
    return {"per_second": sent / seconds, "cpu_us": sum(cost.values()), **cost}


def _await_calls(receiver: Receiver, count: int) -> dict[str, Any]:
    deadline = time.monotonic() + _SECONDS
    while (report := receiver.report())["calls"] < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{report['calls']} of {count} calls came in {_SECONDS:.0f} s")
        time.sleep(0.02)
    return report


def _rows(ours: list[dict[str, float]], peer: list[dict[str, float]], target: float | None) -> list[Row]:
    middle, others = (
        {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        for rounds in (ours, peer)
    )
    pairs = list(zip(ours, peer, strict=True))
    return [
        row(
            ID,
            "signed webhooks from topic to receiver and ledger, on this machine as busy as it is",
            ours=middle["per_second"],
            peer=None,
            unit="deliveries/s",
            ratio=middle["per_second"],
            target=target,
            best=max(one["per_second"] for one in ours),
        ),
        row(
            ID,
            "the same, wall / requests + a row and two commits per message",
            ours=middle["per_second"],
            peer=others["per_second"],
            unit="deliveries/s",
            ratio=statistics.median(a["per_second"] / b["per_second"] for a, b in pairs),
        ),
        row(
            ID,
            "the same, CPU of all processes / requests + a row and two commits per message",
            ours=middle["cpu_us"],
            peer=others["cpu_us"],
            unit="µs CPU per delivery",
            ratio=statistics.median(b["cpu_us"] / a["cpu_us"] for a, b in pairs),
            target=CPU_TARGET,
            sender_us=middle["sender_us"],
            receiver_us=middle["receiver_us"],
            postgres_us=middle["postgres_us"],
            kafka_us=middle["kafka_us"],
        ),
    ]
