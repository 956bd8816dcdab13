"""What every endpoint of the producer shares: bounded reading, one limit of what is under way, 202 only once Kafka
has all of it from all in-sync replicas, and one answer for everything that goes wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from time import perf_counter
from typing import Any
from uuid import UUID

from starlette.types import Message, Receive, Send

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.core.events import MAX_BODY_BYTES, MetadataEvent, trace_id
from airflow_provider_atlan_meta.core.metrics import Metrics
from airflow_provider_atlan_meta.core.ports import Publisher, RecordPosition
from airflow_provider_atlan_meta.pipeline.publish import Arrival, ReceiptClock, event_record
from airflow_provider_atlan_meta.services.answers import Answer, json_answer, problem
from airflow_provider_atlan_meta.services.logs import get_logger

_log = get_logger(__name__)
_debug = logging.getLogger(__name__)

_BODY_SECONDS = 10.0
_MAX_READING_BYTES = 64 << 20
_RETRY_SOON_SECONDS, _RETRY_LATER_SECONDS = 1, 5

DISABLED = problem(403, "this tenant is disabled; its administrator can enable it")
TOO_LARGE = problem(413, "the body is larger than 1 MiB").closing()
SECRETS_UNREADABLE = problem(
    503, "secrets cannot be read at the moment; send it again", retry_after_seconds=_RETRY_LATER_SECONDS
)
_TOO_SLOW = problem(408, "the body did not arrive within 10 seconds").closing()
_BUSY = problem(429, "too many requests at once; send it again", retry_after_seconds=_RETRY_SOON_SECONDS)
_DRAINING = problem(
    503, "the service is going down; send it again", retry_after_seconds=_RETRY_LATER_SECONDS
).closing()
_NOT_READY = problem(
    503, "Kafka or the topic is not there yet; send it again", retry_after_seconds=_RETRY_LATER_SECONDS
)
_NOT_STORED = problem(
    503,
    "Kafka did not acknowledge everything; it may or may not be stored. Sending it again is safe",
    retry_after_seconds=_RETRY_LATER_SECONDS,
)
_KAFKA_AWAY = problem(503, "Kafka does not answer; send it again", retry_after_seconds=_RETRY_LATER_SECONDS)
_CUT_OFF = problem(400, "the request ended before its body did").closing()
_BROKEN = problem(500, "the service failed on this request; its log says why").closing()


class RefusedError(Exception):
    """Carries the answer out of nested steps."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Intake:
    """Holds what one process has under way, of all endpoints. For one asyncio loop.

    :param ready: whether the topic has been seen; before, nothing is taken (a broker may create topics with
        the wrong number of partitions on first use).
    :param now_ms: the wall clock, read once per request.
    """

    def __init__(
        self,
        *,
        publisher: Publisher,
        topic: str,
        max_in_flight: int,
        metrics: Metrics,
        now_ms: Callable[[], int],
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._publisher = publisher
        self._topic = topic
        self._max_in_flight = max_in_flight
        self._metrics = metrics
        self._ready = ready
        self._receipts = ReceiptClock()
        self._reading_bytes = 0
        self._kafka_away = False
        self.now_ms = now_ms
        self.answers: Counter[int] = Counter()
        self.in_flight = 0
        self.draining = False

    async def respond(self, answering: Coroutine[Any, Any, Answer], send: Send) -> None:
        """Sends what ``answering`` answers or was refused with; whatever else it raises is a 500."""
        started = perf_counter()
        try:
            answer = await answering
        except RefusedError as refused:
            answer = refused.answer
        except Exception:
            _log.exception("request not handled", stage="producer")
            answer = _BROKEN
        await answer.send(send)
        self.answers[answer.status] += 1
        self._metrics.count("atlan_meta_producer_requests_total", str(answer.status))
        self._metrics.observe("atlan_meta_producer_request_seconds", perf_counter() - started)

    def check_capacity(self) -> None:
        """:raises RefusedError: going down, no topic yet, or too much under way."""
        if self.draining:
            raise RefusedError(_DRAINING)
        if not self._ready():
            raise RefusedError(_NOT_READY)
        if self.in_flight >= self._max_in_flight or self._reading_bytes > _MAX_READING_BYTES:
            raise RefusedError(_KAFKA_AWAY if self._kafka_away else _BUSY)

    async def publish(
        self,
        events: Sequence[MetadataEvent],
        *,
        received_at_ms: int,
        traceparent: bytes | None,
        kind: str,
    ) -> Answer:
        """202 when Kafka has all of them, 503 when it may have only a part.

        :param kind: what the events are counted under: one of a few words, never a sender's.
        """
        self.check_capacity()
        stamp, topic = self._receipts.stamp, self._topic
        arrivals = [Arrival(stamp(event.id, received_at_ms), traceparent) for event in events]
        records = [event_record(event, topic, arrivals[n]) for n, event in enumerate(events)]
        self.in_flight += len(records)
        started = perf_counter()
        try:
            positions = await self._publisher.publish(records)
        except AtlanMetaError as error:
            self._kafka_away = True
            self._metrics.count("atlan_meta_producer_publish_failures_total", type(error).__name__)
            _note(events, arrivals, "failed", error=str(error))
            return _NOT_STORED
        finally:
            self.in_flight -= len(records)
        self._kafka_away = False
        self._metrics.observe("atlan_meta_producer_publish_seconds", perf_counter() - started)
        for event in events:
            self._metrics.count("atlan_meta_producer_events_total", event.tenant, kind)
        _note(events, arrivals, "accepted", positions)
        return accepted([event.id for event in events])

    async def read_body(self, receive: Receive) -> bytes:
        """The whole body, never more than the limit in memory.

        :raises RefusedError: too large, too slow, cut off, or too many bodies at once.
        """
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                message = await receive()
                if not message.get("more_body"):
                    return _bounded(message)
                return await self._read_rest(bytearray(_bounded(message)), receive)
        except TimeoutError:
            raise RefusedError(_TOO_SLOW) from None

    async def _read_rest(self, body: bytearray, receive: Receive) -> bytes:
        self._reading_bytes += len(body)
        try:
            more = True
            while more:
                message = await receive()
                piece = _bounded(message)
                body += piece
                self._reading_bytes += len(piece)
                more = message.get("more_body", False)
                if len(body) > MAX_BODY_BYTES:
                    raise RefusedError(TOO_LARGE)
                if more and self._reading_bytes > _MAX_READING_BYTES:
                    raise RefusedError(_BUSY.closing())
            return bytes(body)
        finally:
            self._reading_bytes -= len(body)


def accepted(ids: Sequence[str]) -> Answer:
    """202 with the ids of what was taken."""
    listed = ",".join([f'"{event_id}"' for event_id in ids])
    return json_answer(202, b'{"accepted":%d,"ids":[%b]}' % (len(ids), listed.encode()))


def check_body_headers(headers: Mapping[bytes, bytes], unsupported: Answer) -> None:
    """:raises RefusedError: the body is compressed, or announced as too large."""
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RefusedError(unsupported)
    if announced_bytes(headers) > MAX_BODY_BYTES:
        raise RefusedError(TOO_LARGE)


def announced_bytes(headers: Mapping[bytes, bytes]) -> int:
    """The body's length as its sender says; 0: it does not say."""
    length = headers.get(b"content-length", b"0")
    return int(length[:20]) if length.isdigit() else 0


def _bounded(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise RefusedError(_CUT_OFF)
    body: bytes = message.get("body", b"")
    if len(body) > MAX_BODY_BYTES:
        raise RefusedError(TOO_LARGE)
    return body


def _note(
    events: Sequence[MetadataEvent],
    arrivals: Sequence[Arrival],
    outcome: str,
    positions: Sequence[RecordPosition] = (),
    **more: object,
) -> None:
    """One DEBUG line per event, with the keys its whole walk is found by."""
    if not _debug.isEnabledFor(logging.DEBUG):
        return
    if len(events) == len(positions) == 1:
        # positions come in the order of acknowledgement: only a single one is surely its event's
        more |= {"partition": positions[0].partition, "offset": positions[0].offset}
    for event, arrival in zip(events, arrivals, strict=True):
        _log.debug(
            "received",
            stage="producer",
            outcome=outcome,
            tenant=event.tenant,
            event_id=event.id,
            event_key=identity.event_key(UUID(event.id).bytes, arrival.received_at_ms).hex(),
            trace_id=trace_id(arrival.traceparent),
            **more,
        )
