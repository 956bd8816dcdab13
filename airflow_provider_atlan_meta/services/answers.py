"""What the HTTP services answer with: JSON, and problems as RFC 9457 wants them."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.types import Send

_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")
_CLOSE = (b"connection", b"close")


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})

    def closing(self) -> Answer:
        """The same, and the connection ends: its request was not read to the end."""
        return Answer(self.status, [*self.headers, _CLOSE], self.body)


def json_answer(status: int, body: bytes) -> Answer:
    return Answer(status, [_JSON, (b"content-length", b"%d" % len(body))], body)


def problem(
    status: int,
    detail: str,
    *,
    retry_after_seconds: int | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Answer:
    """:param detail: what happened and what to do, for the sender; nothing of its body, nothing of ours."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    body = json.dumps(document).encode()
    fields = [_PROBLEM, (b"content-length", b"%d" % len(body)), *headers]
    if retry_after_seconds is not None:
        fields.append((b"retry-after", b"%d" % retry_after_seconds))
    return Answer(status, fields, body)
