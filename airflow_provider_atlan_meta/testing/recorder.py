"""The recorder: protocol-true ends of outside services on loopback, which remember every call.

    python -m airflow_provider_atlan_meta.testing.recorder --port 8090

``/slack/api/...`` answers as Slack's Web API does (point a Slack connection's ``base_url`` at it).
``GET /_recorded?service=slack`` lists what was called: ``{at, method, path, headers, body, status}``, tokens
masked, oldest first, the last 10,000; ``status`` is null while a call hangs. ``DELETE /_recorded`` forgets.
``POST /_script`` makes the next ``times`` calls of a service misbehave; scripts queue up in the order posted:

====== =========================================== =======================================================
mode   fields                                      what the caller sees
====== =========================================== =======================================================
status ``status`` (400-599), ``retry_after``       that status; the call has no effect
hang   ``seconds``                                 nothing for so long, then 503; no effect
error  ``error``, e.g. ``channel_not_found``       the service's own refusal; no effect
====== =========================================== =======================================================

All take ``service``, ``path`` (optional: its ending, e.g. ``chat.update``) and ``times`` (default 1).
``DELETE /_script`` drops what is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from airflow_provider_atlan_meta.testing.slack_api import SlackApi

RECORDS_KEPT = 10_000
SCRIPTS_KEPT = 1_000
BODY_MAX_BYTES = 1 << 20
HANG_MAX_SECONDS = 600.0
_MASKED = "***"


@dataclass(frozen=True, kw_only=True)
class Script:
    """The next ``times`` calls of ``service`` whose path ends in ``path`` misbehave."""

    service: str
    mode: str
    path: str = ""
    status: int = 500
    times: int = 1
    seconds: float = 30.0
    retry_after: float | None = None
    error: str = ""

    def __post_init__(self) -> None:
        if self.service not in SERVICES:
            raise ValueError(f"service must be one of {', '.join(SERVICES)}")
        if self.mode not in ("status", "hang", "error"):
            raise ValueError("mode must be status, hang or error")
        if self.mode == "status" and not 400 <= self.status <= 599:
            raise ValueError("status must be 400 to 599")
        if self.mode == "error" and not self.error:
            raise ValueError("mode error needs the service's error code in 'error'")
        if self.times < 1 or not 0 <= self.seconds <= HANG_MAX_SECONDS:
            raise ValueError(f"times must be at least 1 and seconds at most {HANG_MAX_SECONDS:.0f}")

    def matches(self, service: str, path: str) -> bool:
        return service == self.service and path.endswith(self.path)


class Recorder:
    """What was called and what is still scripted; bounded."""

    def __init__(self) -> None:
        self.records: deque[dict[str, Any]] = deque(maxlen=RECORDS_KEPT)
        self.scripts: deque[Script] = deque(maxlen=SCRIPTS_KEPT)
        self.slack = SlackApi()

    def record(self, service: str, request: Request, body: bytes) -> dict[str, Any]:
        entry = {
            "at": time.time(),
            "method": request.method,
            "path": request.url.path,
            "headers": _masked_headers(request),
            "body": _readable(request.headers.get("content-type", ""), body),
            "status": None,
        }
        self.records.append({"service": service, "entry": entry})
        return entry

    def recorded(self, service: str | None) -> list[dict[str, Any]]:
        return [record["entry"] for record in self.records if service in (None, record["service"])]

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


def build_app() -> Starlette:
    """An ASGI application with a memory of its own."""
    app = Starlette(
        routes=[
            Route("/healthz", _healthz),
            Route("/_recorded", _recorded, methods=["GET", "DELETE"]),
            Route("/_script", _script, methods=["POST", "DELETE"]),
            Route("/slack/api/{method}", _slack, methods=["GET", "POST"]),
        ]
    )
    app.state.recorder = Recorder()
    return app


SERVICES = ("slack",)


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _recorded(request: Request) -> Response:
    recorder: Recorder = request.app.state.recorder
    service = request.query_params.get("service")
    if request.method == "DELETE":
        recorder.forget(service)
        return Response(status_code=204)
    return JSONResponse(recorder.recorded(service))


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


async def _slack(request: Request) -> Response:
    recorder: Recorder = request.app.state.recorder
    body = await _bounded_body(request)
    entry = recorder.record("slack", request, body or b"")
    script = recorder.next_script("slack", request.url.path)
    if script is not None:
        response = await _misbehave(script)
    elif body is None:
        response = JSONResponse({"ok": False, "error": "request_too_large"}, status_code=413)
    else:
        response = JSONResponse(
            recorder.slack.call(
                request.path_params["method"],
                authorization=request.headers.get("authorization", ""),
                content_type=request.headers.get("content-type", ""),
                body=body,
            )
        )
    entry["status"] = response.status_code
    return response


async def _misbehave(script: Script) -> Response:
    if script.mode == "error":
        return JSONResponse({"ok": False, "error": script.error})
    if script.mode == "hang":
        await asyncio.sleep(script.seconds)
        return PlainTextResponse("upstream timed out\n", status_code=503)
    headers = {} if script.retry_after is None else {"retry-after": f"{script.retry_after:g}"}
    if script.status == 429:
        return JSONResponse({"ok": False, "error": "ratelimited"}, status_code=429, headers=headers)
    return PlainTextResponse("scripted failure\n", status_code=script.status, headers=headers)


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
    return headers


def _readable(content_type: str, body: bytes) -> Any:
    """The body as JSON where it is JSON or a form, else as text; a token in it is masked."""
    try:
        fields: Any = (
            dict(parse_qsl(body.decode()))
            if "x-www-form-urlencoded" in content_type
            else json.loads(body or b"null")
        )
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
    if isinstance(fields, dict) and "token" in fields:
        fields["token"] = _MASKED
    return fields


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT."""
    import uvicorn

    parser = argparse.ArgumentParser(prog="recorder", description="Records what outside services are asked.")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    args = parser.parse_args(argv)
    # uvicorn drains on SIGTERM and then raises it once more: end with 0 instead of "killed"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(build_app(), host="127.0.0.1", port=args.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
