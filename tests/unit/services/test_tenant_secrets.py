"""Inbound secrets: from the tenant's own connection, remembered for a minute, never from anywhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.services import tenant_secrets
from airflow_provider_atlan_meta.services.tenant_secrets import InboundTenant, TenantSecrets, inbound_tenant


class Store:
    """Connections that count how often they are read."""

    def __init__(self, **extras: Mapping[str, Any]) -> None:
        self.extras = dict(extras)
        self.reads: list[str] = []
        self.broken = False
        self.now = 0.0
        self.heard: list[str] = []
        self.tenants = TenantSecrets(self.find, now=lambda: self.now, on_secrets=self.heard.extend)

    def find(self, conn_id: str) -> ConnectionInfo | None:
        self.reads.append(conn_id)
        if self.broken:
            raise ConfigurationError("file is broken")
        extra = self.extras.get(conn_id.removeprefix("atlan_meta_montecarlo_tenant_"))
        return None if extra is None else ConnectionInfo(conn_id=conn_id, extra=extra)

    def look_up(self, name: str) -> InboundTenant | None:
        return asyncio.run(self.tenants.find(name))


@pytest.mark.parametrize(
    ("extra", "secrets"),
    [
        ({"webhook_secret": "one"}, (b"one",)),
        ({"webhook_secret": ["new", "old"]}, (b"new", b"old")),
        ({"webhook_secret": "new", "webhook_secret_previous": "old"}, (b"new", b"old")),
        ({"webhook_secret": "Schlüssel"}, ("Schlüssel".encode(),)),
    ],
)
def test_one_secret_or_two_during_rotation(extra: Mapping[str, Any], secrets: tuple[bytes, ...]) -> None:
    assert inbound_tenant("acme", ConnectionInfo(conn_id="c", extra=extra)).secrets == secrets


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"webhook_secret": ""},
        {"webhook_secret": None},
        {"webhook_secret": 5},
        {"webhook_secret": []},
        {"webhook_secret": ["a", ""]},
        {"webhook_secret": ["a"] * 5},
        {"webhook_secret": {"a": 1}},
    ],
)
def test_a_connection_without_a_usable_secret_lets_nobody_in(extra: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="webhook_secret"):
        inbound_tenant("acme", ConnectionInfo(conn_id="c", extra=extra))
    assert Store(acme=extra).look_up("acme") is None


@pytest.mark.parametrize(("said", "disabled"), [(True, True), ("true", True), (False, False), ("no", False)])
def test_a_tenant_is_disabled_by_its_connection(said: object, disabled: bool) -> None:
    info = ConnectionInfo(conn_id="c", extra={"webhook_secret": "s", "disabled": said})
    assert inbound_tenant("acme", info).disabled is disabled


def test_known_and_unknown_tenants_are_read_once_a_minute() -> None:
    store = Store(acme={"webhook_secret": "s"})
    for _ in range(3):
        assert store.look_up("acme") is not None
        assert store.look_up("nobody") is None
    assert len(store.reads) == 2
    store.now = 60.0
    store.extras = {"nobody": {"webhook_secret": "s"}}
    assert store.look_up("acme") is None
    assert store.look_up("nobody") is not None
    assert len(store.reads) == 4


@pytest.mark.parametrize("name", ["", "A", "a", "9a", "a_b", "a" * 32, "acme\n", "../acme", "äcme"])
def test_a_name_without_a_tenants_form_is_not_even_looked_up(name: str) -> None:
    store = Store()
    assert store.look_up(name) is None
    assert store.reads == []


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_secrets, "_MAX_KNOWN", 2)
    monkeypatch.setattr(tenant_secrets, "_MAX_UNKNOWN", 2)
    store = Store(**{f"known{n}": {"webhook_secret": "s"} for n in range(5)})
    for n in range(5):
        store.look_up(f"known{n}")
        store.look_up(f"unknown{n}")
    reads = len(store.reads)
    for kind in ("known", "unknown"):
        store.look_up(f"{kind}4")
    assert len(store.reads) == reads
    store.look_up("known0")
    store.look_up("unknown0")
    assert len(store.reads) == reads + 2


def test_while_connections_cannot_be_read_known_tenants_stay_and_others_fail() -> None:
    store = Store(acme={"webhook_secret": "s"})
    store.look_up("acme")
    store.broken = True
    store.now = 61.0
    assert store.look_up("acme") is not None
    with pytest.raises(ConfigurationError, match="broken"):
        store.look_up("globex")


def test_a_hundred_webhooks_at_once_read_the_connection_once() -> None:
    store = Store(acme={"webhook_secret": "s"})

    async def burst() -> None:
        found = await asyncio.gather(*(store.tenants.find("acme") for _ in range(100)))
        assert all(tenant is not None for tenant in found)

    asyncio.run(burst())
    assert len(store.reads) == 1


def test_every_secret_read_is_told_to_the_log_mask() -> None:
    store = Store(acme={"webhook_secret": ["new", "old"]})
    store.look_up("acme")
    assert set(store.heard) == {"new", "old"}
    assert "new" not in repr(store.look_up("acme"))
