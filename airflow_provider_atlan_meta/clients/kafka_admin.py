"""Questions to a Kafka cluster that read no record and join no group."""

from __future__ import annotations

import time

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig, translate
from airflow_provider_atlan_meta.core.errors import TransientError

_REQUEST_SECONDS = 5.0
_PARTITIONS_KNOWN_FOR_SECONDS = 60.0


class EndOffsets:
    """Looks at the last stable offset of every partition of a topic: one request per leader and look.

    Blocking, for one thread at a time. Partitions that were added are seen within a minute.
    """

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._topic = topic
        self._admin: AdminClient | None = _admin(config)
        self._partitions: list[TopicPartition] = []
        self._look_up_at = 0.0

    def read(self) -> dict[int, int]:
        """Partition to end offset (exclusive; transactions that are open are not in it).

        :raises TransientError: the cluster does not answer.
        :raises TerminalError: the topic does not exist, or the principal may not see it.
        """
        if self._admin is None:
            raise TransientError(f"the watch of {self._topic} is closed")
        try:
            if time.monotonic() >= self._look_up_at:
                self._partitions = _partitions(self._admin, self._topic)
                self._look_up_at = time.monotonic() + _PARTITIONS_KNOWN_FOR_SECONDS
            answers = self._admin.list_offsets(
                {partition: OffsetSpec.latest() for partition in self._partitions},  # type: ignore[no-untyped-call]
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=_REQUEST_SECONDS,
            )
            return {partition.partition: answer.result().offset for partition, answer in answers.items()}
        except KafkaException as error:
            raise translate(error, f"end offsets of {self._topic}") from error

    def close(self) -> None:
        """Blocks while the client's own threads end."""
        self._admin = None


def describe_cluster(config: KafkaConfig) -> str:
    """One line for people: proves that the brokers answer and the credentials are good.

    :raises AtlanMetaError: they do not.
    """
    try:
        metadata = _admin(config).list_topics(timeout=_REQUEST_SECONDS)
    except KafkaException as error:
        raise translate(error, "list of topics") from error
    return f"cluster {metadata.cluster_id}: {len(metadata.brokers)} brokers, {len(metadata.topics)} topics"


def _admin(config: KafkaConfig) -> AdminClient:
    """Its own log lines are off: what fails is raised, and a watcher may look at a dead cluster for days."""
    try:
        return AdminClient({"log_level": 2, **config.librdkafka()})
    except KafkaException as error:
        raise translate(error, f"connection {config.conn_id}") from error


def _partitions(admin: AdminClient, topic: str) -> list[TopicPartition]:
    metadata = admin.list_topics(topic, timeout=_REQUEST_SECONDS).topics[topic]
    if metadata.error is not None:
        raise translate(metadata.error, f"topic {topic}")
    return [TopicPartition(topic, number) for number in sorted(metadata.partitions)]
