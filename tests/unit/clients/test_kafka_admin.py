from __future__ import annotations

import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition

from airflow_provider_atlan_meta.clients import kafka_admin
from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_admin import EndOffsets, describe_cluster
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError

CONFIG = KafkaConfig("kafka", {"bootstrap.servers": "127.0.0.1:9"})


class FakeAdmin:
    def __init__(self, ends: dict[int, int]) -> None:
        self.ends = ends
        self.topic_error: KafkaError | None = None
        self.lookups = 0
        self.asked: dict[str, Any] = {}

    def list_topics(self, topic: str | None = None, timeout: float = 0) -> Any:
        self.lookups += 1
        known = SimpleNamespace(error=self.topic_error, partitions=dict.fromkeys(self.ends))
        return SimpleNamespace(topics={topic or "t": known}, brokers={1: None}, cluster_id="c1")

    def list_offsets(
        self, wanted: dict[TopicPartition, Any], **options: Any
    ) -> dict[TopicPartition, Future[Any]]:
        self.asked = options
        answers: dict[TopicPartition, Future[Any]] = {}
        for partition in wanted:
            answers[partition] = Future()
            answers[partition].set_result(SimpleNamespace(offset=self.ends[partition.partition]))
        return answers


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> FakeAdmin:
    fake = FakeAdmin({0: 5, 1: 0})
    monkeypatch.setattr(kafka_admin, "AdminClient", lambda _options: fake)
    return fake


def test_a_look_gives_the_end_of_every_partition_read_committed(admin: FakeAdmin) -> None:
    assert EndOffsets(CONFIG, "t").read() == {0: 5, 1: 0}
    assert admin.asked["isolation_level"] == IsolationLevel.READ_COMMITTED


def test_partitions_are_looked_up_once_a_minute_not_at_every_look(
    admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    reader = EndOffsets(CONFIG, "t")
    reader.read()
    admin.ends[2] = 9

    assert reader.read() == {0: 5, 1: 0}
    assert admin.lookups == 1

    now = 161.0
    assert reader.read() == {0: 5, 1: 0, 2: 9}


def test_an_unknown_topic_says_how_to_create_it(admin: FakeAdmin) -> None:
    admin.topic_error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)

    with pytest.raises(TerminalError, match="atlan-meta topics create"):
        EndOffsets(CONFIG, "t").read()


def test_a_cluster_that_is_away_is_transient(admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(FakeAdmin, "list_topics", away)

    with pytest.raises(TransientError):
        EndOffsets(CONFIG, "t").read()


def test_a_closed_reader_looks_no_more(admin: FakeAdmin) -> None:
    reader = EndOffsets(CONFIG, "t")
    reader.close()

    with pytest.raises(TransientError, match="closed"):
        reader.read()


def test_an_option_librdkafka_does_not_know_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigurationError):
        EndOffsets(KafkaConfig("kafka", {"bootstrap.servers": "x:9", "no.such.option": "1"}), "t")


def test_a_cluster_describes_itself_in_one_line(admin: FakeAdmin) -> None:
    assert describe_cluster(CONFIG) == "cluster c1: 1 brokers, 1 topics"
