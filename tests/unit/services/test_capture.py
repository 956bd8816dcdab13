"""Change capture from Connect's answers and the database's, neither of them real."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from airflow_provider_atlan_meta.clients.connect import ConnectClient, ConnectConfig
from airflow_provider_atlan_meta.core.capture_health import SlotState
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.connector import OWED_SINCE
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError
from airflow_provider_atlan_meta.services import capture_recovery
from airflow_provider_atlan_meta.services.capture import (
    Capture,
    CaptureConnections,
    CaptureRequest,
    health_document,
)
from airflow_provider_atlan_meta.services.capture_recovery import recover_change_capture

NAME = "atlan-meta-changes"
SLOT = SlotState(active=True, wal_status="reserved", confirmed=100, restart=90, current=110)
CONNECT = ConnectionInfo(
    conn_id="connect",
    host="http://connect",
    extra={"database_password": "${file:/etc/meta.properties:password}"},
)
CDC = ConnectionInfo(
    conn_id="cdc",
    host="db",
    login="meta_cdc",
    password="hunter2",
    schema="meta",
    extra={"sslmode": "require"},
)
ADMIN = replace(CDC, conn_id="admin", login="postgres")


class World:
    """What Connect and the database are; a test changes it."""

    def __init__(self) -> None:
        self.slot: SlotState | None = SLOT
        self.missing: list[str] = []
        self.store_error: Exception | None = None
        self.connect_down = False
        self.state, self.task_states = "RUNNING", ["RUNNING"]
        self.config: dict[str, str] | None = None
        self.offset: dict[str, Any] | None = {
            "lsn": 100,
            "lsn_proc": 120,
            "lsn_commit": 110,
            "ts_usec": 5_000_000,
        }
        self.wrong: dict[str, list[str]] = {}
        self.refusals = 0
        self.asked: list[str] = []

    # Kafka Connect

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(f"/connectors/{NAME}")
        self.asked.append(f"{request.method} {path}")
        if self.connect_down:
            raise httpx.ConnectError("refused")
        if self.refusals:
            self.refusals -= 1
            return httpx.Response(409, json={"message": "rebalance"}, headers={"Retry-After": "0"})
        status, body = self._answer(request, path)
        return httpx.Response(status, json=body) if body is not None else httpx.Response(status)

    def _answer(self, request: httpx.Request, path: str) -> tuple[int, Any]:
        if path.endswith("/validate"):
            listed = [{"value": {"name": key, "errors": errors}} for key, errors in self.wrong.items()]
            return 200, {"configs": listed}
        if request.method == "PUT" and path == "/config":
            self.config = json.loads(request.content)
            return 200, {"config": self.config}
        if request.method != "GET":
            return 202, None
        if path == "/offsets":
            entries = [{"partition": {"server": "meta"}, "offset": self.offset}] if self.offset else []
            return 200, {"offsets": entries}
        if self.config is None:
            return 404, {"message": "not found"}
        if path == "/config":
            return 200, self.config
        tasks = [{"id": n, "state": state} for n, state in enumerate(self.task_states)]
        return 200, {"connector": {"state": self.state}, "tasks": tasks}

    # the database's side: what Capture asks of a session

    def store(self) -> Any:
        world = self

        class Session:
            def slot(self, _name: str) -> SlotState | None:
                return world.slot

            def missing(self, *_: str) -> list[str]:
                return world.missing

            def create_slot(self, _name: str) -> None:
                world.slot = SLOT

        if self.store_error:
            raise self.store_error
        return Session()


class FakeCapture(Capture):
    """A Capture in that world."""

    def __init__(self, world: World, connections: CaptureConnections | None = None) -> None:
        super().__init__(
            connections or CaptureConnections(connect=CONNECT, cdc=CDC), CaptureRequest(seconds=0.2)
        )
        self.client.close()
        config = ConnectConfig.from_connection(CONNECT)
        self.client = ConnectClient(config, httpx.MockTransport(world))
        self._world = world

    @contextlib.contextmanager
    def store(self) -> Iterator[Any]:
        yield self._world.store()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def capture(world: World) -> FakeCapture:
    return FakeCapture(world)


def test_one_look_tells_both_sides(world: World, capture: FakeCapture) -> None:
    world.config = {OWED_SINCE: "2026-11-25T00:00:00+00:00"}

    seen = capture.observe()

    assert (seen.slot, seen.captured, seen.captured_at) == (SLOT, 120, 5.0)
    assert seen.owed_since == "2026-11-25T00:00:00+00:00"
    assert seen.connector is not None


def test_what_does_not_answer_is_part_of_the_look(world: World, capture: FakeCapture) -> None:
    world.config = {}
    world.store_error = TransientError("refused")
    assert capture.observe().store_error == "refused"

    world.store_error, world.connect_down = None, True
    assert "no answer" in capture.observe().connect_error
    assert capture.observe().slot == SLOT


def test_a_plan_says_what_would_change_and_changes_nothing(world: World, capture: FakeCapture) -> None:
    world.slot, world.offset, world.missing = None, None, ["create publication meta_outbox"]

    plan = capture.plan()

    assert (plan.new_slot, plan.prepared, plan.health) == (True, ("create publication meta_outbox",), None)
    assert {change.name for change in plan.changed} == set(capture.profile())
    assert all(question.startswith("GET") for question in world.asked)


def test_the_connector_logs_in_as_the_cdc_connection_does_without_its_password(capture: FakeCapture) -> None:
    config = capture.profile()

    assert (config["database.hostname"], config["database.user"]) == ("db", "meta_cdc")
    assert config["database.sslmode"] == "require"
    assert config["database.password"] == "${file:/etc/meta.properties:password}"
    assert "hunter2" not in json.dumps(config)


def test_without_a_reference_to_the_password_nothing_is_applied(world: World) -> None:
    connect = replace(CONNECT, extra={})
    capture = FakeCapture(world, CaptureConnections(connect=connect, cdc=CDC))

    with pytest.raises(ConfigurationError, match=r"'connect' needs database_password.*\$\{file:"):
        capture.plan()


def test_without_a_superuser_the_sql_to_run_is_told(world: World, capture: FakeCapture) -> None:
    world.missing = ["create publication meta_outbox", "grant x"]

    with pytest.raises(
        ConfigurationError, match="let a superuser run: create publication meta_outbox; grant x"
    ):
        capture.apply()


def test_a_lost_slot_is_not_papered_over(world: World, capture: FakeCapture) -> None:
    world.config, world.slot = capture.profile(), None

    with pytest.raises(TerminalError, match="slot_dropped"):
        capture.apply()

    assert all(question.startswith("GET") for question in world.asked)


def test_what_connect_finds_wrong_is_told_by_key_and_not_sent(world: World, capture: FakeCapture) -> None:
    world.wrong = {"database.hostname": ["cannot reach it"]}

    with pytest.raises(ConfigurationError, match=r"database\.hostname: cannot reach it"):
        capture.apply()

    assert world.config is None


def test_a_connector_that_is_as_it_should_be_is_left_alone(world: World, capture: FakeCapture) -> None:
    world.config = capture.profile()

    with pytest.raises(TransientError, match="not healthy after"):
        capture.apply()  # this world's slot never moves

    assert all(question.startswith("GET") for question in world.asked)


@pytest.mark.parametrize(
    ("state", "tasks", "asked"),
    [
        ("STOPPED", [], "PUT /resume"),
        ("PAUSED", ["PAUSED"], "PUT /resume"),
        ("FAILED", [], "POST /restart"),
        ("RUNNING", ["RUNNING", "FAILED"], "POST /restart"),
        ("RUNNING", ["RUNNING"], None),
    ],
)
def test_starting_does_what_the_state_needs(
    world: World, capture: FakeCapture, state: str, tasks: list[str], asked: str | None
) -> None:
    world.config, world.state, world.task_states = {}, state, tasks

    capture.start()

    assert [question for question in world.asked if not question.startswith("GET")] == (
        [asked] if asked else []
    )


def test_a_rebalance_is_waited_out(world: World, capture: FakeCapture) -> None:
    world.config, world.state, world.refusals = {}, "PAUSED", 1
    capture.request = replace(capture.request, seconds=5)

    capture.start()

    assert world.asked[-1] == "PUT /resume"


def test_health_does_not_wait_for_what_will_not_pass(world: World, capture: FakeCapture) -> None:
    world.config, world.state, world.task_states = {}, "RUNNING", ["FAILED"]

    health = capture.health(60)

    assert health.state == "unhealthy"
    assert json.loads(json.dumps(health_document(health)))["captured_at"] == "1970-01-01T00:00:05+00:00"


# ---- recovery --------------------------------------------------------------------------------------------------------


@pytest.fixture
def recover(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    connections = CaptureConnections(connect=CONNECT, cdc=CDC, admin=ADMIN)
    monkeypatch.setattr(capture_recovery, "Capture", lambda *_: FakeCapture(world, connections))
    return lambda **options: recover_change_capture(connections, CaptureRequest(), **options)


def test_recovering_needs_a_superuser() -> None:
    with pytest.raises(ConfigurationError, match="atlan_meta_postgres_admin is not defined"):
        recover_change_capture(CaptureConnections(connect=CONNECT, cdc=CDC), CaptureRequest())


def test_a_slot_that_is_not_lost_is_left_alone(world: World, recover: Any) -> None:
    world.config = {}

    with pytest.raises(ConfigurationError, match="not lost"):
        recover(since=datetime(2026, 1, 1, tzinfo=UTC))


def test_without_a_time_that_anybody_knows_one_has_to_be_given(world: World, recover: Any) -> None:
    world.config, world.slot, world.offset = {}, replace(SLOT, wal_status="lost"), None

    with pytest.raises(ConfigurationError, match="give --since"):
        recover()


def test_nothing_is_thrown_away_while_one_side_is_away(world: World, recover: Any) -> None:
    world.connect_down = True

    with pytest.raises(TransientError, match="no answer"):
        recover()
