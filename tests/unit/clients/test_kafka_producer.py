"""Delivery reports come from another thread, in batches; every publication hears of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_producer import KafkaPublisher
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.core.ports import OutboundRecord

CONFIG = KafkaConfig.from_connection(ConnectionInfo(conn_id="k", extra={"bootstrap.servers": "127.0.0.1:1"}))


class Report:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


class Librdkafka:
    """What confluent_kafka's Producer does with threads: reports wait until somebody polls."""

    made: list[Librdkafka]

    def __init__(self, settings: dict[str, Any], logger: object) -> None:
        self.settings = settings
        self.room = 1000
        self._lock = threading.Condition()
        self._waiting: list[Callable[..., None]] = []
        self._due: list[tuple[Callable[..., None], KafkaError | None]] = []
        self._offset = 0
        self.made.append(self)

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting) + len(self._due)

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Any, headers: Any) -> None:
        with self._lock:
            if len(self._waiting) >= self.room:
                raise BufferError
            self._waiting.append(on_delivery)

    def acknowledge(self, error: KafkaError | None = None) -> None:
        with self._lock:
            self._due += [(callback, error) for callback in self._waiting]
            self._waiting.clear()
            self._lock.notify_all()

    def fail_for_good(self) -> None:
        self.settings["error_cb"](KafkaError(KafkaError._FATAL, fatal=True))

    def purge(self) -> None:
        self.acknowledge(KafkaError(KafkaError._PURGE_QUEUE))

    def poll(self, timeout: float) -> int:
        with self._lock:
            self._lock.wait_for(lambda: self._due, min(timeout, 0.02))
            due, self._due = self._due, []
        for callback, error in due:
            callback(error, Report(self._offset))
            self._offset += 1
        return len(due)


@pytest.fixture(autouse=True)
def fresh() -> None:
    Librdkafka.made = []


def publisher() -> KafkaPublisher:
    return KafkaPublisher(CONFIG, delivery_timeout_seconds=30, factory=Librdkafka)


def record(key: bytes = b"k") -> OutboundRecord:
    return OutboundRecord("t", key, b"v", [])


async def published(made: KafkaPublisher, count: int) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(made.publish([record()])) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


def test_a_hundred_acknowledgements_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        made = publisher()
        loop = asyncio.get_running_loop()
        woken = []
        plain = loop.call_soon_threadsafe

        def counted(callback: Any, *args: Any, **more: Any) -> asyncio.Handle:
            if threading.current_thread().name == "kafka-delivery-reports":
                woken.append(callback)
            return plain(callback, *args, **more)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        tasks = await published(made, 100)
        Librdkafka.made[0].acknowledge()
        positions = await asyncio.gather(*tasks)
        assert [position[0].offset for position in positions] == list(range(100))
        assert len(woken) == 1
        assert await made.close(1) == 0

    asyncio.run(scenario())


def test_a_record_that_is_not_acknowledged_fails_its_own_publication_only() -> None:
    async def scenario() -> None:
        made = publisher()
        (first,) = await published(made, 1)
        Librdkafka.made[0].acknowledge(KafkaError(KafkaError._MSG_TIMED_OUT))
        with pytest.raises(TransientError, match="_MSG_TIMED_OUT"):
            await first
        (second,) = await published(made, 1)
        Librdkafka.made[0].acknowledge()
        assert len(await second) == 1
        await made.close(1)

    asyncio.run(scenario())


def test_several_records_are_one_publication_that_waits_for_all() -> None:
    async def scenario() -> None:
        made = publisher()
        assert await made.publish([]) == []
        task = asyncio.create_task(made.publish([record(), record(), record()]))
        await asyncio.sleep(0)
        Librdkafka.made[0].acknowledge()
        assert len(await task) == 3
        await made.close(1)

    asyncio.run(scenario())


def test_a_full_queue_fails_at_once_and_says_when_to_come_back() -> None:
    async def scenario() -> None:
        made = publisher()
        Librdkafka.made[0].room = 0
        with pytest.raises(TransientError, match="less than comes in") as caught:
            await made.publish([record()])
        assert caught.value.retry_after == 1
        await made.close(1)

    asyncio.run(scenario())


def test_a_publication_that_was_stopped_half_way_fails_after_its_sent_records_are_settled() -> None:
    async def scenario() -> None:
        made = publisher()
        Librdkafka.made[0].room = 1
        task = asyncio.create_task(made.publish([record(), record()]))
        await asyncio.sleep(0)
        assert not task.done()
        Librdkafka.made[0].acknowledge()
        with pytest.raises(TransientError, match="less than comes in"):
            await task
        await made.close(1)

    asyncio.run(scenario())


def test_a_fatal_error_fails_what_is_under_way_and_the_next_record_gets_a_new_producer() -> None:
    async def scenario() -> None:
        made = publisher()
        (lost,) = await published(made, 1)
        Librdkafka.made[0].fail_for_good()
        (kept,) = await published(made, 1)
        with pytest.raises(TransientError, match="_PURGE_QUEUE"):
            await lost
        assert len(Librdkafka.made) == 2
        Librdkafka.made[1].acknowledge()
        assert len(await kept) == 1
        await made.close(1)

    asyncio.run(scenario())


def test_closing_waits_for_what_is_under_way_and_takes_nothing_new() -> None:
    async def scenario() -> None:
        made = publisher()
        (task,) = await published(made, 1)
        closing = asyncio.create_task(made.close(5))
        await asyncio.sleep(0)
        with pytest.raises(TransientError, match="shutting down"):
            await made.publish([record()])
        assert not closing.done()
        Librdkafka.made[0].acknowledge()
        assert await closing == 0
        assert len(await task) == 1

    asyncio.run(scenario())


def test_closing_gives_up_after_its_time_and_tells_how_many_stayed() -> None:
    async def scenario() -> None:
        made = publisher()
        (task,) = await published(made, 1)
        assert await made.close(0.01) == 1
        with pytest.raises(TransientError, match="_PURGE_QUEUE"):
            await task

    asyncio.run(scenario())


def test_a_cancelled_publication_does_not_disturb_the_others() -> None:
    async def scenario() -> None:
        made = publisher()
        gone, stays = await published(made, 2)
        gone.cancel()
        await asyncio.wait([gone])
        Librdkafka.made[0].acknowledge()
        assert len(await stays) == 1
        await made.close(1)

    asyncio.run(scenario())


def test_an_option_librdkafka_does_not_know_is_a_configuration_error() -> None:
    def refuses(settings: dict[str, Any], logger: object) -> None:
        raise KafkaException(KafkaError(KafkaError._INVALID_ARG, 'No such configuration property: "nope"'))

    async def scenario() -> None:
        with pytest.raises(ConfigurationError, match="nope"):
            KafkaPublisher(CONFIG, delivery_timeout_seconds=30, factory=refuses)

    asyncio.run(scenario())
