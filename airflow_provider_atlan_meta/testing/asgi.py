"""One request to an ASGI application, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

JSON = {"content-type": "application/json"}


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Request:
    """``pieces`` arrive one by one; ``stalls`` leaves the last one out for ever, ``leaves`` hangs up instead."""

    method: str = "POST"
    path: str = "/v1/acme/montecarlo"
    headers: dict[str, str | bytes] = field(default_factory=dict)
    pieces: Sequence[bytes] = (b"",)
    stalls: bool = False
    leaves: bool = False
    taken: int = 0

    async def _receive(self) -> dict[str, Any]:
        if self.taken == len(self.pieces):
            if self.stalls:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}
        self.taken += 1
        more = self.taken < len(self.pieces) or self.stalls or self.leaves
        return {"type": "http.request", "body": self.pieces[self.taken - 1], "more_body": more}

    async def send_to(self, app: Any) -> Answered:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (name.encode(), value if isinstance(value, bytes) else value.encode())
                for name, value in self.headers.items()
            ],
        }
        await app(scope, self._receive, send)
        start, *bodies = sent
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answered(start["status"], headers, b"".join(message.get("body", b"") for message in bodies))
