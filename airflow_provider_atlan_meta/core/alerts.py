"""One alert per DAG and tenant: opened by a failed run, told again by the next ones, closed by a success.

Two small records live outside (Airflow Variables): the reason a task wrote before it failed, and the open
alert. Here is what they hold and what a failure makes of them; who reads and writes them is not known here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from typing import TypeVar

_KEY_CHARACTERS = 250


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A DAG run that failed. ``reason`` is one bounded text, free of secrets and payloads."""

    dag_id: str
    run_id: str
    reason: str
    at: str
    tenant: str = ""
    log_url: str = ""


@dataclass(frozen=True, kw_only=True)
class FailureReason:
    """What the task knew and the alert's process does not: the exception of this run."""

    run_id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class OpenAlert:
    """The message that stands for all failures since ``since``; Slack finds it by ``channel`` and ``ts``."""

    channel: str
    ts: str
    conn_id: str
    since: str
    failures: int
    last_run_id: str


def repeated(alert: OpenAlert, failure: Failure) -> OpenAlert | None:
    """The open alert after one more failure; None when this run was told already (callbacks may repeat)."""
    if alert.last_run_id == failure.run_id:
        return None
    return replace(alert, failures=alert.failures + 1, last_run_id=failure.run_id)


def alert_key(dag_id: str, tenant: str = "") -> str:
    """Key of the open alert. It holds no word by which Airflow would take the value for a secret."""
    return _key("atlan_meta_alert", dag_id, tenant)


def reason_key(dag_id: str, tenant: str = "") -> str:
    """Key of the reason the last final failure left."""
    return _key("atlan_meta_failure", dag_id, tenant)


_Record = TypeVar("_Record", OpenAlert, FailureReason)


def to_text(record: OpenAlert | FailureReason) -> str:
    return json.dumps(asdict(record))


def parse_record(kind: type[_Record], text: str | None) -> _Record | None:
    """The record, or None where there is none or somebody wrote something else there."""
    try:
        content = json.loads(text or "")
    except ValueError:
        return None
    wanted = {field.name: int if field.name == "failures" else str for field in fields(kind)}
    if not isinstance(content, dict) or any(not isinstance(content.get(n), t) for n, t in wanted.items()):
        return None
    return kind(**{name: content[name] for name in wanted})


def _key(head: str, dag_id: str, tenant: str) -> str:
    key = f"{head}__{dag_id}__{tenant}" if tenant else f"{head}__{dag_id}"
    if len(key) <= _KEY_CHARACTERS:
        return key
    return f"{key[: _KEY_CHARACTERS - 17]}_{sha256(key.encode()).hexdigest()[:16]}"
