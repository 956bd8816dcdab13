"""Connection type ``cassandra`` to the store of history and current incidents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from airflow_provider_atlan_meta.config.connections import CASSANDRA
from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.hooks.connections import connection_info

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.clients.cassandra import CassandraConfig, CassandraSession


class CassandraStoreHook(BaseHook):
    """Type ``cassandra`` of the Apache Cassandra provider; the schema is our keyspace."""

    conn_name_attr = "cassandra_conn_id"
    default_conn_name = CASSANDRA
    conn_type = "cassandra"
    hook_name = "Cassandra"

    def __init__(self, cassandra_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.cassandra_conn_id = cassandra_conn_id

    def config(self) -> CassandraConfig:
        """:raises ConfigurationError: unknown connection, or one without a host."""
        from airflow_provider_atlan_meta.clients.cassandra import CassandraConfig

        return CassandraConfig.from_connection(connection_info(self.cassandra_conn_id))

    def session(self) -> CassandraSession:
        """The caller closes it, e.g. by ``with``. It opens with the first statement; keyspace and tables are made."""
        from airflow_provider_atlan_meta.clients.cassandra import CassandraSession

        return CassandraSession(self.config())

    def test_connection(self) -> tuple[bool, str]:
        """Asks the cluster for its version."""
        try:
            with self.session() as session:
                return True, session.describe()
        except AtlanMetaError as error:
            return False, str(error)
