"""The producer's ASGI application: the endpoints that take events by hand, everything else by Starlette."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from airflow_provider_atlan_meta.clients.kafka_health import TopicHealth
from airflow_provider_atlan_meta.clients.prometheus import PrometheusMetrics
from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.services.answers import problem
from airflow_provider_atlan_meta.services.intake import Intake

_PREFIX = "/v1/"
_READY_FOR_SECONDS = 2.0
_NOT_READY_FOR_SECONDS = 0.25

Look = Callable[[], Coroutine[Any, Any, TopicHealth]]


class Receiver(Protocol):
    """An endpoint: answers one request of what its path says is a tenant."""

    async def receive(self, tenant: str, scope: Scope, receive: Receive, send: Send) -> None: ...


class Readiness:
    """Whether the topic takes records, asked of the brokers by one asker at a time, rarely."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._health: TopicHealth | None = None
        self._reason = "not looked at yet"
        self.has_been_ready = False

    async def check(self) -> tuple[TopicHealth | None, str]:
        """The topic when it is fit, else why it is not."""
        async with self._lock:
            if monotonic() >= self._until:
                try:
                    self._health, self._reason = await self._look(), ""
                    self.has_been_ready = True
                except AtlanMetaError as error:
                    self._health, self._reason = None, str(error)
                fit = self._health is not None
                self._until = monotonic() + (_READY_FOR_SECONDS if fit else _NOT_READY_FOR_SECONDS)
            return self._health, self._reason


class ProducerApp:
    """``POST /v1/{tenant}/<name of a receiver>``, ``GET /healthz``, ``/readyz``, ``/metrics``."""

    def __init__(
        self,
        receivers: Mapping[str, Receiver],
        intake: Intake,
        readiness: Readiness,
        metrics: PrometheusMetrics,
    ) -> None:
        self._receivers = dict(receivers)
        self._intake = intake
        self._readiness = readiness
        self._metrics = metrics
        self._others = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._exposition),
                # only for their 405: a POST is answered before Starlette is asked
                *[
                    Route(f"{_PREFIX}{{tenant}}/{name}", self._healthz, methods=["POST"])
                    for name in self._receivers
                ],
            ],
            exception_handlers={HTTPException: self._problem_of},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            if path.startswith(_PREFIX):
                tenant, _, name = path[len(_PREFIX) :].partition("/")
                receiver = self._receivers.get(name)
                if receiver is not None:
                    await receiver.receive(tenant, scope, receive, send)
                    return
        await self._others(scope, receive, send)

    async def _healthz(self, request: Request) -> Response:
        del request
        return _json(200, {"status": "alive"})

    async def _readyz(self, request: Request) -> Response:
        del request
        if self._intake.draining:
            return _json(503, {"status": "not ready", "reason": "going down"})
        health, reason = await self._readiness.check()
        if health is None:
            return _json(503, {"status": "not ready", "reason": reason})
        return _json(
            200,
            {
                "status": "ready",
                "topic": health.topic,
                "partitions": health.partitions,
                "replication": health.replication,
                "min_insync_replicas": health.min_insync,
                "warnings": health.warnings(),
            },
        )

    async def _exposition(self, request: Request) -> Response:
        self._metrics.set("atlan_meta_producer_in_flight", self._intake.in_flight)
        self._metrics.set("atlan_meta_producer_draining", self._intake.draining)
        text, content_type = self._metrics.exposition(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    async def _problem_of(self, request: Request, error: Exception) -> Response:
        """404 and 405 in the same words as everything else."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 405:
            detail = f"{request.method} is not answered here; events are sent with POST"
        else:
            known = ", ".join(f"{_PREFIX}{{tenant}}/{name}" for name in self._receivers)
            detail = f"nothing is here; events go to POST {known}"
        answer = problem(status, detail)
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        return Response(answer.body, status, headers=headers, media_type="application/problem+json")


def _json(status: int, document: dict[str, Any]) -> Response:
    return Response(json.dumps(document), status, media_type="application/json")
