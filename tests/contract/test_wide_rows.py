"""Cassandra and its fake keep one contract."""

from __future__ import annotations

import dataclasses
import re
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from typing import Any, TypeVar
from uuid import UUID

import pytest
from contract.wide_rows import Bench, Copy, Told, WideRowsContract, as_told, incident, uuids

from airflow_provider_atlan_meta.clients.cassandra import CassandraConfig, CassandraSession
from airflow_provider_atlan_meta.clients.cassandra_sinks import CassandraHistorySink, CassandraStateSink
from airflow_provider_atlan_meta.config.connections import CASSANDRA, Connections
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS
from airflow_provider_atlan_meta.core.stores import HistorySink, Landing, StateSink
from airflow_provider_atlan_meta.hooks.cassandra import CassandraStoreHook
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.testing.memory_cassandra import (
    MemoryCassandra,
    MemoryHistorySink,
    MemoryStateSink,
)

BACK_SECONDS = 20
Result = TypeVar("Result")

# ---- the fake --------------------------------------------------------------------------------------------------------


class MemoryBench:
    def __init__(self) -> None:
        self.tables = MemoryCassandra()
        self._away = MemoryCassandra()
        self._away.is_up = False

    def sink(self) -> StateSink:
        return MemoryStateSink(self.tables)

    def history(self) -> HistorySink:
        return MemoryHistorySink(self.tables)

    def copies(self, tenant: str, incident: str) -> list[Copy]:
        found = self.tables.incidents(tenant).get(incident)
        return [] if found is None else [Copy(*found)]

    def write_times(self, tenant: str, incident: str) -> Any:
        return [copy.revision for copy in self.copies(tenant, incident)]

    def told(self, tenant: str, entity: bytes) -> list[Told]:
        return [
            as_told(one.event, one.month)._replace(when=one.write_time)
            for one in self.tables.history(tenant, entity)
        ]

    def sink_away(self) -> StateSink:
        return MemoryStateSink(self._away)

    def history_away(self) -> HistorySink:
        return MemoryHistorySink(self._away)


class TestMemoryCassandra(WideRowsContract):
    @pytest.fixture
    def bench(self) -> Bench:
        return MemoryBench()


# ---- the real one ----------------------------------------------------------------------------------------------------

_CELLS = ", ".join(f"{name}, writetime({name})" for name in (*INCIDENT_FIELDS, "revision", "content_hash"))


class CassandraBench:
    """Sinks on the sandbox's node, and its tables as anybody reads them."""

    def __init__(self, config: CassandraConfig) -> None:
        self.config = config
        self._reader = CassandraSession(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self._nowhere = dataclasses.replace(config, port=port)
        self._sink, self._history = CassandraStateSink(config), CassandraHistorySink(config)
        self._closed: list[StateSink | HistorySink] = [self._sink, self._history]

    def sink(self) -> StateSink:
        return self._sink

    def history(self) -> HistorySink:
        return self._history

    def _incident(self, tenant: str, incident: str, columns: str) -> list[Any]:
        """By looking everywhere: the table of days is ours to doubt."""
        query = f"select first_seen_day, {columns} from {{keyspace}}.incident_by_day"
        where = " where tenant_id = ? and incident_id = ? allow filtering"
        return self._reader.rows(query + where, tenant, incident)

    def copies(self, tenant: str, incident: str) -> list[Copy]:
        columns = ", ".join(("revision", "content_hash", *INCIDENT_FIELDS))
        return [
            Copy(row[0].date(), row[1], row[2], _values(row[3:]))
            for row in self._incident(tenant, incident, columns)
        ]

    def write_times(self, tenant: str, incident: str) -> Any:
        return self._incident(tenant, incident, _CELLS)

    def told(self, tenant: str, entity: bytes) -> list[Told]:
        rows = self._reader.rows(
            "select month, event_key, event_id, source, type, subject, occurred_at, received_at, payload,"
            " writetime(payload), writetime(source), writetime(event_id) from {keyspace}.event_by_entity"
            " where tenant_id = ? and entity_id = ? and month in (202612, 202611)",
            *(tenant, UUID(bytes=entity)),
        )
        assert all(row[9] == row[10] == row[11] for row in rows)
        return [
            Told(*row[:2], row[2].bytes, row[3:6], _ms(row[6]), _ms(row[7]) or 0, row[8].encode(), row[9])
            for row in sorted(rows, key=lambda row: -row.month)
        ]

    def sink_away(self) -> StateSink:
        return self._closing(CassandraStateSink(self._nowhere))

    def history_away(self) -> HistorySink:
        return self._closing(CassandraHistorySink(self._nowhere))

    def _closing(self, made: Any) -> Any:
        self._closed.append(made)
        return made

    def close(self) -> None:
        for one in self._closed:
            one.close()
        self._reader.close()


def _values(row: Any) -> dict[str, Any]:
    values = dict(zip(INCIDENT_FIELDS, row, strict=True))
    for name in ("opened_at", "updated_at", "resolved_at"):
        values[name] = values[name] and values[name].replace(tzinfo=UTC)
    return {**values, "entity_ids": uuids(values["entity_ids"])}


def _ms(moment: Any) -> int | None:
    return None if moment is None else round(moment.replace(tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def node(sandbox: Sandbox) -> Sandbox:
    sandbox.up(["cassandra"])
    return sandbox


@pytest.fixture(scope="module")
def cassandra(node: Sandbox) -> Iterator[CassandraBench]:
    info = Connections(environ=node.variables()).get(CASSANDRA)
    bench = CassandraBench(CassandraConfig.from_connection(info))
    yield bench
    bench.close()


@pytest.mark.integration
class TestCassandra(WideRowsContract):
    @pytest.fixture
    def bench(self, cassandra: CassandraBench) -> Bench:
        return cassandra

    def test_the_connection_test_of_the_hook_proves_the_keyspace(
        self, node: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in node.variables().items():
            monkeypatch.setenv(name, value)

        ok, text = CassandraStoreHook().test_connection()

        assert ok, text
        assert re.fullmatch(r"Cassandra 5\.0\.\d+, cluster atlan-meta-sandbox, 1 node, keyspace meta", text)

    def test_a_sink_goes_on_when_the_store_is_back(
        self, node: Sandbox, cassandra: CassandraBench, tenant: str
    ) -> None:
        sink, row = cassandra.sink(), incident(tenant, 1)
        sink.write([row])
        node.kill("cassandra")
        try:
            with pytest.raises(TransientError, match="Nothing is lost"):
                sink.write([incident(tenant, 2)])
        finally:
            node.start("cassandra")

        def revisions() -> list[int]:
            return [copy.revision for copy in cassandra.copies(tenant, "inc-1")]

        assert again(revisions) == [1]
        assert [one.landing for one in again(lambda: sink.write([incident(tenant, 2)]))] == [Landing.DONE]
        assert revisions() == [2]


def again(call: Callable[[], Result]) -> Result:
    """The driver finds a node that is back within a second."""
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        try:
            return call()
        except TransientError:
            assert time.monotonic() < deadline, f"not back within {BACK_SECONDS} s"
            time.sleep(0.05)
