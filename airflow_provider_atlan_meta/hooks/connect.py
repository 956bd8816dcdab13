"""Connection type ``atlan_meta_connect``: the REST API of Kafka Connect, and where its workers find a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from airflow_provider_atlan_meta.config.connections import CONNECT
from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.hooks.connections import connection_info

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.clients.connect import ConnectClient


class ConnectHook(BaseHook):
    """Connectors, their state and their offsets."""

    conn_name_attr = "connect_conn_id"
    default_conn_name = CONNECT
    conn_type = "atlan_meta_connect"
    hook_name = "Kafka Connect (Atlan Meta)"

    def __init__(self, connect_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.connect_conn_id = connect_conn_id

    def client(self) -> ConnectClient:
        """The caller closes it, e.g. by ``with``.

        :raises ConfigurationError: unknown connection, or one without a host.
        """
        from airflow_provider_atlan_meta.clients.connect import ConnectClient, ConnectConfig

        return ConnectClient(ConnectConfig.from_connection(connection_info(self.connect_conn_id)))

    def test_connection(self) -> tuple[bool, str]:
        """Asks a worker for its version and connectors."""
        try:
            with self.client() as client:
                return True, client.describe()
        except AtlanMetaError as error:
            return False, str(error)
