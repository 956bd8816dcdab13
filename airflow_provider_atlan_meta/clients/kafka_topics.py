"""The topics of the product: made once, the same everywhere."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig, translate

_DAY_MS = 86_400_000
# name -> how long it is kept
RETENTION_DAYS = {"events": 14, "changes": 14, "dead-letter": 90}
MAX_MESSAGE_BYTES = 4 << 20
_REQUEST_SECONDS = 10.0


def create_topics(
    config: KafkaConfig,
    *,
    prefix: str,
    partitions: int,
    replication: int,
    names: tuple[str, ...] = tuple(RETENTION_DAYS),
) -> dict[str, bool]:
    """Creates what is missing; never changes a topic that is there.

    :return: topic -> whether it was created now.
    """
    admin = AdminClient(config.librdkafka())
    wanted = [
        NewTopic(
            f"{prefix}.{name}.v1",
            num_partitions=partitions,
            replication_factor=replication,
            config={
                "cleanup.policy": "delete",
                "retention.ms": str(RETENTION_DAYS[name] * _DAY_MS),
                "max.message.bytes": str(MAX_MESSAGE_BYTES),
                "min.insync.replicas": "2" if replication >= 3 else "1",
            },
        )
        for name in names
    ]
    created = {}
    for topic, future in admin.create_topics(wanted, request_timeout=_REQUEST_SECONDS).items():
        try:
            future.result()
            created[topic] = True
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise translate(error, f"creating topic {topic}") from error
            created[topic] = False
    return created
