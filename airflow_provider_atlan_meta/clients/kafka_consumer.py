"""A topic read by position: the ``core.ports.RecordLog`` of Kafka."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig, translate
from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.ports import LogIdentity, Poll
from airflow_provider_atlan_meta.core.rows import LogRecord

REQUEST_SECONDS = 10.0


class KafkaLog:
    """One topic, assigned from the ledger: no group, no rebalance, nothing committed to Kafka.

    One thread. Reads committed records only; an offset the broker no longer has is an error, never a silent jump.

    :param to_end: report reached ends in ``Poll.ends``; costs one empty message per look.
    :param follows: the ends are not waited for: a look may take as long as nothing comes.
    """

    def __init__(self, config: KafkaConfig, topic: str, *, to_end: bool, follows: bool = False) -> None:
        self._config = config
        self._topic = topic
        self._to_end = to_end
        self._follows = follows
        self._admin: AdminClient | None = None
        self._consumer: Consumer | None = None

    def identify(self) -> LogIdentity:
        """:raises TerminalError: the topic does not exist."""
        try:
            admin = self._admin_client()
            cluster = admin.list_topics(self._topic, timeout=REQUEST_SECONDS)
            futures = admin.describe_topics(TopicCollection([self._topic]), request_timeout=REQUEST_SECONDS)
            described = futures[self._topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TerminalError(
                    f"topic {self._topic!r} does not exist; create it with `atlan-meta topics create`"
                ) from error
            raise translate(error, f"topic {self._topic}") from error
        return LogIdentity(
            cluster_id=str(cluster.cluster_id),
            topic=self._topic,
            topic_id=str(described.topic_id),
            partitions=tuple(sorted(partition.id for partition in described.partitions)),
        )

    def bounds(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        first = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        last = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {partition: (first[partition], last[partition]) for partition in partitions}

    def _offsets(self, partitions: Sequence[int], spec: OffsetSpec) -> dict[int, int]:
        try:
            futures = self._admin_client().list_offsets(
                {TopicPartition(self._topic, partition): spec for partition in partitions},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=REQUEST_SECONDS,
            )
            return {at.partition: future.result().offset for at, future in futures.items()}
        except KafkaException as error:
            raise translate(error, f"offsets of {self._topic}") from error

    def offsets_at(self, partitions: Sequence[int], moment: datetime) -> dict[int, int]:
        """partition -> first offset Kafka received at ``moment`` or later; the end where there is none."""
        found = self._offsets(partitions, OffsetSpec.for_timestamp(int(moment.timestamp() * 1000)))
        ends = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {partition: ends[partition] if offset < 0 else offset for partition, offset in found.items()}

    def assign(self, positions: Mapping[int, int]) -> None:
        try:
            self._consumer_client().assign(
                [TopicPartition(self._topic, partition, offset) for partition, offset in positions.items()]
            )
        except KafkaException as error:
            raise translate(error, f"topic {self._topic}") from error

    def poll(self, max_records: int, timeout_seconds: float) -> Poll:
        consumer = self._consumer_client()
        try:
            first = consumer.poll(timeout_seconds)
            messages = [] if first is None else [first, *consumer.consume(max_records - 1, 0)]
        except KafkaException as error:
            raise translate(error, f"topic {self._topic}") from error
        records: list[LogRecord] = []
        ends: dict[int, int] = {}
        for message in messages:
            failure = message.error()
            if failure is None:
                records.append(_record(message))
            elif failure.code() == KafkaError._PARTITION_EOF:
                ends[cast(int, message.partition())] = cast(int, message.offset())
            else:
                self._raise(message, failure)
        return Poll(records, ends)

    def _raise(self, message: Message, error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise TerminalError(
                f"{self._topic}/{message.partition()}: the ledger's offset is not in the log ({error.str()}). "
                "Nothing was skipped. Records below the log's start are gone from Kafka; see the troubleshooting page"
            )
        if error.retriable() or error.code() == KafkaError._ALL_BROKERS_DOWN:
            raise TransientError(
                f"{self._topic}: {error.str()}; nothing was lost, the ledger stands at the last commit"
            )
        raise translate(KafkaException(error), f"topic {self._topic}")

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = self._admin = None

    def _admin_client(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(self._config.librdkafka())
        return self._admin

    def _consumer_client(self) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(
                {
                    **self._config.librdkafka(),
                    # librdkafka wants a name; with assign() and no commits no group ever exists
                    "group.id": "atlan-meta-unused",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "isolation.level": "read_committed",
                    "auto.offset.reset": "error",
                    "enable.partition.eof": self._to_end,
                    # a backlog of any size stays in the broker: at most this much is held here
                    "queued.max.messages.kbytes": 16_384,
                    "fetch.max.bytes": 8_388_608,
                    # after the buffer was full, fetch on as soon as there is room; librdkafka would wait for a second
                    "fetch.queue.backoff.ms": 20,
                    # partitions that are read to their end must not hold back a fetch of the others
                    **({"fetch.wait.max.ms": 20} if self._to_end and not self._follows else {}),
                }
            )
        return self._consumer


def _record(message: Message) -> LogRecord:
    """A message without an error always has a place; its stub says otherwise."""
    return LogRecord(
        cast(int, message.partition()),
        cast(int, message.offset()),
        message.key(),
        message.value(),
        tuple(cast("list[tuple[str, bytes | None]]", message.headers() or [])),
    )
