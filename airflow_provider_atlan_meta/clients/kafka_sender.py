"""``core.ports.RecordSender`` on Kafka: a few records now and then, from a plain thread."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig, translate
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import OutboundRecord


class KafkaSender:
    """Connects at the first record; most processes never have one."""

    def __init__(self, config: KafkaConfig, *, delivery_timeout_seconds: float) -> None:
        self._config = config
        self._timeout = delivery_timeout_seconds
        self._producer: Producer | None = None

    def send(self, records: Sequence[OutboundRecord]) -> None:
        """Returns once Kafka has all of them with ``acks=all``.

        :raises TransientError: not all are acknowledged; some may be.
        """
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        try:
            if self._producer is None:
                self._producer = Producer(self._config.librdkafka_producer(self._timeout))
            for record in records:
                self._producer.produce(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    on_delivery=delivered,
                )
            left = self._producer.flush(self._timeout)
        except (KafkaException, BufferError) as error:
            raise TransientError(f"records for {records[0].topic} were not sent: {error}") from error
        if failures:
            raise translate(failures[0], records[0].topic)
        if left:
            raise TransientError(f"Kafka did not acknowledge {left} records for {records[0].topic}")
