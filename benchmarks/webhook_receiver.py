"""A receiver of signed webhooks that costs next to nothing: a process of its own that counts, checks and answers.

Lines of JSON on stdin, answered on stdout: ``{"do": "reset", "hangs": PATH}`` forgets everything and never answers
that path; ``{"do": "forget"}`` only forgets; ``{"do": "report"}`` tells what came. Shares no code with what sends.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import sys
import time
from collections import defaultdict
from typing import Any

import uvloop

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
# every so many calls are checked as a receiver would
_CHECKED = 50
# what senders of benchmarks put before the time they sent a change at
MARK = b"sent-at="
_MARKED = 17


class Seen:
    """What came since the last reset."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.reset()

    def reset(self, hangs: str = "") -> None:
        self.hangs = hangs.encode()
        self.forget()

    def forget(self) -> None:
        self.ids: set[bytes] = set()
        self.calls = self.checked = self.badly_signed = 0
        self.first_at = self.last_at = 0.0
        self.waits: dict[str, list[float]] = defaultdict(list)

    def call(self, path: bytes, head: bytes, body: bytes) -> bool:
        """Whether to answer."""
        if self.hangs and path == self.hangs:
            return False
        now = time.time()
        self.calls += 1
        self.first_at = self.first_at or now
        self.last_at = now
        self.ids.add(_header(head, b"webhook-id"))
        if self.calls % _CHECKED == 1:
            self._check(head, body)
        at = body.find(MARK)
        if at >= 0:
            at += len(MARK)
            self.waits[path.decode()].append(now - float(body[at : at + _MARKED]))
        return True

    def _check(self, head: bytes, body: bytes) -> None:
        signed = b".".join((_header(head, b"webhook-id"), _header(head, b"webhook-timestamp"), body))
        wanted = b"v1," + base64.b64encode(hmac.digest(self._key, signed, "sha256"))
        self.checked += 1
        self.badly_signed += wanted not in _header(head, b"webhook-signature").split(b" ")

    def report(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "distinct": len(self.ids),
            "checked": self.checked,
            "badly_signed": self.badly_signed,
            "seconds": self.last_at - self.first_at,
            "waits": self.waits,
        }


class Receiver(asyncio.Protocol):
    """One connection; calls may come in pieces, or several at once."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end].lower()
            total = end + 4 + int(_header(head, b"content-length"))
            if len(buffer) < total:
                break
            # names of headers are anybody's case, their values are not
            path = buffer[5 : buffer.index(b" ", 5)]
            if self._seen.call(path, buffer[:end], buffer[end + 4 : total]) and self._transport is not None:
                self._transport.write(_ANSWER)
            buffer = buffer[total:]
        self._buffer = buffer


def _header(head: bytes, name: bytes) -> bytes:
    lowered = head.lower()
    at = lowered.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    at += len(name) + 3
    end = head.find(b"\r\n", at)
    return head[at : end if end >= 0 else len(head)].strip()


async def main() -> None:
    seen = Seen(base64.b64decode(sys.stdin.readline().strip().removeprefix("whsec_")))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiver(seen), "127.0.0.1", 0)
    done = asyncio.Event()

    def told() -> None:
        line = sys.stdin.readline()
        job = json.loads(line) if line else {"do": "end"}
        if job["do"] == "report":
            print(json.dumps(seen.report()), flush=True)
        elif job["do"] == "forget":
            seen.forget()
            print("{}", flush=True)
        elif job["do"] == "reset":
            seen.reset(job.get("hangs", ""))
            print("{}", flush=True)
        else:
            done.set()

    loop.add_reader(sys.stdin.fileno(), told)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await done.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
