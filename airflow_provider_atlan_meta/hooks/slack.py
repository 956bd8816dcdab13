"""Slack connection to client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_atlan_meta.hooks.connections import connection_info

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.clients.slack import SlackClient


def slack_client(conn_id: str) -> SlackClient:
    """:raises ConfigurationError: unknown connection, or one without a token."""
    from airflow_provider_atlan_meta.clients.slack import SlackClient, SlackConfig

    return SlackClient(SlackConfig.from_connection(connection_info(conn_id)))
