"""What a sandbox tells others: connections, settings and addresses of its servers."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping

from airflow_provider_atlan_meta.core.tenancy import tenant_conn_id
from airflow_provider_atlan_meta.sandbox.home import Home, Tenant
from airflow_provider_atlan_meta.sandbox.processes import MARKER
from airflow_provider_atlan_meta.sandbox.registry import SERVERS

_SETTING_PREFIX = "AIRFLOW__ATLAN_META__"
_CONNECTION_PREFIX = "AIRFLOW_CONN_"


def variables(home: Home, names: Iterable[str] | None = None) -> dict[str, str]:
    """``AIRFLOW_CONN_*`` and ``AIRFLOW__ATLAN_META__*`` of the servers named; of all when None."""
    connections: dict[str, Mapping[str, object]] = {}
    for tenant in home.tenants:
        connections |= _of_tenant(tenant)
    settings: dict[str, str] = {}
    for name in SERVERS if names is None else names:
        offer = SERVERS[name].offer(home)
        connections |= offer.connections
        settings |= offer.settings
    return {
        **connection_variables(connections),
        **{f"{_SETTING_PREFIX}{key.upper()}": value for key, value in settings.items()},
    }


def _of_tenant(tenant: Tenant) -> dict[str, Mapping[str, object]]:
    """The connections that hold what proves its webhooks."""
    return {
        tenant_conn_id("montecarlo", tenant.id): {
            "conn_type": "atlan_meta_montecarlo",
            "extra": {"webhook_secret": tenant.montecarlo_webhook_secret},
        },
        tenant_conn_id("atlan", tenant.id): {
            "conn_type": "atlan_meta_atlas",
            "extra": {"dialect": "atlan", "webhook_secret": tenant.atlan_webhook_secret},
        },
    }


def connection_variables(connections: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Connections by id as ``AIRFLOW_CONN_<ID>``, in Airflow's JSON form."""
    return {f"{_CONNECTION_PREFIX}{conn_id.upper()}": json.dumps(c) for conn_id, c in connections.items()}


def process_environ(home: Home) -> dict[str, str]:
    """The environment of our own processes: the caller's, without foreign connections and settings."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if key != MARKER and not key.startswith((_CONNECTION_PREFIX, "AIRFLOW__"))
    }
    return {
        **inherited,
        # loopback is never behind a proxy
        "no_proxy": "127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONUNBUFFERED": "1",
        "AIRFLOW_HOME": str(home.path / "airflow"),
        **variables(home),
    }


def fields(home: Home, running: Iterable[str]) -> dict[str, object]:
    """``sandbox env --format json``: one flat object, of what runs."""
    document: dict[str, object] = {}
    for name in running:
        document |= SERVERS[name].offer(home).fields
    document["tenants"] = [tenant.to_dict() for tenant in home.tenants]
    return document


def shell(home: Home, running: Iterable[str]) -> str:
    """``sandbox env --format shell``: lines for ``eval``."""
    names = list(running)
    texts = {
        key.upper(): value if isinstance(value, str) else json.dumps(value)
        for key, value in fields(home, names).items()
    }
    return "\n".join(
        f"export {key}={shlex.quote(value)}" for key, value in (texts | variables(home, names)).items()
    )
