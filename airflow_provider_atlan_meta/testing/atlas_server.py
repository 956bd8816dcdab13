"""A catalog that speaks Atlas, with scripts of how it misbehaves; in the process or over HTTP.

    python -m airflow_provider_atlan_meta.testing.atlas_server --port 21000

``POST /_script`` takes the fields of ``AtlasScript``: of the calls whose path ends with ``path`` the next ``times``,
after ``skip`` that go well.
``GET /_entities`` lists what is kept, ``GET /_calls`` what was asked.

====== ================================ ======================================================================
mode   fields                           what the caller sees
====== ================================ ======================================================================
status ``status``, ``code``, ``cause``  that refusal; no effect
hang   ``seconds``                      nothing for so long, then 503; no effect
cut    -                                the call takes effect, then the connection is cut unanswered
delay  ``seconds``                      the effect after so long, also if the caller is gone by then
====== ================================ ======================================================================
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from airflow_provider_atlan_meta.testing.atlas_store import AtlasStore, Refused

LOGIN = ("admin", "admin")
COOKIE = "ATLASSESSIONID"
_MODES = ("status", "hang", "cut", "delay")


@dataclass(frozen=True, kw_only=True)
class AtlasScript:
    """One line of the table above.

    :raises ValueError: it means nothing.
    """

    mode: str
    path: str = ""
    times: int = 1
    skip: int = 0
    status: int = 500
    code: str = ""
    cause: str = ""
    seconds: float = 30.0
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(_MODES)}")
        if self.times < 1 or not 300 <= self.status <= 599:
            raise ValueError("times must be at least 1 and status 300 to 599")


class AtlasCall(NamedTuple):
    """:param entities: how many a bulk had."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    entities: int


class AtlasAnswer(NamedTuple):
    status: int
    document: Any
    headers: dict[str, str] = {}  # noqa: RUF012 -- never changed


class FakeAtlas:
    """One catalog.

    :param path: what the API's paths begin with.
    :ivar largest_bulk: entities of a bulk above which it answers 413.
    :ivar tokens: bearer tokens it takes. :ivar delayed: effects still to come, of calls in the process.
    """

    def __init__(self, path: str = "/api/atlas/v2") -> None:
        self.store = AtlasStore()
        self.calls: list[AtlasCall] = []
        self.scripts: deque[AtlasScript] = deque()
        self.largest_bulk = 10_000
        self.tokens: set[str] = set()
        self.delayed: deque[tuple[AtlasCall, bytes]] = deque()
        self._path = path

    def script(self, mode: str, **fields: Any) -> None:
        self.scripts.append(AtlasScript(mode=mode, **fields))

    @property
    def bulks(self) -> list[int]:
        """Entities of every bulk it was sent."""
        return [call.entities for call in self.calls if call.entities]

    def entity(self, qualified_name: str) -> dict[str, Any] | None:
        """The living one of this name."""
        return self.store.find("Referenceable", "qualifiedName", qualified_name)

    def hear(self, method: str, url: httpx.URL, headers: dict[str, str], body: bytes) -> AtlasCall:
        """Notes a call."""
        query = parse_qsl(url.query.decode(), keep_blank_values=True)
        entities = len(json.loads(body).get("entities") or ()) if method == "POST" and body else 0
        call = AtlasCall(method, url.raw_path.decode().partition("?")[0], query, headers, entities)
        self.calls.append(call)
        return call

    def next_script(self, call: AtlasCall) -> AtlasScript | None:
        for at, script in enumerate(self.scripts):
            if call.path.endswith(script.path):
                if script.skip:
                    self.scripts[at] = replace(script, skip=script.skip - 1)
                    continue
                del self.scripts[at]
                if script.times > 1:
                    self.scripts.insert(at, replace(script, times=script.times - 1))
                return script
        return None

    def answer(self, call: AtlasCall, body: bytes) -> AtlasAnswer:
        """What it says, and does."""
        if not self._is_known(call.headers):
            return AtlasAnswer(401, None)
        if not call.path.startswith(self._path):
            return AtlasAnswer(404, None)
        if call.entities > self.largest_bulk:
            return AtlasAnswer(413, None)
        try:
            document = self._asked(call, call.path.removeprefix(self._path), body)
        except Refused as refused:
            return AtlasAnswer(refused.status, refused.body)
        return AtlasAnswer(200, document, {"set-cookie": f"{COOKIE}=fake; Path=/; HttpOnly"})

    def settle(self) -> None:
        """Delayed effects of calls in the process happen now."""
        while self.delayed:
            self.answer(*self.delayed.popleft())

    def _is_known(self, headers: dict[str, str]) -> bool:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme == "Bearer":
            return value in self.tokens
        return scheme == "Basic" and base64.b64decode(value).decode() == ":".join(LOGIN)

    def _asked(self, call: AtlasCall, path: str, body: bytes) -> Any:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match (call.method, *parts):
            case ("POST", "entity", "bulk"):
                return self.store.write(json.loads(body))
            case ("GET", "entity", "bulk", "uniqueAttribute", "type", kind):
                found = [self.store.find(kind, *pair) for pair in _attributes(call, "attr_")]
                return {"entities": [one for one in found if one is not None], "referredEntities": {}}
            case ("GET", "entity", "uniqueAttribute", "type", kind):
                for pair in _attributes(call, "attr:"):
                    one = self.store.find(kind, *pair)
                    if one is not None:
                        return {"entity": self.store.told(one), "referredEntities": {}}
                raise Refused(
                    404, "ATLAS-404-00-009", f"Instance {kind} with unique attribute does not exist"
                )
            case ("DELETE", "entity", "uniqueAttribute", "type", kind):
                (pair,) = _attributes(call, "attr:")
                return self.store.delete(kind, *pair)
            case _:
                return self._asked_of_types(call.method, parts, body)

    def _asked_of_types(self, method: str, parts: Sequence[str], body: bytes) -> Any:
        match (method, *parts):
            case ("GET", "types", "typedefs", "headers"):
                return self.store.types.headers()
            case ("POST", "types", "typedefs"):
                return self.store.types.create(json.loads(body))
            case ("PUT", "types", "typedefs"):
                return self.store.types.update(json.loads(body))
            case ("GET", "types", kind, "name", name):
                section = {"businessmetadatadef": "businessMetadataDefs"}.get(kind, f"{kind[:-3]}Defs")
                return self.store.types.get(section, name)
        raise Refused(404, "", "no such path")


def _attributes(call: AtlasCall, prefix: str) -> list[tuple[str, str]]:
    return [(name.partition(":")[2], value) for name, value in call.query if name.startswith(prefix)]


def transport(*fakes: FakeAtlas) -> httpx.MockTransport:
    """Catalogs in the process; ``http://atlas-0``, ``http://atlas-1`` ... are their hosts. Nobody waits: a hang is a
    timeout at once, a delayed effect comes with ``settle``.
    """

    def handle(request: httpx.Request) -> httpx.Response:
        fake = fakes[int(request.url.host.rpartition("-")[2])]
        call = fake.hear(request.method, request.url, dict(request.headers), request.content)
        script = fake.next_script(call)
        if script is None:
            return _response(fake.answer(call, request.content))
        if script.mode == "status":
            return _response(_scripted(script))
        if script.mode == "cut":
            fake.answer(call, request.content)
            raise httpx.ReadError("cut", request=request)
        if script.mode == "delay":
            fake.delayed.append((call, request.content))
        raise httpx.ReadTimeout("too long", request=request)

    return httpx.MockTransport(handle)


def _response(answer: AtlasAnswer) -> httpx.Response:
    body = b"" if answer.document is None else json.dumps(answer.document).encode()
    return httpx.Response(answer.status, content=body, headers=answer.headers)


def _scripted(script: AtlasScript) -> AtlasAnswer:
    if not script.code:
        return AtlasAnswer(script.status, None, script.headers)
    cause = {"errorCause": script.cause} if script.cause else {}
    said = {"errorCode": script.code, "errorMessage": "scripted", **cause}
    return AtlasAnswer(script.status, said, script.headers)


class _CuttableApp(Starlette):
    """Knows the connection of each request, so that an answer can be lost as networks lose it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn's send is a method of the request, which has the connection; Starlette wraps it
        scope["atlas.connection"] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


def build_app(fake: FakeAtlas) -> Starlette:
    """The same over HTTP."""

    async def script(request: Request) -> Response:
        try:
            fake.script(**json.loads(await request.body()))
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse({"queued": len(fake.scripts)}, status_code=201)

    async def entities(request: Request) -> Response:
        del request
        return JSONResponse(list(fake.store.entities.values()))

    async def calls(request: Request) -> Response:
        del request
        return JSONResponse([call._asdict() | {"headers": {}} for call in fake.calls])

    async def asked(request: Request) -> Response:
        body = await request.body()
        call = fake.hear(request.method, httpx.URL(str(request.url)), dict(request.headers), body)
        return await _served(request, fake, call, body)

    methods = ["GET", "POST", "PUT", "DELETE"]
    return _CuttableApp(
        routes=[
            Route("/_script", script, methods=["POST"]),
            Route("/_entities", entities),
            Route("/_calls", calls),
            Route("/{path:path}", asked, methods=methods),
        ]
    )


async def _served(request: Request, fake: FakeAtlas, call: AtlasCall, body: bytes) -> Response:
    script = fake.next_script(call)
    if script is None:
        answer = fake.answer(call, body)
    elif script.mode == "status":
        answer = _scripted(script)
    elif script.mode == "hang":
        await asyncio.sleep(script.seconds)
        answer = AtlasAnswer(503, None)
    else:
        if script.mode == "delay":
            await asyncio.sleep(script.seconds)
        answer = fake.answer(call, body)
        if script.mode == "cut":
            request.scope["atlas.connection"].abort()
            await asyncio.sleep(0.01)  # the server notices before it is given an answer to send
    content = b"" if answer.document is None else json.dumps(answer.document).encode()
    return Response(content, answer.status, answer.headers, "application/json")


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT."""
    import uvicorn

    parser = argparse.ArgumentParser(
        prog="atlas_server", description="A catalog that speaks Atlas, in memory."
    )
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    args = parser.parse_args(argv)
    uvicorn.run(
        build_app(FakeAtlas()), host="127.0.0.1", port=args.port, access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
