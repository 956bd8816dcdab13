"""The change connector: what Kafka Connect is told, as a plain configuration.

Debezium reads one replication slot of the store's database, takes the logical messages with prefix ``outbox`` and
puts each on the changes topic: key ``tenant|id``, value the change as JSON text. It captures no table: its
publication is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_provider_atlan_meta.core.connect_config import refuse_inline_secrets

CONNECTOR = "atlan-meta-changes"
CONNECTOR_CLASS = "io.debezium.connector.postgresql.PostgresConnector"
SLOT = "meta_outbox"
PUBLICATION = "meta_outbox"
HEARTBEAT_MS = 2000
# In the connector's configuration while a recovery is under way; Connect and Debezium ignore it.
OWED_SINCE = "atlan.meta.owed.since"
MAX_MESSAGE_BYTES = 4 << 20
_RETENTION_MS = 14 * 86_400_000
_STRING = "org.apache.kafka.connect.storage.StringConverter"


@dataclass(frozen=True, kw_only=True)
class ChangeConnector:
    """Inputs of the profile.

    :param password: a reference such as ``${file:/etc/connect/meta.properties:password}``, resolved by the worker.
    :param tls: ``sslmode`` and so on, as libpq spells them.
    """

    host: str
    port: int
    user: str
    database: str
    password: str
    topic_prefix: str = "meta"
    partitions: int = 12
    replication: int = 3
    name: str = CONNECTOR
    slot: str = SLOT
    publication: str = PUBLICATION
    tls: Mapping[str, str] = field(default_factory=dict)


def profile(connector: ChangeConnector) -> dict[str, str]:
    """The whole configuration, every value a text.

    :raises ConfigurationError: the password is not a reference.
    """
    prefix = connector.topic_prefix
    config = {
        "connector.class": CONNECTOR_CLASS,
        "tasks.max": "1",
        "exactly.once.support": "required",
        "database.hostname": connector.host,
        "database.port": str(connector.port),
        "database.user": connector.user,
        "database.password": connector.password,
        "database.dbname": connector.database,
        **{f"database.{name}": value for name, value in sorted(connector.tls.items())},
        "topic.prefix": prefix,
        "slot.name": connector.slot,
        "publication.name": connector.publication,
        **_CAPTURE,
        **_ROUTE,
        "predicates.isMessage.pattern": _pattern(f"{prefix}.message"),
        "transforms.outbox.route.topic.replacement": f"{prefix}.${{routedByValue}}.v1",
        **_CREATED,
        "topic.creation.changes.include": _pattern(f"{prefix}.changes.v1"),
        "topic.creation.changes.partitions": str(connector.partitions),
        "topic.creation.changes.replication.factor": str(connector.replication),
    }
    refuse_inline_secrets(config)
    return config


def _pattern(topic: str) -> str:
    """A regular expression, as Java reads it, for exactly this name; topics are made of letters, digits, . _ -"""
    return topic.replace(".", "\\.")


_CAPTURE = {
    "plugin.name": "pgoutput",
    # nothing but logical messages: the publication is empty and the table does not exist
    "publication.autocreate.mode": "disabled",
    "table.include.list": "meta.none",
    "message.prefix.include.list": "outbox",
    "snapshot.mode": "no_data",
    "slot.failover": "true",
    # a killed worker's session may hold the slot for a moment
    "slot.max.retries": "30",
    "slot.retry.delay.ms": "1000",
    "poll.interval.ms": "10",
    "max.batch.size": "2048",
    "max.queue.size": "8192",
    # Writes into the log itself: moves the slot on while nothing changes, without a table. As a transaction: after a
    # restart Debezium looks for the next commit, and without one it stands still until somebody changes a row.
    "heartbeat.interval.ms": str(HEARTBEAT_MS),
    "heartbeat.action.query": "select pg_logical_emit_message(true, 'heartbeat', now()::text)",
    "status.update.interval.ms": "1000",
    "tombstones.on.delete": "false",
    # a database that is away for long must not need a hand afterwards; health tells of it
    "errors.max.retries": "-1",
    "retriable.restart.connector.wait.ms": "2000",
    # what a killed worker left open holds up its successor and every reader for so long, not for a minute
    "producer.override.transaction.timeout.ms": "10000",
    # the topic's limit, and what a request adds to a message
    "producer.override.max.request.size": str(MAX_MESSAGE_BYTES + (64 << 10)),
}
_ROUTE = {
    "key.converter": _STRING,
    "value.converter": _STRING,
    "transforms": "decode,outbox",
    "transforms.decode.type": "io.debezium.connector.postgresql.transforms.DecodeLogicalDecodingMessageContent",
    "transforms.decode.fields.null.include": "true",
    "transforms.decode.predicate": "isMessage",
    "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
    "transforms.outbox.predicate": "isMessage",
    "transforms.outbox.table.expand.json.payload": "false",
    # heartbeats pass untouched
    "predicates": "isMessage",
    "predicates.isMessage.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
}
# Topics that are missing: the changes as `atlan-meta topics create` makes them, heartbeats by the broker's defaults.
_CREATED = {
    "topic.creation.default.partitions": "1",
    "topic.creation.default.replication.factor": "-1",
    "topic.creation.groups": "changes",
    "topic.creation.changes.cleanup.policy": "delete",
    "topic.creation.changes.retention.ms": str(_RETENTION_MS),
    "topic.creation.changes.max.message.bytes": str(MAX_MESSAGE_BYTES),
}
