"""A Kafka connection is taken as it is, except for what would break a promise."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig, translate
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    ConfigurationError,
    RejectedError,
    TerminalError,
    TransientError,
)


def config(**extra: Any) -> KafkaConfig:
    return KafkaConfig.from_connection(
        ConnectionInfo(conn_id="k", conn_type="kafka", extra={"bootstrap.servers": "127.0.0.1:1", **extra})
    )


def test_options_of_consumer_groups_are_dropped_and_all_others_reach_librdkafka() -> None:
    options = config(**{"group.id": "g", "auto.offset.reset": "earliest", "security.protocol": "SASL_SSL"})
    assert options.options == {"bootstrap.servers": "127.0.0.1:1", "security.protocol": "SASL_SSL"}
    assert options.librdkafka()["security.protocol"] == "SASL_SSL"


def test_the_connections_option_wins_over_a_default() -> None:
    assert config(**{"linger.ms": 5}).librdkafka_producer(30)["linger.ms"] == "5"
    assert config(**{"enable.ssl.certificate.verification": True}).options[
        "enable.ssl.certificate.verification"
    ] == ("true")


def test_a_producer_is_idempotent_waits_for_all_replicas_and_partitions_as_java_does() -> None:
    made = config(acks="all", **{"enable.idempotence": True}).librdkafka_producer(2.5)
    assert made["acks"] == "all"
    assert made["enable.idempotence"] == "true"
    assert made["partitioner"] == "murmur2_random"
    assert made["message.timeout.ms"] == "2500"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("error_cb", "my.module.function"),
        ("oauth_cb", "my.module.function"),
        ("logger", "my.module.logger"),
        ("acks", 1),
        ("request.required.acks", "0"),
        ("enable.idempotence", False),
        ("partitioner", "random"),
        ("transactional.id", "x"),
        ("message.timeout.ms", 5),
        ("delivery.timeout.ms", 5),
    ],
)
def test_an_option_that_would_weaken_a_promise_is_refused_by_name(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=option):
        config(**{option: value})


def test_a_connection_without_brokers_says_what_to_write() -> None:
    with pytest.raises(ConfigurationError, match=r"bootstrap\.servers"):
        KafkaConfig.from_connection(ConnectionInfo(conn_id="k"))


def test_the_repr_shows_no_value_but_the_brokers() -> None:
    assert "geheim" not in repr(config(**{"sasl.password": "geheim"}))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KafkaError(KafkaError._ALL_BROKERS_DOWN), TransientError),
        (KafkaError(KafkaError._MSG_TIMED_OUT), TransientError),
        (KafkaError(KafkaError.NOT_ENOUGH_REPLICAS), TransientError),
        (KafkaError(KafkaError._FATAL), TransientError),
        (KafkaError(KafkaError._NOENT), TransientError),
        (KafkaError(KafkaError.BROKER_NOT_AVAILABLE, retriable=True), TransientError),
        (KafkaError(KafkaError.BROKER_NOT_AVAILABLE), TerminalError),
        (KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), TerminalError),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), ConfigurationError),
        (KafkaError(KafkaError.SASL_AUTHENTICATION_FAILED), ConfigurationError),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), RejectedError),
    ],
    ids=lambda value: value.name() if isinstance(value, KafkaError) else value.__name__,
)
def test_every_kafka_error_says_what_happens_next(error: KafkaError, kind: type[Exception]) -> None:
    ours = translate(KafkaException(error), "topic t")
    assert type(ours) is kind
    assert "topic t" in str(ours)
    assert error.name() in str(ours)


def test_a_kafka_exception_without_an_error_code_is_terminal() -> None:
    assert type(translate(KafkaException("odd"), "topic t")) is TerminalError
