"""Cassandra's connection, errors and batches, without a server."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from cassandra import AuthenticationFailed, InvalidRequest, OperationTimedOut, Unauthorized, Unavailable
from cassandra.cluster import NoHostAvailable
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
    WhiteListRoundRobinPolicy,
)
from cassandra.protocol import OverloadedErrorMessage, SyntaxException
from cassandra.query import UNSET_VALUE

from airflow_provider_atlan_meta.clients import cassandra as module
from airflow_provider_atlan_meta.clients.cassandra import CassandraConfig, CassandraSession, translated
from airflow_provider_atlan_meta.clients.cassandra_sinks import (
    BATCH_BYTES,
    CassandraHistorySink,
    CassandraStateSink,
)
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError
from airflow_provider_atlan_meta.core.identity import event_key
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS, EntityRow, EventRow
from airflow_provider_atlan_meta.core.stores import INCIDENT, Landing, RowRef, StateRow

# ---- connection ------------------------------------------------------------------------------------------------------


def config(**fields: Any) -> CassandraConfig:
    return CassandraConfig.from_connection(ConnectionInfo(conn_id="c", **{"host": "a", **fields}))


def test_a_connection_is_read_as_the_cassandra_provider_lays_it_out() -> None:
    found = config(
        host="a, b,c",
        port=9043,
        login="me",
        password="hidden",
        schema="metadata",
        extra={
            "load_balancing_policy": "DCAwareRoundRobinPolicy",
            "load_balancing_policy_args": {"local_dc": "north"},
            "ssl_options": {"ca_certs": "ca.pem"},
            "protocol_version": 4,
            "cql_version": "3.4.6",
        },
    )

    assert (found.hosts, found.port, found.keyspace) == (("a", "b", "c"), 9043, "metadata")
    assert (found.login, found.password, found.protocol_version) == ("me", "hidden", 4)
    assert isinstance(module._policy(found.policy, found.policy_args), DCAwareRoundRobinPolicy)
    assert "hidden" not in repr(found)


def test_what_a_connection_leaves_out_has_a_safe_value() -> None:
    found = config()

    assert (found.port, found.keyspace, found.consistency) == (9042, "meta", "LOCAL_QUORUM")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": " , "}, "needs a host"),
        ({"schema": "meta; drop"}, "schema is the keyspace"),
        ({"schema": "Meta"}, "schema is the keyspace"),
        ({"extra": {"consistency": "mostly"}}, "no consistency 'MOSTLY'"),
        ({"extra": {"timeout": "soon"}}, "are numbers"),
        ({"extra": {"replication": "three"}}, "are objects"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_asked(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        config(**fields)


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("", {}, RoundRobinPolicy),
        ("SomethingElse", {}, RoundRobinPolicy),
        ("WhiteListRoundRobinPolicy", {"hosts": ["127.0.0.1"]}, WhiteListRoundRobinPolicy),
        ("TokenAwarePolicy", {"child_load_balancing_policy": "RoundRobinPolicy"}, TokenAwarePolicy),
    ],
)
def test_policies_are_named_as_in_the_provider(name: str, args: dict[str, Any], expected: type) -> None:
    assert type(module._policy(name, args)) is expected


def test_certificates_that_are_not_there_are_a_matter_of_the_connection(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ssl_options cannot be used"):
        module._ssl_context(config(extra={"ssl_options": {"ca_certs": str(tmp_path / "none.pem")}}))
    unchecked = module._ssl_context(config(extra={"ssl_options": {"cert_reqs": "CERT_NONE"}}))
    assert unchecked.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("nodes", "extra", "expected"),
    [
        (1, {}, "{'class': 'NetworkTopologyStrategy', 'replication_factor': '1'}"),
        (7, {}, "{'class': 'NetworkTopologyStrategy', 'replication_factor': '3'}"),
        (7, {"class": "N", "it's": 2}, "{'class': 'N', 'it''s': '2'}"),
    ],
)
def test_a_new_keyspace_has_up_to_three_copies_unless_the_connection_says(
    nodes: int, extra: dict[str, Any], expected: str
) -> None:
    text = module._create_keyspace(config(extra={"replication": extra}), nodes)

    assert text == f"create keyspace if not exists meta with replication = {expected}"


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NoHostAvailable("no", {"a": AuthenticationFailed("bad")}), ConfigurationError),
        (NoHostAvailable("no", {"a": ConnectionRefusedError()}), TransientError),
        (Unauthorized("no MODIFY"), ConfigurationError),
        (OperationTimedOut(), TransientError),
        (Unavailable("too few"), TransientError),
        (OverloadedErrorMessage(0x1001, "busy", None), TransientError),
        (InvalidRequest("unconfigured table"), TerminalError),
        (SyntaxException(0x2000, "what", None), TerminalError),
        (ConnectionResetError(), TransientError),
    ],
)
def test_the_driver_s_errors_say_what_happens_next(error: Exception, expected: type) -> None:
    assert type(translated(error, "writing")) is expected


def test_what_is_not_the_driver_s_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        translated(ZeroDivisionError(), "writing")


# ---- a session of its own --------------------------------------------------------------------------------------------


class Bound:
    """What the driver makes of values: bytes."""

    def __init__(self, query: str, values: Any) -> None:
        self.query, self.raw = query, list(values)
        self.values = [value if value is UNSET_VALUE else _bytes(value) for value in values]
        self.keyspace, self.routing_key, self.table = "meta", None, None
        self.prepared_statement = SimpleNamespace(query_id=b"", column_metadata=[])
        self.custom_payload = None


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, set):
        raise TypeError("no form")
    return None if value is None else value if isinstance(value, bytes) else str(value).encode()


class Statement:
    def __init__(self, query: str) -> None:
        self.query = query

    def bind(self, values: Any) -> Bound:
        return Bound(self.query, values)


class Scripted(CassandraSession):
    """Answers a statement with what the script has for a word of it."""

    def __init__(self, script: dict[str, Any] | None = None) -> None:
        super().__init__(config())
        self.sent: list[Any] = []
        self.script = script or {}

    def prepare(self, query: str) -> Any:
        return Statement(query)

    def run(self, statements: Any) -> list[Any]:
        self.sent += statements
        return [self._answer(statement) for statement in statements]

    def _answer(self, statement: Any) -> Any:
        for word, answer in self.script.items():
            if word in getattr(statement, "query", "batch") + repr(getattr(statement, "raw", "")):
                return answer
        return []


def state_sink(**script: Any) -> CassandraStateSink:
    made = CassandraStateSink(config())
    made._session = Scripted(script)
    return made


def row(id: str, **values: Any) -> StateRow:
    return StateRow(RowRef("acme", INCIDENT, id), 1, {**dict.fromkeys(INCIDENT_FIELDS), **values}, 0)


def test_a_row_the_cluster_cannot_take_now_comes_later_and_the_others_are_in() -> None:
    landed = state_sink(slow=OperationTimedOut()).write([row("slow"), row("quick")])

    assert [(one.landing, one.reason) for one in landed] == [
        (Landing.LATER, "OperationTimedOut"),
        (Landing.DONE, ""),
    ]


def test_when_no_row_can_be_written_the_store_is_away() -> None:
    with pytest.raises(TransientError, match="Nothing is lost"):
        state_sink(acme=Unavailable("too few")).write([row("one"), row("two")])


def test_a_row_the_cluster_refuses_is_rejected_and_a_table_that_is_gone_stops_everything() -> None:
    landed = state_sink(bad=InvalidRequest("Key length of 70000")).write([row("bad"), row("good")])
    assert [one.landing for one in landed] == [Landing.REJECTED, Landing.DONE]

    with pytest.raises(TerminalError, match="is this keyspace ours"):
        state_sink(bad=InvalidRequest("unconfigured table x")).write([row("bad"), row("good")])
    with pytest.raises(ConfigurationError, match="MODIFY"):
        state_sink(bad=Unauthorized("no")).write([row("bad"), row("good")])


def test_a_value_without_a_form_announces_nothing() -> None:
    sink = state_sink()
    (landed,) = sink.write([row("odd", title={"a set"})])

    assert landed.landing is Landing.REJECTED
    assert isinstance(sink._session, Scripted)
    assert sink._session.sent == []


def test_a_row_that_was_not_written_has_its_old_copy_still() -> None:
    found = [SimpleNamespace(first_seen_day=None, current_day=None, revision=1)]
    sink = state_sink(**{"insert into {keyspace}.incident_by_day": OperationTimedOut(), "select": found})
    with pytest.raises(TransientError):
        sink.write([row("one")])

    assert isinstance(sink._session, Scripted)
    assert not any("delete" in one.query for one in sink._session.sent)


# ---- batches ---------------------------------------------------------------------------------------------------------


def event(number: int, *entities: bytes, size: int = 100, month_ms: int = 0) -> EventRow:
    id = uuid4().bytes
    received = 1_795_000_000_000 + number + month_ms
    return EventRow(
        *(
            number,
            event_key(id, received),
            "acme",
            id,
            "montecarlo",
            "incident",
            "inc",
            None,
            received * 1000,
        ),
        b"x" * size,
        None,
        tuple(EntityRow("acme", one, "q", "table", "t", "p", None, None, 0) for one in entities),
    )


def history(monkeypatch: pytest.MonkeyPatch) -> CassandraHistorySink:
    monkeypatch.setattr("airflow_provider_atlan_meta.clients.cassandra_sinks.BatchStatement", Batch)
    made = CassandraHistorySink(config())
    made._session = Scripted()
    return made


class Batch:
    """Keeps what the driver packs."""

    def __init__(self, kind: Any) -> None:
        self.kind, self.rows, self.is_idempotent = kind, list[Bound](), False

    def add(self, bound: Bound) -> None:
        self.rows.append(bound)


def size_of(bound: Bound) -> int:
    return sum(len(value) for value in bound.values if isinstance(value, bytes))


def rows_of(statement: Any) -> list[Bound]:
    return statement.rows if isinstance(statement, Batch) else [statement]


def test_a_batch_stays_in_its_partition_and_below_what_cassandra_warns_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entities = [uuid4().bytes for _ in range(3)]
    events = [
        event(n, *entities[n % 3 :], size=100 * (n % 30), month_ms=n % 2 * 31 * 86_400_000)
        for n in range(300)
    ]

    made: list[Any] = history(monkeypatch).batches(events)

    for statement in made:
        rows = rows_of(statement)
        assert len({(one.raw[0], one.raw[1], one.raw[2]) for one in rows}) == 1
        assert len(rows) == 1 or sum(map(size_of, rows)) <= BATCH_BYTES
        # the driver may send it twice
        assert len(rows) == 1 or statement.is_idempotent
    assert sum(len(rows_of(one)) for one in made) == sum(len(one.entities) for one in events)
    assert len(made) < 300


def test_an_event_is_batched_with_its_own_entity_once_however_often_it_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entity = uuid4().bytes

    (only,) = history(monkeypatch).batches([event(1, entity, entity)])

    assert only.raw[1].bytes == entity
    # absent is not a tombstone
    assert only.raw[8] is UNSET_VALUE


@pytest.mark.parametrize(
    ("error", "expected"), [(OperationTimedOut(), TransientError), (Unauthorized("no"), ConfigurationError)]
)
def test_history_that_is_not_known_to_be_in_is_written_again(error: Exception, expected: type) -> None:
    sink = CassandraHistorySink(config())
    sink._session = Scripted({"insert": error})

    with pytest.raises(expected):
        sink.append([event(1, uuid4().bytes)])
