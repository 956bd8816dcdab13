"""Our own services as processes of a test: started, killed and stopped by hand."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from integration.last_hop import SHORT_LEASE_SECONDS, LastHop, last_hop
from integration.waiting import wait_until

from airflow_provider_atlan_meta.sandbox.isolation import Isolation
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox

READY_SECONDS = 30


@dataclass
class Service:
    """``atlan-meta serve NAME`` in an environment of the test's own, on a port it keeps over restarts."""

    name: str
    environ: Mapping[str, str]
    log: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = self.port or probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *, ready: bool = True) -> None:
        setting = "PRODUCER_PORT" if self.name == "producer" else f"{self.name.upper()}_METRICS_PORT"
        environ = {**os.environ, **self.environ, f"AIRFLOW__ATLAN_META__{setting}": str(self.port)}
        argv = [sys.executable, "-m", "airflow_provider_atlan_meta.cli", "serve", self.name]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, env=environ, stdout=log, stderr=log, start_new_session=True)
        if ready:
            wait_until(self.is_ready, READY_SECONDS, f"{self.name} ready, see {self.log}")

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}: {self.tail()}"
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(40)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes services; whatever still runs at the end is killed."""
    made: list[Service] = []

    def make(name: str, environ: Mapping[str, str]) -> Service:
        one = Service(name, environ, tmp_path / f"{name}-{len(made)}.log")
        made.append(one)
        return one

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.send(signal.SIGCONT)
            one.kill()


@pytest.fixture(scope="module")
def connect(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, with Kafka Connect."""
    before = sandbox.is_running("connect")
    sandbox.up(["connect"])
    yield sandbox
    if not before:
        sandbox.stop("connect")


@pytest.fixture(scope="module")
def servers(connect: Sandbox) -> Sandbox:
    """Everything between a row and its receivers but the consumer."""
    connect.up(["recorder"])
    return connect


@pytest.fixture
def hop(servers: Sandbox, isolation: Isolation, tmp_path: Path) -> Iterator[LastHop]:
    """Takeovers come soon; what waits for claims and closing sends does not depend on it."""
    with last_hop(servers, isolation, tmp_path) as made:
        made.environ["AIRFLOW__ATLAN_META__LEASE_SECONDS"] = str(SHORT_LEASE_SECONDS)
        yield made
