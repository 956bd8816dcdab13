"""What every ``Publisher`` does, the fake and the real one alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
from confluent_kafka import Consumer, TopicPartition

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_producer import KafkaPublisher
from airflow_provider_atlan_meta.core.ports import OutboundRecord, Publisher
from airflow_provider_atlan_meta.testing.publisher import MemoryPublisher

HEADERS = [("received_at", b"1"), ("ce_id", "ü".encode()), ("ce_id", b"")]


@dataclass
class Subject:
    """An implementation under test: how it is opened, where it writes, how its log is read."""

    topic: str
    opened: Callable[[], AbstractAsyncContextManager[Publisher]]
    read: Callable[[Publisher, int], list[OutboundRecord]]


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.integration)])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "memory":
        return Subject("t", _memory, lambda publisher, _: publisher.records("t"))  # type: ignore[attr-defined]
    topics = request.getfixturevalue("isolation").new_topics()
    config = KafkaConfig.from_connection(topics.kafka)

    @asynccontextmanager
    async def kafka() -> Iterator[Publisher]:  # type: ignore[misc]
        publisher = KafkaPublisher(config, delivery_timeout_seconds=20)
        try:
            yield publisher
        finally:
            assert await publisher.close(10) == 0

    return Subject(topics.events, kafka, lambda _, count: _read(config, topics.events, count))


@asynccontextmanager
async def _memory() -> Iterator[Publisher]:  # type: ignore[misc]
    yield MemoryPublisher()


def _read(config: KafkaConfig, topic: str, count: int) -> list[OutboundRecord]:
    """The whole topic, partition by partition."""
    consumer = Consumer({**config.librdkafka(), "group.id": "unused", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        messages = []
        while len(messages) < count:
            found = consumer.consume(count - len(messages), 10)
            assert found, f"{len(messages)} of {count} records"
            messages += found
    finally:
        consumer.close()
    messages.sort(key=lambda message: (message.partition(), message.offset()))
    return [
        OutboundRecord(topic, message.key(), message.value(), message.headers() or []) for message in messages
    ]


def run(subject: Subject, scenario: Callable[[Publisher], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with subject.opened() as publisher:
            await scenario(publisher)

    asyncio.run(opened())


def record(subject: Subject, key: bytes, value: bytes) -> OutboundRecord:
    return OutboundRecord(subject.topic, key, value, list(HEADERS))


def test_what_is_published_is_what_is_read(subject: Subject) -> None:
    async def scenario(publisher: Publisher) -> None:
        sent = [
            record(subject, b"acme|a%20b", b'{"data": 1.0e0}\n'),
            record(subject, b"acme|b", b"x" * (1 << 20)),
        ]
        positions = await publisher.publish(sent)
        assert len(positions) == 2
        read = await asyncio.to_thread(subject.read, publisher, 2)
        assert sorted(read) == sorted(sent)

    run(subject, scenario)


def test_nothing_to_publish_is_published_at_once(subject: Subject) -> None:
    async def scenario(publisher: Publisher) -> None:
        assert await publisher.publish([]) == []

    run(subject, scenario)


def test_records_of_one_key_share_a_partition_and_keep_the_order_of_the_calls(subject: Subject) -> None:
    async def scenario(publisher: Publisher) -> None:
        calls = [publisher.publish([record(subject, b"acme|%d" % (n % 5), b"%d" % n)]) for n in range(500)]
        positions = [answer[0] for answer in await asyncio.gather(*calls)]
        for key in range(5):
            own = positions[key::5]
            assert len({position.partition for position in own}) == 1
            assert [position.offset for position in own] == sorted(position.offset for position in own)
        read = await asyncio.to_thread(subject.read, publisher, 500)
        for key in range(5):
            values = [int(one.value) for one in read if one.key == b"acme|%d" % key]
            assert values == list(range(key, 500, 5))

    run(subject, scenario)


def test_positions_are_those_of_the_records_in_the_log(subject: Subject) -> None:
    async def scenario(publisher: Publisher) -> None:
        first = await publisher.publish([record(subject, b"k", b"1")])
        second = await publisher.publish([record(subject, b"k", b"2"), record(subject, b"k", b"3")])
        assert [position.offset for position in first + second] == [0, 1, 2]

    run(subject, scenario)
