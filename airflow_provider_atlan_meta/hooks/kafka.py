"""Kafka connection to client configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from airflow_provider_atlan_meta.config.connections import KAFKA
from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.hooks.connections import connection_info

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.clients.kafka import KafkaConfig


class KafkaHook(BaseHook):
    """Type ``kafka`` of the Apache Kafka provider: the extra is librdkafka's configuration."""

    conn_name_attr = "kafka_conn_id"
    default_conn_name = KAFKA
    conn_type = "kafka"
    hook_name = "Apache Kafka"

    def __init__(self, kafka_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.kafka_conn_id = kafka_conn_id

    def config(self) -> KafkaConfig:
        """:raises ConfigurationError: unknown connection, or one without ``bootstrap.servers``."""
        from airflow_provider_atlan_meta.clients.kafka import KafkaConfig

        return KafkaConfig.from_connection(connection_info(self.kafka_conn_id))

    def test_connection(self) -> tuple[bool, str]:
        """Asks the cluster for its brokers."""
        from airflow_provider_atlan_meta.clients.kafka_admin import describe_cluster

        try:
            return True, describe_cluster(self.config())
        except AtlanMetaError as error:
            return False, str(error)
