"""B11: signed webhooks acknowledged per CPU-second of the server, against a FastAPI + pydantic twin.

Both servers run at once on the same broker, uvloop and httptools; rounds alternate, the load comes from a third
process over loopback. CPU is all of the server process, librdkafka's threads included.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.webhook_load import documented_signature, webhook_bodies

ID = "B11"
TARGET = 1.3
_TENANT = "acme"
_READY_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")
_ROOT = Path(__file__).resolve().parent.parent

Row = dict[str, Any]


def run(rounds: int, quick: bool, *, environ: Mapping[str, str] | None = None) -> list[Row]:
    """:param environ: ``AIRFLOW_CONN_*`` and settings of a running broker; None starts one."""
    with ExitStack() as stack:
        kafka = environ if environ is not None else stack.enter_context(_own_broker())
        secret = secrets.token_urlsafe(24)
        variables = {
            **os.environ,
            **kafka,
            f"AIRFLOW_CONN_ATLAN_META_MONTECARLO_TENANT_{_TENANT.upper()}": json.dumps(
                {"conn_type": "atlan_meta_montecarlo", "extra": {"webhook_secret": secret}}
            ),
        }
        ours = stack.enter_context(
            _server(("-m", "airflow_provider_atlan_meta.cli", "serve", "producer", "--port"), variables)
        )
        peer = stack.enter_context(_server(("-m", "benchmarks.peers.fastapi_webhook"), variables))
        load = stack.enter_context(_load(secret))
        count = 3_000 if quick else 10_000
        rows: list[Row] = [_signature_row(rounds)]
        for connections in (32,) if quick else (32, 1, 256):
            posts = count if connections > 1 else count // 5
            rows += _compare(load, (ours, peer), rounds, posts, connections)
        return rows


def _signature_row(rounds: int) -> Row:
    """One check of a signature, parsing included, against the documented function."""
    from airflow_provider_atlan_meta.core.json_document import parse_document
    from airflow_provider_atlan_meta.core.montecarlo_signature import is_signed

    secret = "a secret"
    signed = [(body, documented_signature(secret, body).encode()) for body in webhook_bodies(300)]

    def ours() -> bool:
        return all(
            is_signed(parse_document(body), signature, [secret.encode()]) for body, signature in signed
        )

    def peer() -> bool:
        return all(documented_signature(secret, body).encode() == signature for body, signature in signed)

    measured: list[list[Mapping[str, float]]] = [[], []]
    for _ in range(rounds):
        for which, check in enumerate((ours, peer)):
            started = time.thread_time()
            if not check():
                raise RuntimeError("a right signature was refused")
            measured[which].append({"us": (time.thread_time() - started) / len(signed) * 1e6})
    return _row("webhook signature of 1.7 KB, CPU per check", measured, "us", "us", None)


def _compare(
    load: Load, servers: tuple[Served, Served], rounds: int, posts: int, connections: int
) -> list[Row]:
    for server in servers:
        load.post(server, posts // 4, connections)
    measured: list[list[Mapping[str, float]]] = [[], []]
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for which in order:
            measured[which].append(load.post(servers[which], posts, connections))
    what = f"webhook, {connections} connections"
    target = TARGET if connections == 32 else None
    return [
        _row(f"{what}: acked per CPU-second of the server", measured, "per_cpu_second", "1/s", target),
        _row(f"{what}: acked per second", measured, "per_second", "1/s", None),
        _row(f"{what}: answer p50", measured, "p50_ms", "ms", None),
        _row(f"{what}: answer p99", measured, "p99_ms", "ms", None),
    ]


def _row(
    name: str, measured: list[list[Mapping[str, float]]], key: str, unit: str, target: float | None
) -> Row:
    """Medians; the ratio is the median of the rounds' own ratios and above 1 when ours is better."""
    ours, peer = ([sample[key] for sample in samples] for samples in measured)
    pairs = zip(ours, peer, strict=True)
    ratio = statistics.median(p / o if unit in ("ms", "us") else o / p for o, p in pairs)
    return {
        "id": ID,
        "name": name,
        "ours": round(statistics.median(ours), 2),
        "peer": round(statistics.median(peer), 2),
        "unit": unit,
        "ratio": round(ratio, 2),
        "target": target,
        "pass": None if target is None else ratio >= target,
    }


class Served:
    """A server process under measurement."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


class Load:
    """The load process, asked for one stretch at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def post(self, server: Served, count: int, connections: int) -> Mapping[str, float]:
        """:raises RuntimeError: not every post was acknowledged: then nothing was measured."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = server.cpu_seconds()
        job = {"port": server.port, "count": count, "connections": connections}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        result = json.loads(self._process.stdout.readline())
        cpu = server.cpu_seconds() - before
        if result["acknowledged"] != count:
            raise RuntimeError(f"{result} of {count} posts: the broker or a server is not well")
        return {**result, "per_cpu_second": count / cpu, "per_second": count / result["seconds"]}


@contextmanager
def _server(arguments: tuple[str, ...], variables: Mapping[str, str]) -> Iterator[Served]:
    port = _free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *arguments, str(port)], env=dict(variables), cwd=_ROOT, stderr=log, stdout=log
        )
        try:
            _await_ready(process, port, log)
            yield Served(process, port)
        finally:
            process.terminate()
            process.wait(30)


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Any) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    log.seek(0)
    raise RuntimeError(f"{process.args!r} does not answer: {log.read()[-2000:].decode(errors='replace')}")


@contextmanager
def _load(secret: str) -> Iterator[Load]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.webhook_load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"tenant": _TENANT, "secret": secret}) + "\n")
        process.stdin.flush()
        yield Load(process)
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _own_broker() -> Iterator[Mapping[str, str]]:
    from airflow_provider_atlan_meta.sandbox.isolation import Isolation
    from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox

    with tempfile.TemporaryDirectory() as home, Sandbox(Path(home) / "sandbox") as sandbox:
        sandbox.up(["kafka"])
        with Isolation(sandbox) as isolation:
            yield isolation.new_topics().environ


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
