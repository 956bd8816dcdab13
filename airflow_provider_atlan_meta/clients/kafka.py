"""What every Kafka client shares: the configuration out of a connection, and the translation of errors.

The connection is the Kafka provider's: conn_type ``kafka``, the extra is librdkafka's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    RejectedError,
    TerminalError,
    TransientError,
)

_CONNECT_TIMEOUT_MS = 3_000
_RECONNECT_MAX_MS = 1_000
_MAX_MESSAGE_BYTES = 4 << 20

# Belongs to a consumer group of somebody else's: positions are in the ledger, nothing is committed to Kafka.
_DROPPED = frozenset(
    {
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.remote.assignor",
        "auto.offset.reset",
        "auto.commit.interval.ms",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "isolation.level",
        "max.poll.interval.ms",
        "partition.assignment.strategy",
        "session.timeout.ms",
        "heartbeat.interval.ms",
    }
)
_CALLBACKS = frozenset(
    {
        "error_cb",
        "stats_cb",
        "throttle_cb",
        "oauth_cb",
        "log_cb",
        "logger",
        "on_commit",
        "on_delivery",
        "delivery_callback",
        "default.topic.config",
    }
)
# What the promise "accepted means kept" and the order per incident rest on.
_FIXED: Mapping[str, tuple[str, ...]] = {
    "acks": ("all", "-1"),
    "request.required.acks": ("all", "-1"),
    "enable.idempotence": ("true",),
    "partitioner": ("murmur2_random",),
}
_OWN_SETTING: Mapping[str, str] = {
    "delivery.timeout.ms": "delivery_timeout_seconds",
    "message.timeout.ms": "delivery_timeout_seconds",
}


@dataclass(frozen=True, repr=False)
class KafkaConfig:
    """Checked configuration; its repr shows names and addresses only."""

    conn_id: str
    options: Mapping[str, str]

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> KafkaConfig:
        """Drops what belongs to consumer groups; refuses what would weaken the promises.

        :raises ConfigurationError: no brokers, a callback, or an option that this package decides.
        """
        options = {name: _text(value) for name, value in info.extra.items() if name not in _DROPPED}
        if not options.get("bootstrap.servers"):
            raise ConfigurationError(
                f"connection {info.conn_id!r} names no Kafka brokers; put "
                '{"bootstrap.servers": "host:9092"} into its extra'
            )
        for name in options:
            _refuse(info.conn_id, name, options[name])
        return cls(info.conn_id, options)

    def librdkafka(self) -> dict[str, Any]:
        """For any client: the connection's options over defaults that soon find a broker that came back."""
        return {
            "client.id": "atlan-meta",
            "socket.connection.setup.timeout.ms": _CONNECT_TIMEOUT_MS,
            # paid once by every new client, before its first request: librdkafka's own default costs 50 ms
            "reconnect.backoff.ms": "5",
            "reconnect.backoff.max.ms": _RECONNECT_MAX_MS,
            "log.connection.close": "false",
            **self.options,
        }

    def librdkafka_producer(self, delivery_timeout_seconds: float) -> dict[str, Any]:
        """Idempotent, acknowledged by all in-sync replicas, one order for Python, Java and Flink."""
        return {
            "linger.ms": "0",
            **self.librdkafka(),
            "acks": "all",
            "enable.idempotence": "true",
            "partitioner": "murmur2_random",
            "message.timeout.ms": str(int(delivery_timeout_seconds * 1000)),
            "message.max.bytes": str(_MAX_MESSAGE_BYTES),
        }

    def __repr__(self) -> str:
        brokers = self.options["bootstrap.servers"]
        return f"KafkaConfig({self.conn_id!r}, {brokers!r}, option names={sorted(self.options)})"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refuse(conn_id: str, name: str, value: str) -> None:
    if name in _CALLBACKS:
        raise ConfigurationError(
            f"connection {conn_id!r}: {name!r} names Python code to import; remove it, callbacks are our own"
        )
    if name == "transactional.id":
        raise ConfigurationError(
            f"connection {conn_id!r}: remove 'transactional.id', no transactions are used"
        )
    if name in _FIXED and value.lower() not in _FIXED[name]:
        raise ConfigurationError(f"connection {conn_id!r}: {name}={value} would break a guarantee; remove it")
    if name in _OWN_SETTING:
        raise ConfigurationError(
            f"connection {conn_id!r}: remove {name!r}; [atlan_meta] {_OWN_SETTING[name]} decides it"
        )


_CHECK_BROKERS = "check that the brokers run and that 'bootstrap.servers' of the connection is right"
_CHECK_RIGHTS = "check the connection's credentials and the ACLs of its principal"
_CREATE_TOPICS = "run `atlan-meta topics create`"

_Kind = type[AtlanMetaError]
# By name: the codes that librdkafka makes itself are private attributes of KafkaError.
_ERRORS: Mapping[str, tuple[_Kind, str]] = {
    "_ALL_BROKERS_DOWN": (TransientError, _CHECK_BROKERS),
    "_TRANSPORT": (TransientError, _CHECK_BROKERS),
    "_RESOLVE": (TransientError, _CHECK_BROKERS),
    "_TIMED_OUT": (TransientError, _CHECK_BROKERS),
    "_MSG_TIMED_OUT": (TransientError, _CHECK_BROKERS),
    "_TIMED_OUT_QUEUE": (TransientError, _CHECK_BROKERS),
    "_QUEUE_FULL": (TransientError, "Kafka takes less than comes in; look at the brokers' load"),
    "_PURGE_QUEUE": (TransientError, "the client was closed before the record left"),
    "_PURGE_INFLIGHT": (TransientError, "the client was closed before the broker answered"),
    "REQUEST_TIMED_OUT": (TransientError, _CHECK_BROKERS),
    "NETWORK_EXCEPTION": (TransientError, _CHECK_BROKERS),
    "NOT_ENOUGH_REPLICAS": (
        TransientError,
        "fewer replicas are in sync than min.insync.replicas asks for",
    ),
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND": (
        TransientError,
        "fewer replicas are in sync than min.insync.replicas asks for",
    ),
    "LEADER_NOT_AVAILABLE": (TransientError, "an election is under way"),
    # "No leaders found": a broker that has just come back does not lead anything yet
    "_NOENT": (TransientError, "an election is under way"),
    "NOT_LEADER_FOR_PARTITION": (TransientError, "an election is under way"),
    "FENCED_LEADER_EPOCH": (TransientError, "an election is under way"),
    "UNKNOWN_LEADER_EPOCH": (TransientError, "an election is under way"),
    "OFFSET_NOT_AVAILABLE": (TransientError, "an election is under way"),
    "KAFKA_STORAGE_ERROR": (TransientError, "look at the broker's disks"),
    "_FATAL": (TransientError, "the client starts anew"),
    "OUT_OF_ORDER_SEQUENCE_NUMBER": (TransientError, "the client starts anew"),
    "UNKNOWN_PRODUCER_ID": (TransientError, "the client starts anew"),
    "INVALID_PRODUCER_EPOCH": (TransientError, "the client starts anew"),
    "UNKNOWN_TOPIC_OR_PART": (TerminalError, _CREATE_TOPICS),
    "_UNKNOWN_TOPIC": (TerminalError, _CREATE_TOPICS),
    "_UNKNOWN_PARTITION": (TerminalError, _CREATE_TOPICS),
    "TOPIC_AUTHORIZATION_FAILED": (ConfigurationError, _CHECK_RIGHTS),
    "GROUP_AUTHORIZATION_FAILED": (ConfigurationError, _CHECK_RIGHTS),
    "CLUSTER_AUTHORIZATION_FAILED": (ConfigurationError, _CHECK_RIGHTS),
    "SASL_AUTHENTICATION_FAILED": (ConfigurationError, _CHECK_RIGHTS),
    "_AUTHENTICATION": (ConfigurationError, _CHECK_RIGHTS),
    "_SSL": (ConfigurationError, "check the connection's ssl.* options"),
    "_INVALID_ARG": (ConfigurationError, "an option of the connection is not one librdkafka takes"),
    "MSG_SIZE_TOO_LARGE": (RejectedError, "raise max.message.bytes of the topic to 4 MiB"),
    "INVALID_RECORD": (RejectedError, "the broker does not take this record"),
}


def translate(error: KafkaException | KafkaError, what: str) -> AtlanMetaError:
    """Kafka's error as ours; one the table does not know is transient when librdkafka calls it retriable.

    :param what: the topic or call it happened to, for the text.
    """
    kafka_error = error if isinstance(error, KafkaError) else error.args[0]
    if not isinstance(kafka_error, KafkaError):
        return TerminalError(f"{what}: {kafka_error}")
    unknown = (TransientError if kafka_error.retriable() else TerminalError, "see the broker's log")
    kind, cure = _ERRORS.get(kafka_error.name(), unknown)
    text = f"{what}: {kafka_error.str()} ({kafka_error.name()}); {cure}"
    return RejectedError("Kafka refuses the record", detail=text) if kind is RejectedError else kind(text)
