"""Kafka Connect's REST API, as the real worker answers, on a transport that is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_atlan_meta.clients.connect import ConnectClient, ConnectConfig
from airflow_provider_atlan_meta.core.capture_health import ConnectorState, TaskState
from airflow_provider_atlan_meta.core.connect_config import SourceOffset
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    TerminalError,
    TransientError,
)

REFERENCE = "${file:/etc/connect/meta.properties:password}"
CONFIG = {"connector.class": "io.debezium.X", "database.password": REFERENCE}


class Worker:
    """Answers what a test gives it and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        self.asked.append((request.method, path, json.loads(request.content or b"null")))
        answer = self.answers.get(f"{request.method} {path}", (404, {"message": f"{path} not found"}))
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return httpx.Response(status, json=body) if body is not None else httpx.Response(status)


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def client(worker: Worker) -> ConnectClient:
    config = ConnectConfig(conn_id="c", url="http://connect:8083", login="me", password="hunter2")
    return ConnectClient(config, httpx.MockTransport(worker))


# ---- connection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "connect", "port": 8083}, "http://connect:8083"),
        ({"host": "http://connect/", "port": 8083}, "http://connect:8083"),
        ({"host": "https://connect.example/path"}, "https://connect.example/path"),
        ({"host": "connect", "schema": "https", "port": 443}, "https://connect:443"),
    ],
)
def test_the_host_is_a_name_or_a_url(fields: dict[str, Any], url: str) -> None:
    assert ConnectConfig.from_connection(ConnectionInfo(conn_id="c", **fields)).url == url


def test_a_connection_without_a_host_is_told_what_goes_there() -> None:
    with pytest.raises(ConfigurationError, match=r"'c' needs a host.*http://connect:8083"):
        ConnectConfig.from_connection(ConnectionInfo(conn_id="c"))


def test_a_timeout_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not a number"):
        ConnectConfig.from_connection(ConnectionInfo(conn_id="c", host="h", extra={"timeout": "soon"}))


def test_certificates_that_cannot_be_read_name_the_connection() -> None:
    with pytest.raises(ConfigurationError, match="connection c: FileNotFoundError"):
        ConnectClient(ConnectConfig(conn_id="c", url="https://h", ca_file="/nonexistent"))


def test_the_password_is_in_no_repr() -> None:
    assert "hunter2" not in repr(ConnectConfig(conn_id="c", url="http://h", login="me", password="hunter2"))


# ---- calls ---------------------------------------------------------------------------------------------------------


def test_applying_puts_the_configuration_and_shows_no_secret_that_was_there(
    client: ConnectClient, worker: Worker
) -> None:
    # Connect echoes what it has, secrets included
    worker.answers["PUT /connectors/a%20b/config"] = (201, {"config": {"x.password": "hunter2", "y": "1"}})

    assert client.apply("a b", CONFIG) == {"x.password": "***", "y": "1"}
    assert worker.asked == [("PUT", "/connectors/a%20b/config", CONFIG)]


@pytest.mark.parametrize("call", [ConnectClient.apply, ConnectClient.validate])
def test_a_configuration_with_a_secret_is_never_sent(
    client: ConnectClient, worker: Worker, call: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.password"):
        call(client, "a", {**CONFIG, "database.password": "hunter2"})

    assert worker.asked == []


def test_the_configuration_somebody_else_put_there_is_masked(client: ConnectClient, worker: Worker) -> None:
    worker.answers["GET /connectors/a/config"] = {"name": "a", "database.password": "hunter2"}

    assert client.config("a") == {"name": "a", "database.password": "***"}
    assert client.config("other") is None


def test_validation_tells_what_is_wrong_by_key(client: ConnectClient, worker: Worker) -> None:
    worker.answers["PUT /connector-plugins/io.debezium.X/config/validate"] = {
        "error_count": 1,
        "configs": [
            {"value": {"name": "good", "errors": []}},
            {"value": {"name": "bad", "errors": ["cannot log in: password=hunter2"]}},
        ],
    }

    assert client.validate("a", CONFIG) == {"bad": ("cannot log in: password=***",)}
    assert worker.asked[0][2] == {"name": "a", **CONFIG}


def test_status_says_connector_and_tasks_with_the_first_line_of_a_trace(
    client: ConnectClient, worker: Worker
) -> None:
    worker.answers["GET /connectors/a/status"] = {
        "connector": {"state": "RUNNING", "worker_id": "w"},
        "tasks": [{"id": 0, "state": "FAILED", "trace": "Boom: password=hunter2 is wrong\n\tat java.lang"}],
    }

    assert client.status("a") == ConnectorState(
        state="RUNNING", tasks=(TaskState(id=0, state="FAILED", trace="Boom: password=*** is wrong"),)
    )
    assert client.status("other") is None


def test_each_change_of_state_is_one_call(client: ConnectClient, worker: Worker) -> None:
    for path, status in {"PUT pause": 202, "PUT resume": 202, "PUT stop": 204}.items():
        method, verb = path.split()
        worker.answers[f"{method} /connectors/a/{verb}"] = (status, None)
    worker.answers["POST /connectors/a/restart?includeTasks=true&onlyFailed=true"] = (202, {})
    worker.answers["DELETE /connectors/a"] = (204, None)

    client.pause("a")
    client.resume("a")
    client.stop("a")
    client.restart("a")

    assert client.delete("a") is True
    assert client.delete("other") is False
    assert len(worker.asked) == 6


NOW = {"offsets": [{"partition": {"server": "meta"}, "offset": {"lsn": 5, "ts_usec": 7}}]}


def test_offsets_are_read_changed_and_forgotten(client: ConnectClient, worker: Worker) -> None:
    worker.answers["GET /connectors/a/offsets"] = NOW
    worker.answers["PATCH /connectors/a/offsets"] = {"message": "ok"}
    worker.answers["DELETE /connectors/a/offsets"] = {"message": "ok"}

    assert client.offsets("a") == (SourceOffset({"server": "meta"}, {"lsn": 5, "ts_usec": 7}),)
    assert client.offsets("other") == ()
    client.alter_offsets("a", [SourceOffset({"server": "meta"}, {"lsn": 4})])
    client.delete_offsets("a")

    assert (
        "PATCH",
        "/connectors/a/offsets",
        {"offsets": [{"partition": {"server": "meta"}, "offset": {"lsn": 4}}]},
    ) in (worker.asked)


def test_an_offset_of_another_shape_is_never_sent(client: ConnectClient, worker: Worker) -> None:
    worker.answers["GET /connectors/a/offsets"] = NOW

    with pytest.raises(ConfigurationError, match="no partition"):
        client.alter_offsets("a", [SourceOffset({"sever": "meta"}, {"lsn": 4})])

    assert [method for method, *_ in worker.asked] == ["GET"]


def test_what_a_worker_is_takes_one_line(client: ConnectClient, worker: Worker) -> None:
    worker.answers["GET /"] = {"version": "4.3.1", "kafka_cluster_id": "abc"}
    worker.answers["GET /connector-plugins"] = [{"class": "io.debezium.PostgresConnector"}]

    assert client.describe() == "Kafka Connect 4.3.1 on cluster abc, connectors: PostgresConnector"


# ---- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((400, {"message": "m"}), ConfigurationError),
        ((401, None), ConfigurationError),
        ((403, {"message": "m"}), ConfigurationError),
        ((404, {"message": "m"}), ConfigurationError),
        ((409, {"message": "rebalance"}), TransientError),
        ((418, {"message": "m"}), TerminalError),
        ((302, None), TerminalError),
        ((500, {"message": "m"}), TransientError),
        ((503, ["no object"]), TransientError),
        (httpx.ConnectError("refused"), TransientError),
        (httpx.ReadTimeout("slow"), TransientError),
    ],
)
def test_every_failure_says_what_happens_next(
    client: ConnectClient, worker: Worker, answer: Any, kind: type[AtlanMetaError]
) -> None:
    worker.answers["PUT /connectors/a/stop"] = answer

    with pytest.raises(AtlanMetaError, match="Kafka Connect PUT /connectors/a/stop") as raised:
        client.stop("a")

    assert type(raised.value) is kind


def test_a_rebalance_asks_for_another_try_in_a_second(client: ConnectClient, worker: Worker) -> None:
    worker.answers["PUT /connectors/a/stop"] = (409, {"message": "rebalance"})

    with pytest.raises(TransientError) as raised:
        client.stop("a")

    assert raised.value.retry_after == 1.0


def test_another_service_at_that_address_is_told_apart() -> None:
    page = httpx.MockTransport(lambda _request: httpx.Response(200, text="<html>hello</html>"))
    client = ConnectClient(ConnectConfig(conn_id="c", url="http://h"), page)

    with pytest.raises(TerminalError, match="is http://h Kafka Connect"):
        client.status("a")


def test_a_refusal_repeats_no_secret(client: ConnectClient, worker: Worker) -> None:
    worker.answers["PUT /connectors/a/config"] = (400, {"message": "password=hunter2 is wrong"})

    with pytest.raises(ConfigurationError) as raised:
        client.apply("a", CONFIG)

    assert "hunter2" not in str(raised.value)
