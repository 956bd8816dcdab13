"""Airflow's REST API, as far as the demo uses it."""

from __future__ import annotations

import json

import httpx
import pytest

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.sandbox.demo.airflow_rest import AirflowRest, TaskTry


class Airflow:
    """Answers by path; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.logins = 0
        self.answers: dict[str, object] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            self.logins += 1
            return httpx.Response(201, json={"access_token": f"token-{self.logins}"})
        if request.headers.get("authorization") != "Bearer token-2":
            return httpx.Response(401)
        path = request.url.raw_path.decode().removeprefix("/api/v2")
        self.asked.append((request.method, path))
        for known, answer in self.answers.items():
            if path.startswith(known):
                return httpx.Response(200, json=answer)
        return httpx.Response(404, json={"detail": f"no {path}"})


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def rest(airflow: Airflow) -> AirflowRest:
    return AirflowRest("http://airflow", "admin", "secret", transport=httpx.MockTransport(airflow))


def test_a_token_that_is_refused_is_asked_for_again(airflow: Airflow, rest: AirflowRest) -> None:
    airflow.answers = {"/dags/d/dagRuns/r": {"state": "running"}}
    assert rest.run_state("d", "r") == "running"
    assert airflow.logins == 2


def test_a_refusal_repeats_what_airflow_said(rest: AirflowRest) -> None:
    with pytest.raises(TransientError, match=r"404 to GET /dags/d/dagRuns/r: .*no /dags"):
        rest.run_state("d", "r")


def test_every_try_of_a_task_is_told_with_its_process(airflow: Airflow, rest: AirflowRest) -> None:
    entries = [
        {"try_number": 1, "state": "failed", "pid": 7},
        {"try_number": 2, "state": "success", "pid": 9},
    ]
    airflow.answers = {"/dags/d/dagRuns/r/taskInstances/t/tries": {"task_instances": entries}}
    assert rest.tries("d", "r", "t") == [TaskTry(1, "failed", 7), TaskTry(2, "success", 9)]


def test_a_log_is_its_messages(airflow: Airflow, rest: AirflowRest) -> None:
    content = [{"event": "first"}, "second", {"level": "info"}]
    airflow.answers = {"/dags/d/dagRuns/r/taskInstances/t/logs/1": {"content": content}}
    assert rest.log("d", "r", "t", 1) == ["first", "second", ""]


def test_runs_are_read_page_by_page(airflow: Airflow, rest: AirflowRest) -> None:
    page = {"dag_runs": [{"dag_run_id": "a"}], "total_entries": 2}
    airflow.answers = {"/dags/d/dagRuns": page}
    assert len(rest.runs("d", "2026-11-24T00:00:00Z")) == 2
    assert "offset=1" in airflow.asked[1][1]


def test_a_run_that_takes_too_long_is_told_as_it_is(airflow: Airflow, rest: AirflowRest) -> None:
    airflow.answers = {"/dags/d/dagRuns/r": {"state": "queued"}}
    assert rest.await_run("d", "r", seconds=0) == "queued"


def test_a_manual_run_carries_its_params(airflow: Airflow) -> None:
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "t"})
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"dag_run_id": "manual__1"})

    rest = AirflowRest("http://airflow", "admin", "secret", transport=httpx.MockTransport(answer))
    assert rest.trigger("d", {"max_records": 5}) == "manual__1"
    assert bodies == [{"logical_date": None, "conf": {"max_records": 5}}]
