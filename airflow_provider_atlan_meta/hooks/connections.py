"""Airflow Connections as ConnectionInfo, the value every client is built from."""

from __future__ import annotations

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError


def connection_info(conn_id: str) -> ConnectionInfo:
    """Asks Airflow's secrets backends.

    :raises ConfigurationError: nobody knows the id.
    """
    try:
        return info_of(BaseHook.get_connection(conn_id))
    except AirflowNotFoundException:
        raise _undefined(conn_id) from None


def find_connection(conn_id: str) -> ConnectionInfo | None:
    """None: nobody knows the id."""
    try:
        return connection_info(conn_id)
    except ConfigurationError:
        return None


async def aconnection_info(conn_id: str) -> ConnectionInfo:
    """The same on an event loop (triggers)."""
    try:
        return info_of(await BaseHook.aget_connection(conn_id))
    except AirflowNotFoundException:
        raise _undefined(conn_id) from None


def info_of(connection: Connection) -> ConnectionInfo:
    """Every field, the extra as a dict."""
    return ConnectionInfo(
        conn_id=connection.conn_id,
        conn_type=connection.conn_type or "",
        host=connection.host or "",
        port=connection.port,
        login=connection.login or "",
        password=connection.password or "",
        schema=connection.schema or "",
        extra=connection.extra_dejson,
    )


def _undefined(conn_id: str) -> ConfigurationError:
    return ConfigurationError(
        f"Airflow knows no connection {conn_id!r}; add it under Admin > Connections or as "
        f"AIRFLOW_CONN_{conn_id.upper()}"
    )
