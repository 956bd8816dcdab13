"""Whether a topic can take records now, and how safely it keeps them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig, translate
from airflow_provider_atlan_meta.core.errors import TransientError

PRODUCTION_REPLICATION = 3
PRODUCTION_MIN_INSYNC = 2
_REQUEST_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class TopicHealth:
    """A topic whose partitions all have leaders.

    :param replication: the lowest of its partitions.
    :param min_insync: None when the principal may not read the topic's configuration.
    """

    topic: str
    partitions: int
    replication: int
    min_insync: int | None

    def warnings(self) -> list[str]:
        """What is below production; accepted events could be lost with a broker."""
        found = []
        if self.replication < PRODUCTION_REPLICATION:
            found.append(
                f"{self.topic} has replication factor {self.replication}, production needs "
                f"{PRODUCTION_REPLICATION}: losing a broker may lose accepted events"
            )
        if self.min_insync is not None and self.min_insync < PRODUCTION_MIN_INSYNC:
            found.append(
                f"{self.topic} has min.insync.replicas {self.min_insync}, production needs "
                f"{PRODUCTION_MIN_INSYNC}: a record may be acknowledged by one broker alone"
            )
        return found


class TopicProbe:
    """Asks the brokers. Never creates a topic. Its client is made at the first look and kept."""

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._config = config
        self._topic = topic
        self._admin: AdminClient | None = None

    async def look(self) -> TopicHealth:
        """:raises AtlanMetaError: no broker answers, the topic is missing, or a partition has no leader."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> TopicHealth:
        try:
            if self._admin is None:
                self._admin = AdminClient({"log_level": 2, **self._config.librdkafka()})
            futures = self._admin.describe_topics(
                TopicCollection([self._topic]), request_timeout=_REQUEST_SECONDS
            )
            described = futures[self._topic].result()
        except KafkaException as error:
            raise translate(error, f"topic {self._topic}") from None
        headless = [partition.id for partition in described.partitions if partition.leader is None]
        if headless:
            raise TransientError(
                f"topic {self._topic}: no leader for partitions {headless}; an election is under way"
            )
        return TopicHealth(
            topic=self._topic,
            partitions=len(described.partitions),
            replication=min(len(partition.replicas) for partition in described.partitions),
            min_insync=self._min_insync(self._admin),
        )

    def _min_insync(self, admin: AdminClient) -> int | None:
        resource = ConfigResource(ConfigResource.Type.TOPIC, self._topic)
        try:
            entries = admin.describe_configs([resource], request_timeout=_REQUEST_SECONDS)[resource].result()
            return int(entries["min.insync.replicas"].value)
        except (KafkaException, KeyError, ValueError):
            return None
