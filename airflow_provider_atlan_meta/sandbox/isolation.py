"""Databases, topics and change connectors of one's own on a running sandbox, for tests and benchmarks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow_provider_atlan_meta.config.connections import (
    ATLAS,
    CASSANDRA,
    CONNECT,
    KAFKA,
    POSTGRES,
    POSTGRES_ADMIN,
    POSTGRES_CDC,
    POSTGRES_CONSUMER,
    POSTGRES_READER,
    Connections,
)
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.sandbox import environment, store
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.sandbox.postgres import admin_connection, create_database

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.services.capture import (
        CaptureConnections,
        CaptureOutcome,
        CaptureRequest,
    )

_ANSWER_SECONDS = 30
_PROBE_SECONDS = 0.05
_numbers = count(1)
# there is one of each, and it can follow one database only
_SHARED_STORES = environment.connection_variables({ATLAS: {}, CASSANDRA: {}}).keys()


@dataclass(frozen=True)
class Database:
    """A migrated database. ``environ`` holds the ``AIRFLOW_CONN_*`` that point to it."""

    name: str
    admin: ConnectionInfo
    ingest: ConnectionInfo
    consumer: ConnectionInfo
    reader: ConnectionInfo
    environ: dict[str, str] = field(repr=False)

    def dsn(self, info: ConnectionInfo) -> str:
        """For psycopg, as the role of ``info``."""
        login = f"user={info.login} password={info.password}"
        return f"host={info.host} port={info.port} {login} dbname={info.schema}"


@dataclass(frozen=True)
class Topics:
    """Topics under a prefix of their own. ``environ`` holds the prefix and the Kafka connection."""

    prefix: str
    events: str
    dead_letter: str
    changes: str
    kafka: ConnectionInfo
    environ: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class ChangeCapture:
    """A change connector from a database to topics, not applied yet. ``environ`` is that of both, and its names.

    :param topic: where its changes go, on the Kafka at ``bootstrap``.
    """

    topic: str
    bootstrap: str
    connections: CaptureConnections
    request: CaptureRequest
    environ: dict[str, str] = field(repr=False)

    def apply(self) -> CaptureOutcome:
        from airflow_provider_atlan_meta.services.capture import ensure_change_capture

        return ensure_change_capture(self.connections, self.request)


class Isolation:
    """Makes them, and takes them away at the end. postgres, or kafka, must run.

    :param keep: leave them: the sandbox itself goes next, and each ``drop database`` waits for a checkpoint.
    """

    def __init__(self, sandbox: Sandbox, *, keep: bool = False) -> None:
        self._sandbox = sandbox
        self._keep = keep
        self._template = f"template_{uuid4().hex[:8]}"
        self._databases: list[str] = []
        self._topics: list[str] = []
        self._captures: list[ChangeCapture] = []

    def __enter__(self) -> Isolation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._keep:
            self.close()

    def new_database(self) -> Database:
        """A copy of a database that was migrated once: some 50 ms."""
        from psycopg import sql

        home = self._sandbox.home
        if not self._databases:
            self._make_template()
        name = f"t{os.getpid()}_{next(_numbers)}"
        with admin_connection(home, store.NAME, "postgres") as connection:
            statement = sql.SQL("create database {} template {}")
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(self._template)))
        self._databases.append(name)
        environ = environment.connection_variables(store.connections(home, name))
        admin, ingest, consumer, reader = map(
            Connections(environ=environ).get, (POSTGRES_ADMIN, POSTGRES, POSTGRES_CONSUMER, POSTGRES_READER)
        )
        return Database(name, admin, ingest, consumer, reader, environ)

    def new_topics(self, partitions: int = 12) -> Topics:
        """Events, dead letters and changes under a new prefix; no store follows whoever works on them."""
        environ = {
            **{
                name: value for name, value in self._sandbox.variables().items() if name not in _SHARED_STORES
            },
            "AIRFLOW__ATLAN_META__TOPIC_PREFIX": f"t{uuid4().hex[:8]}",
            "AIRFLOW__ATLAN_META__TOPIC_PARTITIONS": str(partitions),
        }
        settings = Settings(environ)
        events, dead_letter, changes = map(settings.topic, ("events", "dead-letter", "changes"))
        self._create_topics([events, dead_letter, changes], partitions)
        kafka = Connections(settings, environ).get(KAFKA)
        return Topics(settings.text("topic_prefix"), events, dead_letter, changes, kafka, environ)

    def new_capture(self, database: Database, topics: Topics) -> ChangeCapture:
        """Connector and slot bear the database's name. connect must run."""
        from airflow_provider_atlan_meta.services.capture import CaptureConnections, CaptureRequest

        names = {"CONNECTOR": f"changes-{database.name}", "SLOT": f"changes_{database.name}"}
        environ = {
            **topics.environ,
            **self._sandbox.variables(),
            **database.environ,
            **{f"AIRFLOW__ATLAN_META__CAPTURE_{key}": name for key, name in names.items()},
        }
        environ |= {key: topics.environ[key] for key in topics.environ if "__TOPIC_" in key}
        settings = Settings(environ)
        connect, cdc, admin = map(Connections(settings, environ).get, (CONNECT, POSTGRES_CDC, POSTGRES_ADMIN))
        made = ChangeCapture(
            topics.changes,
            str(topics.kafka.extra["bootstrap.servers"]),
            CaptureConnections(connect=connect, cdc=cdc, admin=admin),
            CaptureRequest.from_settings(settings),
            environ,
        )
        self._captures.append(made)
        return made

    def remove_capture(self, capture: ChangeCapture) -> None:
        """Connector, position and slot, as far as their servers run."""
        from airflow_provider_atlan_meta.services.capture import Capture

        self._captures.remove(capture)
        with Capture(capture.connections, capture.request) as made:
            if self._sandbox.is_running("connect"):
                made.stop()
                made.client.delete_offsets(capture.request.connector)
                made.client.delete(capture.request.connector)
            if self._sandbox.is_running(store.NAME):
                with made.store() as session:
                    session.drop_slot(capture.request.slot)

    def close(self) -> None:
        """Drops what was made; a server that no longer runs is left alone."""
        from psycopg import sql

        for capture in list(self._captures):
            self.remove_capture(capture)
        if self._databases and self._sandbox.is_running(store.NAME):
            with admin_connection(self._sandbox.home, store.NAME, "postgres") as connection:
                for name in [*self._databases, self._template]:
                    statement = sql.SQL("drop database if exists {} with (force)")
                    connection.execute(statement.format(sql.Identifier(name)))
        if self._topics and self._sandbox.is_running("kafka"):
            client = self._admin()
            for future in client.delete_topics(self._topics).values():
                future.exception(_ANSWER_SECONDS)
        self._databases, self._topics = [], []

    def _make_template(self) -> None:
        from airflow_provider_atlan_meta.migrations import runner

        home = self._sandbox.home
        with admin_connection(home, store.NAME, "postgres") as connection:
            create_database(connection, self._template)
        environ = environment.connection_variables(store.connections(home, self._template))
        runner.migrate(Connections(environ=environ).get(POSTGRES_ADMIN))

    def _create_topics(self, names: list[str], partitions: int) -> None:
        from confluent_kafka.cimpl import NewTopic

        config = {"max.message.bytes": str(4 << 20), "cleanup.policy": "delete"}
        wanted = [NewTopic(name, partitions, 1, config=config) for name in names]
        client = self._admin()  # its answers die with it
        for future in client.create_topics(wanted).values():
            future.result(_ANSWER_SECONDS)
        self._topics += names
        for name in names:
            self._await_leaders(name, partitions)

    def _await_leaders(self, topic: str, partitions: int) -> None:
        """The controller calls a topic created before the broker leads all of it: what reads it at once may fail."""
        from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
        from airflow_provider_atlan_meta.clients.kafka_consumer import KafkaLog

        kafka = Connections(environ=self._sandbox.variables()).get(KAFKA)
        log = KafkaLog(KafkaConfig.from_connection(kafka), topic, to_end=True)
        try:
            until_answered(lambda: log.bounds(range(partitions)), _ANSWER_SECONDS)
        finally:
            log.close()

    def _admin(self) -> Any:
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": str(self._sandbox.fields()["kafka_bootstrap"])})


def until_answered(ask: Callable[[], object], seconds: float) -> None:
    """Asks until the answer is no error of ours; at the deadline that error is raised."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask()
        except AtlanMetaError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PROBE_SECONDS)
        else:
            return
