"""Who is asked about a tenant's incidents, and for how long that is believed."""

from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.clients.montecarlo import MonteCarloClient, MonteCarloConfig
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.services.alert_sources import AlertSources
from airflow_provider_atlan_meta.testing.clock import ManualClock

CONN_ID = "atlan_meta_montecarlo_tenant_acme"


class Desk:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.connections: dict[str, ConnectionInfo] = {}
        self.reads = 0
        self.closed: list[str] = []
        self.trouble: ConfigurationError | None = None
        self.sources = AlertSources(self.find, connect=self.connect, clock=self.clock)

    def find(self, conn_id: str) -> ConnectionInfo | None:
        self.reads += 1
        if self.trouble is not None:
            raise self.trouble
        return self.connections.get(conn_id)

    def connect(self, config: MonteCarloConfig) -> MonteCarloClient:
        closed = self.closed

        class Client(MonteCarloClient):
            def close(self) -> None:
                closed.append(config.key_id)
                super().close()

        return Client(config)

    def key(self, key_id: str, conn_id: str = CONN_ID) -> None:
        self.connections[conn_id] = ConnectionInfo(
            conn_id=conn_id, login=key_id, password="token", extra={"webhook_secret": "secret"}
        )

    def expire(self) -> None:
        self.clock.advance(60.1)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_tenant_with_an_api_key_is_asked_about_with_it(desk: Desk) -> None:
    desk.key("mine")

    client = desk.sources("acme")

    assert client is not None
    assert desk.sources("acme") is client
    assert desk.reads == 1


def test_a_tenant_that_only_has_a_webhook_secret_is_not_asked_about(desk: Desk) -> None:
    desk.connections[CONN_ID] = ConnectionInfo(conn_id=CONN_ID, extra={"webhook_secret": "secret"})

    assert desk.sources("acme") is None
    assert desk.sources("zeta") is None


def test_the_key_of_the_default_connection_is_nobody_s_own(desk: Desk) -> None:
    desk.key("shared", "atlan_meta_montecarlo_default")

    assert desk.sources("acme") is None


def test_a_key_that_is_added_or_taken_away_counts_within_a_minute(desk: Desk) -> None:
    assert desk.sources("acme") is None
    desk.key("mine")
    assert desk.sources("acme") is None

    desk.expire()
    assert desk.sources("acme") is not None

    del desk.connections[CONN_ID]
    desk.expire()
    assert desk.sources("acme") is None
    assert desk.closed == ["mine"]


def test_a_connection_that_says_the_same_keeps_its_client_and_its_count_of_calls(desk: Desk) -> None:
    desk.key("mine")
    client = desk.sources("acme")

    desk.expire()

    assert desk.sources("acme") is client
    assert desk.reads == 2


def test_a_rotated_key_is_used_and_the_old_client_is_closed(desk: Desk) -> None:
    desk.key("old")
    client = desk.sources("acme")
    desk.key("new")
    desk.expire()

    assert desk.sources("acme") is not client
    assert desk.closed == ["old"]


@pytest.mark.parametrize("is_read", [True, False])
def test_while_a_connection_is_of_no_use_what_was_known_stays(desk: Desk, is_read: bool) -> None:
    desk.key("mine")
    client = desk.sources("acme")
    if is_read:
        desk.connections[CONN_ID] = ConnectionInfo(
            conn_id=CONN_ID, extra={"client_id": "c", "client_secret": "s"}
        )
    else:
        desk.trouble = ConfigurationError("the file is away")
    desk.expire()

    assert desk.sources("acme") is client
    assert desk.closed == []


def test_closing_closes_every_client(desk: Desk) -> None:
    desk.key("mine")
    desk.sources("acme")

    desk.sources.close()

    assert desk.closed == ["mine"]
