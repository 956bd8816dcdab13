from __future__ import annotations

import json
import socket

import pytest

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.hooks.cassandra import CassandraStoreHook


def test_a_connection_made_for_the_cassandra_provider_serves_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = {"conn_type": "cassandra", "host": "a,b", "port": 9043, "schema": "metadata", "login": "me"}
    monkeypatch.setenv("AIRFLOW_CONN_ATLAN_META_CASSANDRA_DEFAULT", json.dumps(connection))

    config = CassandraStoreHook().config()

    assert (config.hosts, config.port, config.keyspace, config.login) == (("a", "b"), 9043, "metadata", "me")


def test_the_connection_test_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_EMPTY", json.dumps({"conn_type": "cassandra"}))
    ok, text = CassandraStoreHook("empty").test_connection()
    assert not ok
    assert "needs a host" in text

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    nowhere = {"conn_type": "cassandra", "host": "127.0.0.1", "port": port}
    monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", json.dumps(nowhere))
    ok, text = CassandraStoreHook("nowhere").test_connection()
    assert not ok
    assert "no node answers" in text


def test_an_unknown_connection_names_its_id() -> None:
    with pytest.raises(ConfigurationError, match="nobody_knows"):
        CassandraStoreHook("nobody_knows").config()
