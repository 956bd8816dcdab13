"""Whose connection a tenant is asked for with, and what one tenant's trouble does to the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from contract.montecarlo_recorder import MonteCarloRecorder, alert_id

from airflow_provider_atlan_meta.clients.montecarlo import MonteCarloClient
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError
from airflow_provider_atlan_meta.core.merging import IncidentKey, IncidentState
from airflow_provider_atlan_meta.core.ports import OutboundRecord
from airflow_provider_atlan_meta.services import poll
from airflow_provider_atlan_meta.services.poll import PollOutcome, PollRequest, poll_once

KAFKA = ConnectionInfo(conn_id="k", extra={"bootstrap.servers": "nowhere:1"})
POSTGRES = ConnectionInfo(conn_id="p", host="nowhere", schema="meta")
URL = "https://recorder/montecarlo"


class Rows:
    """No row but those that wait for the API's word."""

    waiting: tuple[str, ...] = ()

    def __init__(self, *_: Any, **__: Any) -> None:
        self.is_closed = False

    def read_incidents(self, keys: Sequence[IncidentKey]) -> dict[IncidentKey, IncidentState]:
        return {}

    def unconfirmed(self, tenant: str, limit: int) -> list[str]:
        return list(self.waiting)

    def close(self) -> None:
        self.is_closed = True


class Desk:
    """Connections, the API and the log of one test."""

    def __init__(self) -> None:
        self.api = MonteCarloRecorder()
        self.connections: dict[str, ConnectionInfo] = {}
        self.sent: list[OutboundRecord] = []
        self.cursors: dict[str, int] = {}

    def key(self, conn_id: str, **fields: Any) -> None:
        given = {"host": URL, "login": conn_id, "password": "t", **fields}
        self.connections[conn_id] = ConnectionInfo(conn_id=conn_id, **given)

    def poll(self, *tenants: str, **request: Any) -> PollOutcome:
        return poll_once(
            find=self.connections.get,
            kafka=KAFKA,
            postgres=POSTGRES,
            request=PollRequest(topic="t", tenants=tenants, **request),
            cursors=dict(self.cursors),
            moved=lambda tenant, updated_at: self.cursors.update({tenant: updated_at}),
        )

    def keys(self) -> list[bytes | None]:
        return [record.key for record in self.sent]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk()

    class Sender:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def send(self, records: Sequence[OutboundRecord]) -> None:
            desk.sent += records

    monkeypatch.setattr(poll, "KafkaSender", Sender)
    monkeypatch.setattr(poll, "PostgresPolledRows", Rows)
    monkeypatch.setattr(Rows, "waiting", ())
    monkeypatch.setattr(
        poll, "MonteCarloClient", lambda config: MonteCarloClient(config, transport=desk.api.transport())
    )
    desk.api.set({"id": alert_id(1)})
    return desk


def test_a_tenant_is_asked_for_with_its_own_key(desk: Desk) -> None:
    desk.key("atlan_meta_montecarlo_tenant_acme")
    desk.key("atlan_meta_montecarlo_default", host="https://elsewhere")

    done = desk.poll("acme")

    assert done.tenants[0].published == 1
    assert desk.keys() == [f"acme|{alert_id(1)}".encode()]


def test_nobody_is_asked_for_with_a_key_that_may_be_anothers(desk: Desk) -> None:
    desk.key("atlan_meta_montecarlo_tenant_acme", login="", password="", extra={"webhook_secret": "s"})
    desk.key("atlan_meta_montecarlo_default")

    with pytest.raises(ConfigurationError, match="no API key of tenant acme"):
        desk.poll("acme")
    assert desk.sent == []


def test_what_is_read_moves_the_cursor_and_what_is_asked_for_does_not(desk: Desk) -> None:
    desk.key("atlan_meta_montecarlo_tenant_acme")

    desk.poll("acme", since=datetime(2020, 1, 1, tzinfo=UTC))
    assert desk.cursors == {}
    desk.poll("acme")
    assert desk.cursors.keys() == {"acme"}


def test_an_older_alert_takes_no_cursor_back(desk: Desk) -> None:
    desk.key("atlan_meta_montecarlo_tenant_acme")
    desk.poll("acme")
    desk.cursors["acme"] += 1
    before = dict(desk.cursors)

    assert desk.poll("acme").tenants[0].found == 1
    assert desk.cursors == before


def test_one_tenants_trouble_is_told_after_the_others_had_their_turn(desk: Desk) -> None:
    desk.key("atlan_meta_montecarlo_tenant_acme", extra={"timeout": "never"})
    desk.key("atlan_meta_montecarlo_tenant_globex")

    with pytest.raises(ConfigurationError, match="atlan_meta_montecarlo_tenant_acme"):
        desk.poll("acme", "globex")

    assert desk.keys() == [f"globex|{alert_id(1)}".encode()]


def test_trouble_of_several_is_final_where_one_of_it_is(desk: Desk) -> None:
    for tenant in ("acme", "globex"):
        desk.key(f"atlan_meta_montecarlo_tenant_{tenant}")
    desk.api.script(mode="status", status=429, retry_after=30)
    desk.api.script(mode="status", status=503)
    with pytest.raises(TransientError, match=r"tenant acme: .*429.*; tenant globex: .*503") as raised:
        desk.poll("acme", "globex")
    assert raised.value.retry_after == 30.0

    desk.api.script(mode="status", status=429, retry_after=30)
    desk.api.script(mode="status", status=403)
    with pytest.raises(TerminalError, match=r"tenant globex: .*403"):
        desk.poll("acme", "globex")


def test_nobodys_key_is_said(desk: Desk) -> None:
    with pytest.raises(ConfigurationError, match="atlan_meta_montecarlo_tenant_acme"):
        desk.poll("acme")


def test_nobody_to_ask_for_is_said() -> None:
    with pytest.raises(ConfigurationError, match="poll_tenants"):
        PollRequest(topic="t", tenants=())
