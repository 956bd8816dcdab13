"""The recorder: protocol-true ends of outside services on loopback, which remember every call.

    python -m airflow_provider_atlan_meta.testing.recorder --port 8090

``/slack/api/...`` answers as Slack's Web API does (point a Slack connection's ``base_url`` at it); ``POST
/webhook/{name}`` takes anything and answers 204; ``/montecarlo/graphql`` and ``/montecarlo/oauth2/token`` answer as
Monte Carlo's API does, from the alerts of ``POST /_montecarlo/alerts`` (a list; ``GET`` shows, ``DELETE`` forgets them,
``DELETE /_montecarlo/tokens`` lets every token expire). ``GET /_recorded?service=slack|webhook|montecarlo`` lists what
was called:
``{number, at, method, path, headers, body, status, applied_at, message}``, tokens masked, oldest first, the last
10,000, with ``&after=N`` those of a higher number; a webhook's body is the text exactly as received, so that its
signature can be checked. ``status`` is null where nothing was answered (yet), ``applied_at`` where nothing came of the
call (yet); ``message`` is where Slack put it, ``{channel, ts}``. ``DELETE /_recorded`` forgets.
``POST /_limits {"service": "slack", "enforced": true}`` (or ``--slack-limits``) makes Slack's own rate limits count;
off by default. ``POST /_script`` makes the next ``times`` calls misbehave: see ``testing.scripts``; ``DELETE
/_script`` drops what is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from airflow_provider_atlan_meta.testing.montecarlo_api import MonteCarloApi, Unauthorized
from airflow_provider_atlan_meta.testing.scripts import Script
from airflow_provider_atlan_meta.testing.slack_api import RateLimited, SlackApi

RECORDS_KEPT = 10_000
SCRIPTS_KEPT = 1_000
BODY_MAX_BYTES = 1 << 20
_MASKED = "***"
_SECRET_FIELDS = ("token", "client_secret", "webhookSharedSecret")
_SECRET_HEADERS = ("x-mcd-id", "x-mcd-token")


class Recorder:
    """What was called and what is still scripted; bounded."""

    def __init__(self) -> None:
        self.records: deque[dict[str, Any]] = deque(maxlen=RECORDS_KEPT)
        self.scripts: deque[Script] = deque(maxlen=SCRIPTS_KEPT)
        self.slack = SlackApi()
        self.montecarlo = MonteCarloApi()
        self._calls = 0

    def record(self, service: str, request: Request, body: bytes) -> dict[str, Any]:
        self._calls += 1
        entry = {
            "number": self._calls,
            "at": time.time(),
            "method": request.method,
            "path": request.url.path,
            "headers": _masked_headers(request),
            "body": (
                body.decode(errors="replace")
                if service == "webhook"
                else _readable(request.headers.get("content-type", ""), body)
            ),
            "status": None,
            "applied_at": None,
            "message": None,
        }
        self.records.append({"service": service, "entry": entry})
        return entry

    def recorded(self, service: str | None, after: int = 0) -> list[dict[str, Any]]:
        return [
            record["entry"]
            for record in self.records
            if service in (None, record["service"]) and record["entry"]["number"] > after
        ]

    def forget(self, service: str | None) -> None:
        kept = [record for record in self.records if service not in (None, record["service"])]
        self.records.clear()
        self.records.extend(kept)

    def next_script(self, service: str, path: str) -> Script | None:
        """The oldest script for this call, counted down."""
        for index, script in enumerate(self.scripts):
            if script.matches(service, path):
                if script.times > 1:
                    self.scripts[index] = replace(script, times=script.times - 1)
                else:
                    del self.scripts[index]
                return script
        return None


class AnswerCutError(ConnectionError):
    """The server cannot cut its connection (a test client in the same process): it raises instead."""


class _CuttableApp(Starlette):
    """Knows the connection of each request, so that an answer can be lost as networks lose it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn's send is a method of the request, which has the connection; Starlette wraps it
        scope["recorder.connection"] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


def build_app(*, slack_limits: bool = False) -> Starlette:
    """An ASGI application with a memory of its own."""
    app = _CuttableApp(
        routes=[
            Route("/healthz", _healthz),
            Route("/_recorded", _recorded, methods=["GET", "DELETE"]),
            Route("/_script", _script, methods=["POST", "DELETE"]),
            Route("/_limits", _limits, methods=["POST"]),
            Route("/slack/api/{method}", _slack, methods=["GET", "POST"]),
            Route("/webhook/{name}", _webhook, methods=["POST"]),
            Route("/montecarlo/graphql", _montecarlo, methods=["POST"]),
            Route("/montecarlo/oauth2/token", _montecarlo_token, methods=["POST"]),
            Route("/_montecarlo/alerts", _montecarlo_alerts, methods=["GET", "POST", "DELETE"]),
            Route("/_montecarlo/tokens", _montecarlo_tokens, methods=["DELETE"]),
        ]
    )
    app.state.recorder = Recorder()
    app.state.recorder.slack.limits_enforced = slack_limits
    return app


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _recorded(request: Request) -> Response:
    recorder: Recorder = request.app.state.recorder
    service = request.query_params.get("service")
    if request.method == "DELETE":
        recorder.forget(service)
        return Response(status_code=204)
    after = request.query_params.get("after", "0")
    if not (after.isascii() and after.isdecimal()):
        return JSONResponse({"error": "after is the number of a call"}, status_code=400)
    return JSONResponse(recorder.recorded(service, int(after)))


async def _script(request: Request) -> Response:
    recorder: Recorder = request.app.state.recorder
    if request.method == "DELETE":
        recorder.scripts.clear()
        return Response(status_code=204)
    try:
        recorder.scripts.append(_parse_script(await request.body()))
    except (ValueError, TypeError) as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    return JSONResponse({"queued": len(recorder.scripts)}, status_code=201)


def _parse_script(body: bytes) -> Script:
    fields = json.loads(body)
    if not isinstance(fields, dict):
        raise TypeError("a script is a JSON object")
    return Script(**fields)


async def _limits(request: Request) -> Response:
    try:
        fields = json.loads(await request.body())
    except ValueError:
        fields = None
    enforced = (
        fields.get("enforced") if isinstance(fields, dict) and fields.get("service") == "slack" else None
    )
    if not isinstance(enforced, bool):
        return JSONResponse({"error": 'say {"service": "slack", "enforced": true or false}'}, status_code=400)
    request.app.state.recorder.slack.limits_enforced = enforced
    return Response(status_code=204)


async def _slack(request: Request) -> Response:
    recorder: Recorder = request.app.state.recorder

    def answer(body: bytes, lag_seconds: float) -> Answered:
        try:
            called = recorder.slack.call(
                request.path_params["method"],
                authorization=request.headers.get("authorization", ""),
                content_type=request.headers.get("content-type", ""),
                body=body,
                lag_seconds=lag_seconds,
            )
        except RateLimited as limited:
            return _rate_limited(str(limited.retry_after)), False, None
        made = {name: called[name] for name in ("channel", "ts")} if "ts" in called else None
        return JSONResponse(called), bool(called["ok"]), made

    return await _answered("slack", request, answer)


async def _webhook(request: Request) -> Response:
    return await _answered("webhook", request, lambda _body, _lag: (Response(status_code=204), True, None))


async def _montecarlo(request: Request) -> Response:
    recorder: Recorder = request.app.state.recorder

    def answer(body: bytes, lag_seconds: float) -> Answered:
        try:
            called = recorder.montecarlo.call(request.headers, body, lag_seconds)
        except Unauthorized:
            return JSONResponse({"message": "Unauthorized"}, status_code=401), False, None
        return JSONResponse(called), "errors" not in called, None

    return await _answered("montecarlo", request, answer)


async def _montecarlo_token(request: Request) -> Response:
    recorder: Recorder = request.app.state.recorder

    def answer(body: bytes, _: float) -> Answered:
        status, called = recorder.montecarlo.token(request.headers.get("authorization", ""), body)
        return JSONResponse(called, status_code=status), status == 200, None

    return await _answered("montecarlo", request, answer)


async def _montecarlo_alerts(request: Request) -> Response:
    api: MonteCarloApi = request.app.state.recorder.montecarlo
    if request.method == "GET":
        return JSONResponse(api.current())
    if request.method == "DELETE":
        api.clear()
        return Response(status_code=204)
    try:
        return JSONResponse({"set": api.put(json.loads(await request.body()))}, status_code=201)
    except (ValueError, TypeError, AttributeError) as error:
        return JSONResponse({"error": str(error)}, status_code=400)


async def _montecarlo_tokens(request: Request) -> Response:
    request.app.state.recorder.montecarlo.revoke_tokens()
    return Response(status_code=204)


# The answer, whether the call took effect, and what it made.
Answered = tuple[Response, bool, dict[str, Any] | None]
Effect = Callable[[bytes, float], Answered]


async def _answered(service: str, request: Request, effect: Effect) -> Response:
    """Records the call and answers it as the service would, unless a script says otherwise."""
    recorder: Recorder = request.app.state.recorder
    body = await _bounded_body(request)
    entry = recorder.record(service, request, body or b"")
    script = recorder.next_script(service, request.url.path)
    if script is not None and not script.has_effect:
        response = await _refused(script)
    elif body is None:
        response = JSONResponse({"ok": False, "error": "request_too_large"}, status_code=413)
    else:
        if script is not None and script.mode == "delay":
            await asyncio.sleep(script.seconds)
        if request.method == "GET":
            body = request.url.query.encode()
        lag_seconds = script.seconds if script is not None and script.mode == "lag" else 0.0
        response, is_applied, entry["message"] = effect(body, lag_seconds)
        if is_applied:
            entry["applied_at"] = time.time()
        if script is not None and script.mode == "partial":
            response = _partial(response, script.error)
        if script is not None and script.mode == "cut":
            await _cut(request)
            return response
    entry["status"] = response.status_code
    return response


async def _cut(request: Request) -> None:
    connection = request.scope.get("recorder.connection")
    if connection is None:
        raise AnswerCutError("the call took effect, its answer is lost")
    connection.abort()
    await asyncio.sleep(0.01)  # the server notices before it is given an answer to send


async def _refused(script: Script) -> Response:
    if script.mode == "error":
        if script.service == "montecarlo":
            return JSONResponse({"errors": [{"message": script.error}], "data": None})
        return JSONResponse({"ok": False, "error": script.error})
    if script.mode == "hang":
        await asyncio.sleep(script.seconds)
        return PlainTextResponse("upstream timed out\n", status_code=503)
    retry_after = None if script.retry_after is None else f"{script.retry_after:.12g}"
    if script.status == 429:
        return _rate_limited(retry_after)
    headers = {} if retry_after is None else {"retry-after": retry_after}
    if script.status < 400:
        headers["location"] = "/webhook/redirected"
    return PlainTextResponse("scripted failure\n", status_code=script.status, headers=headers)


def _partial(response: Response, message: str) -> Response:
    """GraphQL's way to answer what it could: data and errors together."""
    called = json.loads(bytes(response.body))
    return JSONResponse(called | {"errors": [{"message": message, "path": ["getAlerts", "edges", 0]}]})


def _rate_limited(retry_after: str | None) -> Response:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return JSONResponse({"ok": False, "error": "ratelimited"}, status_code=429, headers=headers)


async def _bounded_body(request: Request) -> bytes | None:
    """The body, or None above 1 MiB (read no further)."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_MAX_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _masked_headers(request: Request) -> dict[str, str]:
    headers = dict(request.headers)
    if "authorization" in headers:
        scheme, _, _ = headers["authorization"].partition(" ")
        headers["authorization"] = f"{scheme} {_MASKED}"
    headers |= {name: _MASKED for name in _SECRET_HEADERS if name in headers}
    return headers


def _readable(content_type: str, body: bytes) -> Any:
    """The body as JSON where it is JSON or a form, else as text; a token in it is masked."""
    try:
        fields: Any = (
            dict(parse_qsl(body.decode()))
            if "x-www-form-urlencoded" in content_type
            else json.loads(body or b"null")
        )
        _mask(fields)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
    return fields


def _mask(value: Any) -> None:
    """Secrets at any depth."""
    if isinstance(value, dict):
        value |= {name: _MASKED for name in _SECRET_FIELDS if name in value}
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _mask(inner)


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT."""
    import uvicorn

    parser = argparse.ArgumentParser(prog="recorder", description="Records what outside services are asked.")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--slack-limits", action="store_true", help="Slack's own rate limits count")
    args = parser.parse_args(argv)
    # uvicorn drains on SIGTERM and then raises it once more: end with 0 instead of "killed"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = build_app(slack_limits=args.slack_limits)
    uvicorn.run(app, host="127.0.0.1", port=args.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
