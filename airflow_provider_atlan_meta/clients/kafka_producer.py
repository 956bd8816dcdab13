"""``core.ports.Publisher`` on Kafka, for one asyncio loop.

librdkafka calls back where it is polled. One thread per producer sleeps in ``poll``; each time it wakes it
has a batch of delivery reports, and hands them to the loop with a single wake-up, however many they are.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig, translate
from airflow_provider_atlan_meta.core.errors import AtlanMetaError, TransientError
from airflow_provider_atlan_meta.core.ports import OutboundRecord, RecordPosition

_POLL_SECONDS = 0.2
_JOIN_SECONDS = 5.0
# Records that wait for the broker; above it publish() fails at once instead of eating memory.
_MAX_QUEUED_KBYTES = 128 * 1024
_RETRY_AFTER_SECONDS = 1.0

_log = logging.getLogger(__name__)

ProducerFactory = Callable[..., Any]


class _Publication:
    """The records of one ``publish`` call; lives on the loop, except for ``delivered``."""

    __slots__ = ("error", "future", "inbox", "positions", "waiting")

    def __init__(self, future: asyncio.Future[list[RecordPosition]], inbox: _Inbox) -> None:
        self.future = future
        self.inbox = inbox
        self.waiting = 0
        self.positions: list[RecordPosition] = []
        self.error: KafkaError | None = None

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """librdkafka's callback, in the polling thread: nothing but a note for the loop."""
        self.inbox.append((self, error, message))

    def settle(self, error: KafkaError | None, message: Message) -> None:
        self.waiting -= 1
        if error is None:
            self.positions.append(RecordPosition(message.partition(), message.offset()))  # type: ignore[arg-type]
        else:
            self.error = error
        if self.waiting == 0 and not self.future.done():
            if self.error is None:
                self.future.set_result(self.positions)
            else:
                self.future.set_exception(translate(self.error, str(message.topic())))


_Inbox = list[tuple[_Publication, KafkaError | None, Message]]


class _Session:
    """One librdkafka producer and the thread that polls it; ``broken`` after a fatal error."""

    def __init__(
        self, settings: dict[str, Any], loop: asyncio.AbstractEventLoop, factory: ProducerFactory
    ) -> None:
        self.broken = False
        self.inbox: _Inbox = []
        self._loop = loop
        self._closing = threading.Event()
        self.producer = factory({**settings, "error_cb": self._on_error}, logger=_log)
        self._thread = threading.Thread(target=self._poll, name="kafka-delivery-reports", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops the thread; what it has collected is handed over first."""
        self._closing.set()
        self._thread.join(_JOIN_SECONDS)

    def _poll(self) -> None:
        poll = self.producer.poll
        while not self._closing.is_set():
            poll(_POLL_SECONDS)
            self._hand_over()
        poll(0)
        self._hand_over()

    def _hand_over(self) -> None:
        if self.inbox:
            reports = self.inbox.copy()
            self.inbox.clear()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_settle, reports)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.broken = True
        level = logging.CRITICAL if error.fatal() else logging.WARNING
        _log.log(level, "Kafka: %s (%s)", error.str(), error.name())


def _settle(reports: _Inbox) -> None:
    for publication, error, message in reports:
        publication.settle(error, message)


def _produce(
    producer: Any, records: Sequence[OutboundRecord], publication: _Publication
) -> AtlanMetaError | None:
    """Hands the records over; the error that stopped it, when one did."""
    produce, delivered = producer.produce, publication.delivered
    for topic, key, value, headers in records:
        try:
            produce(topic, value, key, on_delivery=delivered, headers=headers)
        except BufferError:
            return TransientError(
                f"{topic}: Kafka takes less than comes in; the record was not sent",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        except KafkaException as error:
            return translate(error, topic)
        publication.waiting += 1
    return None


class KafkaPublisher:
    """Publishes with ``acks=all``, idempotent. Made, used and closed on one running loop.

    An error that ends librdkafka's idempotent producer ends one session: what it held fails as transient, the
    next record starts a new one.
    """

    def __init__(
        self, config: KafkaConfig, *, delivery_timeout_seconds: float, factory: ProducerFactory = Producer
    ) -> None:
        self._settings = {
            **config.librdkafka_producer(delivery_timeout_seconds),
            "queue.buffering.max.kbytes": _MAX_QUEUED_KBYTES,
        }
        self._factory = factory
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._under_way: set[asyncio.Future[list[RecordPosition]]] = set()
        self._session = self._new_session()

    async def publish(self, records: Sequence[OutboundRecord]) -> list[RecordPosition]:
        """:raises AtlanMetaError: at least one record is not acknowledged."""
        session = self._usable_session()
        publication = _Publication(self._loop.create_future(), session.inbox)
        failure = _produce(session.producer, records, publication)
        if not publication.waiting:
            if failure is not None:
                raise failure
            return []
        self._under_way.add(publication.future)
        try:
            positions = await publication.future
        finally:
            self._under_way.discard(publication.future)
        if failure is not None:
            raise failure
        return positions

    async def close(self, timeout_seconds: float) -> int:
        """Waits for what is under way, then stops; returns how many records stayed unacknowledged."""
        self._closed = True
        producer = self._session.producer
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout_seconds)
        unacknowledged = len(producer)
        if unacknowledged:
            producer.purge()
        await asyncio.to_thread(self._session.close)
        return unacknowledged

    def _usable_session(self) -> _Session:
        if self._closed:
            raise TransientError("the producer is shutting down; the record was not sent")
        if self._session.broken:
            broken, self._session = self._session, self._new_session()
            broken.producer.purge()
            self._loop.run_in_executor(None, broken.close)
        return self._session

    def _new_session(self) -> _Session:
        """:raises ConfigurationError: librdkafka refuses an option of the connection."""
        try:
            return _Session(self._settings, self._loop, self._factory)
        except KafkaException as error:
            raise translate(error, "Kafka producer") from None
