"""Posts prepared webhooks over keep-alive connections on loopback: so many, or for so long, whichever ends first."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
import sys
import time
from dataclasses import dataclass
from random import Random
from urllib.parse import urlencode
from uuid import UUID

_SEED = 11
_DISTINCT = 1_000
_MAX_SECONDS = 60.0


@dataclass(frozen=True)
class LoadResult:
    """:param latencies_ms: sorted, one per acknowledged post."""

    acknowledged: int
    refused: int
    seconds: float
    latencies_ms: list[float]

    def quantile(self, q: float) -> float:
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(q * len(self.latencies_ms)))]


def webhook_bodies(count: int = _DISTINCT) -> list[bytes]:
    """Monte Carlo-like alerts of about 1.7 KB: some 30 fields, two nested events. Same seed, same bodies."""
    rng = Random(_SEED)
    return [_body(rng) for _ in range(count)]


def _body(rng: Random) -> bytes:
    incident = _uuid(rng)
    document = {
        "account": {"id": _uuid(rng)},
        "action": "incident",
        "payload": {
            "event_list": [_event(rng, "orders"), _event(rng, "order_items")],
            "group_id": "analytics:sales",
            "incident_id": incident,
            "url": f"https://getmontecarlo.com/alerts/{incident}",
            "alert_feedback": "investigating",
            "declared_alert_severity": "SEV-1",
            "owner": "dana@example.com",
        },
        "type": "open_custom_rule_anomaly_incident",
        "version": "v0.1",
    }
    return json.dumps(document).encode()


def _event(rng: Random, table: str) -> dict[str, object]:
    value = f"{rng.random() * 100:.1f}"
    hit = {"field": None, "measurement_timestamp": "Nov 20, 06:10PM", "timestamp": "", "value": value}
    comparison = {"field": None, "operator": "GT", "threshold": 49.0, "warehouse_uuid": _uuid(rng)}
    return {
        "data": {
            "hits": [hit],
            "metric_display_name": f"custom_metric_{rng.randrange(9999)}",
            "rule_comparisons": [{"metric": "custom_metric", "operator": ">", "threshold": "49.0"}],
        },
        "rule": {
            "comparisons": [comparison],
            "creator_id": None,
            "description": f"{table} row count must stay above {rng.randrange(100)}, it's been stable",
            "rule_type": "custom_sql",
            "timezone": None,
            "uuid": _uuid(rng),
        },
        "table_name": table,
    }


def _uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128)))


def documented_signature(secret: str, body: bytes) -> str:
    """In the vendor's own words."""
    message = urlencode(json.loads(body)).encode("utf8")
    return hmac.new(secret.encode(), message, hashlib.sha512).hexdigest()


def signed_request(tenant: str, secret: str, body: bytes) -> bytes:
    """The whole HTTP request."""
    signature = documented_signature(secret, body)
    head = (
        f"POST /v1/{tenant}/montecarlo HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nx-mcd-signature: {signature}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """One post under way at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._started = 0.0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._received[:head_end]
        length = int(head[head.index(b"content-length: ") + 16 :].split(b"\r\n", 1)[0])
        if len(self._received) < head_end + 4 + length:
            return
        self._load.answered(self._received.startswith(b"HTTP/1.1 202"), time.perf_counter() - self._started)
        self._received = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._load.gone()

    def _next(self) -> None:
        request = self._load.next_request()
        if request is None:
            self._transport.close()
            return
        self._started = time.perf_counter()
        self._transport.write(request)


class _Load:
    def __init__(self, requests: list[bytes], count: int, connections: int) -> None:
        self._requests = requests
        self._left = count
        self._connections = connections
        self._until = time.perf_counter() + _MAX_SECONDS
        self.latencies: list[float] = []
        self.refused = 0
        self.done = asyncio.get_running_loop().create_future()

    def next_request(self) -> bytes | None:
        if self._left <= 0 or time.perf_counter() > self._until:
            return None
        self._left -= 1
        return self._requests[self._left % len(self._requests)]

    def answered(self, acknowledged: bool, seconds: float) -> None:
        if acknowledged:
            self.latencies.append(seconds * 1000)
        else:
            self.refused += 1

    def gone(self) -> None:
        self._connections -= 1
        if self._connections == 0 and not self.done.done():
            self.done.set_result(None)


async def post_all(port: int, requests: list[bytes], *, count: int, connections: int) -> LoadResult:
    loop = asyncio.get_running_loop()
    load = _Load(requests, count, connections)
    started = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
    await load.done
    seconds = time.perf_counter() - started
    return LoadResult(len(load.latencies), load.refused, seconds, sorted(load.latencies))


def main() -> None:
    """A process of its own, so that its CPU is not the server's: arguments and result as JSON."""
    job = json.loads(sys.stdin.readline())
    requests = [signed_request(job["tenant"], job["secret"], body) for body in webhook_bodies()]
    for line in sys.stdin:
        part = json.loads(line)
        result = asyncio.run(
            post_all(part["port"], requests, count=part["count"], connections=part["connections"])
        )
        answer = {
            "acknowledged": result.acknowledged,
            "refused": result.refused,
            "seconds": result.seconds,
            "p50_ms": result.quantile(0.5),
            "p99_ms": result.quantile(0.99),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
