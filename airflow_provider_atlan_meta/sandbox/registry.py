"""Every server the sandbox knows. A new one joins by its file and its row here."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.sandbox import (
    airflow,
    airflow_db,
    atlas,
    cassandra,
    connect,
    consumer,
    ingest,
    kafka,
    producer,
    recorder,
    store,
)
from airflow_provider_atlan_meta.sandbox.server import Server

_ALL = (
    store.SERVER,
    kafka.SERVER,
    connect.SERVER,
    cassandra.SERVER,
    atlas.SERVER,
    recorder.SERVER,
    producer.SERVER,
    ingest.SERVER,
    consumer.SERVER,
    airflow_db.SERVER,
    airflow.SERVER,
)

SERVERS: dict[str, Server] = {server.name: server for server in _ALL}

# Names that stand for several.
ALL, SERVE, DEFAULT = "all", "serve", "default"
_SERVICES = ("producer", "ingest", "consumer")
GROUPS: dict[str, tuple[str, ...]] = {
    SERVE: _SERVICES,
    DEFAULT: ("postgres", "kafka", "connect", "recorder", *_SERVICES),
    ALL: tuple(SERVERS),
}


def expand(names: Iterable[str]) -> list[str]:
    """Groups replaced by their members, each name once.

    :raises ConfigurationError: a name nobody knows.
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in SERVERS and name not in GROUPS:
            raise ConfigurationError(f"no server {name!r}; there are {', '.join([*SERVERS, *GROUPS])}")
        found |= dict.fromkeys(GROUPS.get(name, (name,)))
    return list(found)


def with_needs(names: Iterable[str]) -> list[str]:
    """The names and everything they need or bring, needs first."""
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in ordered:
            return
        for needed in SERVERS[name].needs:
            visit(needed)
        ordered[name] = None
        for brought in SERVERS[name].brings:
            visit(brought)

    for name in names:
        visit(name)
    return list(ordered)
