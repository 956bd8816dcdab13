"""What benchmarks of the consumer share: a receiver, the consumer's process, and what processes have cost."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_atlan_meta.core.routing import Subscription
from airflow_provider_atlan_meta.sandbox.isolation import Database, Topics
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.services.subscriptions import apply_subscriptions

ROOT = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Receiver:
    """The receiver's process (``benchmarks.webhook_receiver``)."""

    def __init__(self, process: subprocess.Popen[str], secret: str) -> None:
        self._process = process
        self.pid = process.pid
        self.secret = secret
        self.port: int = self._ask(secret)["port"]

    def reset(self, hangs: str = "") -> None:
        self._ask(json.dumps({"do": "reset", "hangs": hangs}))

    def forget(self) -> None:
        """What came; whom it leaves unanswered stays."""
        self._ask(json.dumps({"do": "forget"}))

    def report(self) -> dict[str, Any]:
        return self._ask(json.dumps({"do": "report"}))

    def _ask(self, line: str) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the receiver has no pipes")
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def receiver() -> Iterator[Receiver]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.webhook_receiver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield Receiver(process, new_secret())
    finally:
        process.terminate()
        process.communicate()


def hook_connections(hooks: Mapping[str, str], secret: str) -> dict[str, str]:
    """``AIRFLOW_CONN_*`` by connection id -> ``port/path``."""
    made = {}
    for conn_id, place in hooks.items():
        port, _, path = place.partition("/")
        made[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(
            {
                "conn_type": "http",
                "schema": "http",
                "host": "127.0.0.1",
                "port": int(port),
                "password": secret,
                "extra": {"path": path},
            }
        )
    return made


@contextmanager
def consumer(
    topics: Topics, database: Database, hooks: Mapping[str, str], subscriptions: Sequence[Subscription]
) -> Iterator[subprocess.Popen[bytes]]:
    """``atlan-meta serve consumer`` as users start it. Killed at the end: nothing of it is wanted any more."""
    apply_subscriptions(database.consumer, subscriptions, actor="bench")
    environ = {
        **os.environ,
        **topics.environ,
        **database.environ,
        **hooks,
        "AIRFLOW__ATLAN_META__CONSUMER_METRICS_PORT": "0",
    }
    environ |= {name: value for name, value in topics.environ.items() if "__TOPIC_" in name}
    command = [sys.executable, "-m", "airflow_provider_atlan_meta.cli", "serve", "consumer"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environ, cwd=ROOT, stderr=log, stdout=log)
        try:
            yield process
            if process.poll() is not None:
                log.seek(0)
                raise RuntimeError(f"the consumer ended: {log.read()[-2000:].decode(errors='replace')}")
        finally:
            process.kill()
            process.wait(10)


def cpu_seconds(pids: Sequence[int]) -> float:
    """Of these processes and their children that have ended, user and system."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        total += sum(int(field) for field in text.rsplit(")", 1)[1].split()[11:15])
    return total / _TICKS


def member_pids(sandbox: Sandbox, name: str) -> tuple[int, ...]:
    return next(one.pids for one in sandbox.status() if one.name == name)
