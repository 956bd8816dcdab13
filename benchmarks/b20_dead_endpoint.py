"""B20: what one dead endpoint does to 49 others: p99 of their deliveries, at one moderate rate.

Fifty connections with a subscription each, changes at a fixed rate, through real Kafka, PostgreSQL and ``atlan-meta
serve consumer``. A wait is from producing a change to its webhook's arrival, of the 49 only. Three such consumers run
side by side and at the same time, so that whatever else the machine does meets them alike: with the fiftieth endpoint
well, with one that takes calls and never answers, and with one that refuses connections.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import msgspec
from confluent_kafka import Producer

from airflow_provider_atlan_meta.core.changes import ChangeEvent
from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.routing import DestinationSpec, Subscription
from airflow_provider_atlan_meta.sandbox.isolation import Isolation
from airflow_provider_atlan_meta.testing.records import change_record
from airflow_provider_atlan_meta.testing.subscriptions import realistic_changes
from benchmarks import deliveries, stage
from benchmarks.deliveries import Receiver
from benchmarks.results import Row, row
from benchmarks.webhook_receiver import MARK

ID = "B20"
MAX_RATIO = 1.2
ENDPOINTS = 50
# of changes, for each of the three
RATE = 100.0
SECONDS, QUICK_SECONDS = 20.0, 10.0
# of every round, left out: connections are made, the breaker has not opened yet
_WARM_SECONDS = 3.0
_MODES = ("well", "hangs", "refuses")
_NAMES = tuple(f"hook-{number:02}" for number in range(ENDPOINTS))
_DEAD = _NAMES[-1]
# of the discard service, which nobody runs
_REFUSED_PORT = 9


def run(rounds: int, quick: bool) -> list[Row]:
    with stage.isolation(["postgres", "kafka"]) as made, deliveries.receiver() as receiver:
        seconds = QUICK_SECONDS if quick else SECONDS
        waits = [_round(made, receiver, seconds) for _ in range(rounds)]
    return [
        _row(waits, "hangs", "takes calls and never answers"),
        _row(waits, "refuses", "refuses connections"),
    ]


def _row(waits: list[Mapping[str, list[float]]], mode: str, does: str) -> Row:
    dead, well = ([_quantile(one[which], 0.99) for one in waits] for which in (mode, "well"))
    return row(
        ID,
        f"p99 of 49 endpoints at {RATE:.0f} changes/s while a fiftieth {does} / while it is well",
        ours=statistics.median(dead),
        peer=statistics.median(well),
        unit="ms",
        ratio=statistics.median(a / b for a, b in zip(dead, well, strict=True)),
        target=MAX_RATIO,
        at_most=True,
        p50=statistics.median(_quantile(one[mode], 0.5) for one in waits),
        p50_peer=statistics.median(_quantile(one["well"], 0.5) for one in waits),
    )


def _quantile(waits: list[float], q: float) -> float:
    return waits[min(len(waits) - 1, int(len(waits) * q))]


def _round(made: Isolation, receiver: Receiver, seconds: float) -> Mapping[str, list[float]]:
    """Milliseconds of the deliveries to the others, sorted, by what the fiftieth does."""
    receiver.reset(hangs=f"/hangs/{_DEAD}")
    topics = {mode: made.new_topics() for mode in _MODES}
    with ExitStack() as stack:
        for mode in _MODES:
            hooks = deliveries.hook_connections(_places(receiver, mode), receiver.secret)
            subscriptions = list(map(_subscription, _NAMES))
            database = made.new_database()
            stack.enter_context(deliveries.consumer(topics[mode], database, hooks, subscriptions))
        each = _send(
            {mode: one.changes for mode, one in topics.items()}, topics["well"].kafka.extra, receiver, seconds
        )
        _await(receiver, each * _ANSWERED)
        report = receiver.report()
    if report["badly_signed"]:
        raise RuntimeError(f"{report['badly_signed']} of {report['checked']} calls were badly signed")
    return {mode: _waits(report["waits"], mode, each * (ENDPOINTS - 1)) for mode in _MODES}


def _waits(by_path: Mapping[str, list[float]], mode: str, expected: int) -> list[float]:
    found = [wait * 1000 for name in _NAMES if name != _DEAD for wait in by_path[f"/{mode}/{name}"]]
    if len(found) != expected:
        raise RuntimeError(f"{len(found)} of {expected} deliveries came to those that are well ({mode})")
    return sorted(found)


def _places(receiver: Receiver, mode: str) -> dict[str, str]:
    def port(name: str) -> int:
        return _REFUSED_PORT if mode == "refuses" and name == _DEAD else receiver.port

    return {_conn_id(name): f"{port(name)}/{mode}/{name}" for name in _NAMES}


def _conn_id(name: str) -> str:
    return f"bench_{name.replace('-', '_')}"


def _subscription(name: str) -> Subscription:
    return Subscription(
        name=name,
        tenant="acme",
        match=Pattern({"kind": ["incident"], "owner": [name]}),
        destination=DestinationSpec(type="webhook", conn_id=_conn_id(name)),
    )


# of one change to each endpoint in each of the three
_ANSWERED = len(_MODES) * ENDPOINTS - 2


def _send(topics: Mapping[str, str], kafka: Mapping[str, object], receiver: Receiver, seconds: float) -> int:
    """At the fixed rate, every endpoint in turn. How many each was sent since the receiver forgot the warm-up."""
    producer = Producer({**kafka, "acks": "all", "linger.ms": 0, "partitioner": "murmur2_random"})
    changes = _changes()
    _pace(producer, topics, changes, 1)
    _await(receiver, _ANSWERED)
    _pace(producer, topics, changes, warm := int(_WARM_SECONDS * RATE / ENDPOINTS))
    _await(receiver, (warm + 1) * _ANSWERED)
    receiver.forget()
    _pace(producer, topics, changes, each := int(seconds * RATE / ENDPOINTS))
    return each


def _pace(producer: Producer, topics: Mapping[str, str], changes: Iterator[ChangeEvent], each: int) -> None:
    due = time.monotonic()
    for _ in range(each * ENDPOINTS):
        change = next(changes)
        for topic in topics.values():
            after = {**(change.after or {}), "title": f"{MARK.decode()}{time.time():.6f} "}
            record = change_record(msgspec.structs.replace(change, after=after))
            producer.produce(topic, key=record.key, value=record.value)
        producer.poll(0)
        due += 1 / RATE
        time.sleep(max(0.0, due - time.monotonic()))
    if producer.flush(10):
        raise RuntimeError("Kafka does not acknowledge")


def _await(receiver: Receiver, calls: int) -> None:
    stage.wait_until(lambda: receiver.report()["calls"] >= calls, what=f"{calls} calls have come")


def _changes() -> Iterator[ChangeEvent]:
    """Incidents that are created, owned by each endpoint in turn."""
    created = [one for one in realistic_changes(15_000) if one.kind == "incident" and one.op == "created"]
    for number, one in enumerate(created):
        yield msgspec.structs.replace(one, after={**(one.after or {}), "owner": _NAMES[number % ENDPOINTS]})
