"""``POST /v1/{tenant}/montecarlo``: from the first byte to the answer.

202 is said only when Kafka has the event from all in-sync replicas. Everything refused is refused with a
status of its own and leaves nothing behind. What an unknown tenant is answered differs in nothing from what a
known one with a wrong signature is.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter
from uuid import UUID

from starlette.types import Message, Receive, Scope, Send

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import AtlanMetaError, RejectedError
from airflow_provider_atlan_meta.core.events import MAX_BODY_BYTES, MetadataEvent, trace_id
from airflow_provider_atlan_meta.core.json_document import parse_document
from airflow_provider_atlan_meta.core.metrics import Metrics
from airflow_provider_atlan_meta.core.montecarlo_signature import HEADER, is_signed
from airflow_provider_atlan_meta.core.ports import Publisher
from airflow_provider_atlan_meta.pipeline.publish import (
    ReceiptClock,
    ReceivedWebhook,
    montecarlo_event,
    publish_event,
)
from airflow_provider_atlan_meta.services.answers import Answer, json_answer, problem
from airflow_provider_atlan_meta.services.logs import get_logger
from airflow_provider_atlan_meta.services.tenant_secrets import InboundTenant, TenantSecrets

_log = get_logger(__name__)
_debug = logging.getLogger(__name__)

_BODY_SECONDS = 10.0
_MAX_READING_BYTES = 64 << 20
_RETRY_SOON_SECONDS, _RETRY_LATER_SECONDS = 1, 5

_UNAUTHORIZED = problem(
    401,
    "no valid signature for this tenant; send x-mcd-signature made with the shared secret of its webhook",
    headers=((b"www-authenticate", b'MonteCarlo-Signature realm="atlan-meta"'),),
)
_DISABLED = problem(403, "this tenant is disabled; its administrator can enable it")
_TOO_SLOW = problem(408, "the body did not arrive within 10 seconds").closing()
_TOO_LARGE = problem(413, "the body is larger than 1 MiB").closing()
_NOT_JSON = problem(415, "send application/json, not compressed").closing()
_BUSY = problem(429, "too many webhooks at once; send it again", retry_after_seconds=_RETRY_SOON_SECONDS)
_DRAINING = problem(
    503, "the service is going down; send it again", retry_after_seconds=_RETRY_LATER_SECONDS
).closing()
_NOT_READY = problem(
    503, "Kafka or the topic is not there yet; send it again", retry_after_seconds=_RETRY_LATER_SECONDS
)
_NOT_STORED = problem(
    503,
    "Kafka did not acknowledge the event; it may or may not be stored. Sending it again is safe",
    retry_after_seconds=_RETRY_LATER_SECONDS,
)
_KAFKA_AWAY = problem(503, "Kafka does not answer; send it again", retry_after_seconds=_RETRY_LATER_SECONDS)
_CUT_OFF = problem(400, "the request ended before its body did").closing()
_BROKEN = problem(500, "the service failed on this webhook; its log says why").closing()
_SECRETS_UNREADABLE = problem(
    503, "secrets cannot be read at the moment; send it again", retry_after_seconds=_RETRY_LATER_SECONDS
)


class _RefusedError(Exception):
    """Carries the answer out of nested steps."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class WebhookReceiver:
    """Holds what one process has under way. For one asyncio loop.

    :param ready: whether the topic has been seen; before, nothing is taken (a broker may create topics with
        the wrong number of partitions on first use).
    :param now_ms: the wall clock, read once per webhook.
    """

    def __init__(
        self,
        *,
        publisher: Publisher,
        tenants: TenantSecrets,
        topic: str,
        max_in_flight: int,
        metrics: Metrics,
        now_ms: Callable[[], int],
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._publisher = publisher
        self._tenants = tenants
        self._topic = topic
        self._max_in_flight = max_in_flight
        self._metrics = metrics
        self._now_ms = now_ms
        self._ready = ready
        self._receipts = ReceiptClock()
        self._reading_bytes = 0
        self._kafka_away = False
        # nobody's secret: makes the work for an unknown tenant the same
        self._nobody = InboundTenant("", (secrets.token_bytes(32),))
        self.answers: Counter[int] = Counter()
        self.in_flight = 0
        self.draining = False

    async def receive(self, tenant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one webhook."""
        started = perf_counter()
        try:
            answer = await self._answer(tenant, scope, receive)
        except _RefusedError as refused:
            answer = refused.answer
        except Exception:
            _log.exception("webhook not handled", stage="producer")
            answer = _BROKEN
        await answer.send(send)
        self.answers[answer.status] += 1
        self._metrics.count("atlan_meta_producer_requests_total", str(answer.status))
        self._metrics.observe("atlan_meta_producer_request_seconds", perf_counter() - started)

    async def _answer(self, tenant_name: str, scope: Scope, receive: Receive) -> Answer:
        self._check_capacity()
        headers = dict(scope["headers"])
        _check_headers(headers)
        body = await self._read_body(receive)
        try:
            document = parse_document(body)
            tenant = self._tenants.remembered(tenant_name) or await self._look_up(tenant_name)
            if not is_signed(document, headers[HEADER], (tenant or self._nobody).secrets) or tenant is None:
                return _UNAUTHORIZED
            if tenant.disabled:
                return _DISABLED
            webhook = ReceivedWebhook(
                tenant=tenant.name,
                body=body,
                document=document,
                received_at_ms=self._now_ms(),
                traceparent=headers.get(b"traceparent"),
            )
            event = montecarlo_event(webhook)
            stamp = self._receipts.stamp(event.id, webhook.received_at_ms)
            if stamp != webhook.received_at_ms:
                webhook = replace(webhook, received_at_ms=stamp)
        except RejectedError as error:
            return problem(400, str(error))
        return await self._publish(event, webhook)

    async def _publish(self, event: MetadataEvent, webhook: ReceivedWebhook) -> Answer:
        self._check_capacity()
        self.in_flight += 1
        started = perf_counter()
        try:
            position = await publish_event(self._publisher, self._topic, event, webhook)
        except AtlanMetaError as error:
            self._kafka_away = True
            self._metrics.count("atlan_meta_producer_publish_failures_total", type(error).__name__)
            _note(event, webhook, "failed", error=str(error))
            return _NOT_STORED
        finally:
            self.in_flight -= 1
        self._kafka_away = False
        self._metrics.observe("atlan_meta_producer_publish_seconds", perf_counter() - started)
        self._metrics.count("atlan_meta_producer_events_total", event.tenant, event.source)
        _note(event, webhook, "accepted", partition=position.partition, offset=position.offset)
        return json_answer(202, b'{"accepted":1,"ids":["%b"]}' % event.id.encode())

    def _check_capacity(self) -> None:
        if self.draining:
            raise _RefusedError(_DRAINING)
        if not self._ready():
            raise _RefusedError(_NOT_READY)
        if self.in_flight >= self._max_in_flight or self._reading_bytes > _MAX_READING_BYTES:
            raise _RefusedError(_KAFKA_AWAY if self._kafka_away else _BUSY)

    async def _look_up(self, name: str) -> InboundTenant | None:
        try:
            return await self._tenants.find(name)
        except AtlanMetaError as error:
            _log.error("tenant secrets not readable", error=str(error))
            raise _RefusedError(_SECRETS_UNREADABLE) from None

    async def _read_body(self, receive: Receive) -> bytes:
        """The whole body, never more than the limit in memory."""
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                message = await receive()
                if not message.get("more_body"):
                    return _bounded(message)
                return await self._read_rest(bytearray(_bounded(message)), receive)
        except TimeoutError:
            raise _RefusedError(_TOO_SLOW) from None

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
                    raise _RefusedError(_TOO_LARGE)
                if more and self._reading_bytes > _MAX_READING_BYTES:
                    raise _RefusedError(_BUSY.closing())
            return bytes(body)
        finally:
            self._reading_bytes -= len(body)


def _bounded(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise _RefusedError(_CUT_OFF)
    body: bytes = message.get("body", b"")
    if len(body) > MAX_BODY_BYTES:
        raise _RefusedError(_TOO_LARGE)
    return body


def _check_headers(headers: Mapping[bytes, bytes]) -> None:
    content_type = headers.get(b"content-type", b"")
    if (
        content_type != b"application/json"
        and content_type.split(b";")[0].strip().lower() != b"application/json"
    ):
        raise _RefusedError(_NOT_JSON)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise _RefusedError(_NOT_JSON)
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
        raise _RefusedError(_TOO_LARGE)
    if not headers.get(HEADER):
        raise _RefusedError(_UNAUTHORIZED)


def _note(event: MetadataEvent, webhook: ReceivedWebhook, outcome: str, **more: object) -> None:
    """One DEBUG line per event, with the keys its whole walk is found by."""
    if not _debug.isEnabledFor(logging.DEBUG):
        return
    key = identity.event_key(UUID(event.id).bytes, webhook.received_at_ms)
    _log.debug(
        "webhook",
        stage="producer",
        outcome=outcome,
        tenant=event.tenant,
        event_id=event.id,
        event_key=key.hex(),
        trace_id=trace_id(webhook.traceparent),
        **more,
    )
