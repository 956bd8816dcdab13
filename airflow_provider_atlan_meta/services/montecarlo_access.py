"""Which connection asks Monte Carlo for a tenant."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_atlan_meta.clients.montecarlo import has_api_credentials
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.tenancy import tenant_conn_id

# a connection by its id; None: nobody knows it
FindConnection = Callable[[str], ConnectionInfo | None]


def api_connection(tenant: str, find: FindConnection, default: str = "") -> ConnectionInfo:
    """The tenant's own where it has credentials of the API, else the default.

    :param default: empty: there is none, as what it tells of might be another tenant's.
    :raises ConfigurationError: neither is there.
    """
    own_id = tenant_conn_id("montecarlo", tenant)
    own = find(own_id)
    if own is not None and has_api_credentials(own):
        return own
    shared = find(default) if default else None
    if shared is None:
        instead = f", and there is no connection {default!r}" if default else ""
        raise ConfigurationError(
            f"connection {own_id!r} has no API key of tenant {tenant}{instead}; put its id into login and its "
            "token into password"
        )
    return shared
