"""Airflow as its users see it: the few calls of REST API v2 that the demo makes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from airflow_provider_atlan_meta.core.errors import TransientError

# The first requests of a fresh api-server take this long on a small machine.
_ANSWER_SECONDS = 60.0
_POLL_SECONDS = 0.5
_FINAL = ("success", "failed")


@dataclass(frozen=True)
class TaskTry:
    """One try of a task instance, as ``.../tries`` tells it."""

    number: int
    state: str
    pid: int | None


class AirflowRest:
    """One logged-in user."""

    def __init__(
        self, url: str, user: str, password: str, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(base_url=url, timeout=_ANSWER_SECONDS, trust_env=False, transport=transport)
        self._credentials = {"username": user, "password": password}

    def __enter__(self) -> AirflowRest:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """:raises TransientError: Airflow refused or did not answer; the text repeats what it said."""
        for fresh in (False, True):
            if fresh or "authorization" not in self._http.headers:
                token = self._http.post("/auth/token", json=self._credentials).json()["access_token"]
                self._http.headers["authorization"] = f"Bearer {token}"
            try:
                answer = self._http.request(method, f"/api/v2{path}", json=body)
            except httpx.TransportError as error:
                raise TransientError(f"Airflow did not answer {method} {path}: {error}") from error
            if answer.status_code != 401:
                break
        if answer.is_error:
            raise TransientError(
                f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}"
            )
        document: dict[str, Any] = answer.json()
        return document

    def set_paused(self, dag: str, paused: bool) -> None:
        self.call("PATCH", f"/dags/{dag}", {"is_paused": paused})

    def await_dag(self, dag: str, seconds: float = 90.0) -> None:
        """Returns when the DAG processor has brought the DAG.

        :raises TransientError: it did not within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.call("GET", f"/dags/{dag}")
            except TransientError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return

    def trigger(self, dag: str, conf: dict[str, Any] | None = None) -> str:
        """A manual run; its id."""
        run = self.call("POST", f"/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf or {}})
        return str(run["dag_run_id"])

    def runs(self, dag: str, since: str) -> list[dict[str, Any]]:
        """Runs queued at ``since`` (ISO time) or later, oldest first."""
        found: list[dict[str, Any]] = []
        while True:
            window = quote(since, safe="")
            query = f"order_by=id&limit=100&offset={len(found)}&run_after_gte={window}"
            page = self.call("GET", f"/dags/{dag}/dagRuns?{query}")
            found += page["dag_runs"]
            if not page["dag_runs"] or len(found) >= page["total_entries"]:
                return found

    def run_state(self, dag: str, run: str) -> str:
        return str(self.call("GET", f"/dags/{dag}/dagRuns/{run}")["state"])

    def await_run(self, dag: str, run: str, seconds: float) -> str:
        """Its final state, or the one it is in when the time is up."""
        deadline = time.monotonic() + seconds
        while (state := self.run_state(dag, run)) not in _FINAL and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return state

    def await_idle(self, dag: str, seconds: float) -> bool:
        """Whether no task is queued, running or waiting for its next try any more."""
        deadline = time.monotonic() + seconds
        states = "&".join(f"state={state}" for state in ("scheduled", "queued", "running", "up_for_retry"))
        active = f"/dags/{dag}/dagRuns/~/taskInstances?{states}&limit=1"
        while self.call("GET", active)["total_entries"]:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def task(self, dag: str, run: str, task: str) -> dict[str, Any]:
        return self.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}")

    def tries(self, dag: str, run: str, task: str) -> list[TaskTry]:
        found = self.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/tries")["task_instances"]
        return [TaskTry(entry["try_number"], str(entry["state"]), entry.get("pid")) for entry in found]

    def log(self, dag: str, run: str, task: str, number: int) -> list[str]:
        """The messages of one try's log."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{number}?full_content=true"
        content = self.call("GET", path).get("content", [])
        return [str(line.get("event", "")) if isinstance(line, dict) else str(line) for line in content]
