"""A connection outside Airflow says what it says inside, and never shows a secret."""

from __future__ import annotations

import json
import pickle
from typing import Any
from urllib.parse import quote

import pytest
from airflow.sdk import Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core.connection import ConnectionInfo, parse_connection
from airflow_provider_atlan_meta.core.errors import ConfigurationError

SECRET = "s3cret-value"


def fields(info: ConnectionInfo) -> tuple[Any, ...]:
    return (info.conn_type, info.host, info.port, info.login, info.password, info.schema, dict(info.extra))


def airflow_fields(connection: Connection) -> tuple[Any, ...]:
    """As Airflow read them; it says None where a ConnectionInfo says nothing."""
    return (
        connection.conn_type or "",
        connection.host or "",
        connection.port,
        connection.login or "",
        connection.password or "",
        connection.schema or "",
        connection.extra_dejson,
    )


@pytest.mark.parametrize(
    "uri",
    [
        "postgres://user:pass@host:5432/db",
        "postgresql://user@host/db?sslmode=require&connect_timeout=3",
        "postgres://host",
        "postgres://user:p%40ss%2Fw%3Ard%25@host.example:5432/my%20db",
        "postgres://%C3%BCser:@h/",
        "kafka://?__extra__=" + quote(json.dumps({"bootstrap.servers": "a:9092,b:9092", "n": {"deep": [1]}})),
        "kafka://?bootstrap.servers=a%3A9092",
        "atlan-meta-montecarlo://?webhook_secret=s",
        "http://https://host.example:8443/path",
        "slack://:xoxb-token@",
        "postgres://HOST.example:5432/db?a=&b=1",
    ],
)
def test_a_uri_is_read_as_airflow_reads_it(uri: str) -> None:
    assert fields(parse_connection("c", uri)) == airflow_fields(Connection.from_uri(uri, conn_id="c"))


@pytest.mark.parametrize(
    "document",
    [
        {"conn_type": "postgres", "host": "h", "port": 5432, "login": "u", "password": "p", "schema": "db"},
        {"conn_type": "postgresql", "host": "h", "port": "5432"},
        {"conn_type": "kafka", "extra": {"bootstrap.servers": "a:9092"}},
        {"conn_type": "kafka", "extra": '{"bootstrap.servers": "a:9092"}'},
        {"conn_type": "atlan-meta-montecarlo", "extra": {"webhook_secret": ["one", "two"]}},
        {"conn_type": "http", "host": None, "extra": None, "port": None},
        {"conn_type": "http", "extra": ""},
        {"conn_type": "http", "description": "for people", "host": "h"},
    ],
)
def test_a_json_object_is_read_as_airflow_reads_it(document: dict[str, Any]) -> None:
    text = json.dumps(document)

    assert fields(parse_connection("c", f" {text}\n")) == airflow_fields(
        Connection.from_json(text, conn_id="c")
    )


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
PATH = TEXT.filter(lambda text: "/" not in text)


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT, PATH, st.none() | st.integers(1, 65535), st.dictionaries(TEXT, TEXT, max_size=3))
def test_whatever_airflow_writes_as_a_uri_is_read_back(
    login: str, password: str, schema: str, port: int | None, extra: dict[str, str]
) -> None:
    written = Connection(
        conn_id="c", conn_type="postgres", host="db.example", login=login, password=password, schema=schema, port=port,
        extra=json.dumps(extra),
    )  # fmt: skip

    assert fields(parse_connection("c", written.get_uri())) == airflow_fields(
        Connection.from_uri(written.get_uri(), conn_id="c")
    )


@pytest.mark.parametrize(
    "text",
    [
        f"no-scheme-{SECRET}",
        f'{{"password": "{SECRET}"',
        f'{{"password": "{SECRET}", "port": "many"}}',
        f'{{"password": "{SECRET}", "extra": "not json {SECRET}"}}',
        f'{{"password": "{SECRET}", "extra": [1]}}',
        f"postgres://u:{SECRET}@h:port/db",
        f"postgres://u:{SECRET}@h:99999/db",
        f"kafka://?__extra__={SECRET}",
        f"postgres://u:{SECRET}@[h/db",
        "",
    ],
)
def test_a_text_of_neither_form_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_MY_DB=") as caught:
        parse_connection("my_db", text)

    assert "connection 'my_db' is neither a JSON object nor a URI" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


FULL = ConnectionInfo(
    conn_id="my_db",
    conn_type="kafka",
    host="host.example",
    port=5432,
    login="user",
    password=SECRET,
    schema="db",
    extra={
        "sasl.password": SECRET + "1",
        "bootstrap.servers": "a:9092",
        "nested": {"client_secret": SECRET + "2", "plain": "plain"},
        "webhook_secret": SECRET + "3",
        "webhook_secret_previous": SECRET + "4",
        "ssl.key.location": "/etc/key.pem",
        "sasl.jaas.config": SECRET + "5",
        "empty_secret": "",
    },
)


def test_a_repr_shows_names_and_addresses_and_no_value_of_extra() -> None:
    for shown in (repr(FULL), str(FULL), f"{FULL}", repr([FULL])):
        assert SECRET not in shown
        assert "/etc/key.pem" not in shown
    assert "'my_db'" in repr(FULL)
    assert "host='host.example'" in repr(FULL)
    assert "password='***'" in repr(FULL)
    assert "webhook_secret" in repr(FULL)


def test_a_connection_without_a_password_does_not_claim_one() -> None:
    assert "password=''" in repr(ConnectionInfo(conn_id="c"))


def test_secrets_are_what_a_log_must_never_show() -> None:
    assert set(FULL.secrets()) == {SECRET, *(SECRET + str(n) for n in range(1, 6))}


def test_every_secret_of_a_list_is_one() -> None:
    info = ConnectionInfo(conn_id="c", extra={"webhook_secret": ["first", "second"], "tags": ["plain"]})

    assert set(info.secrets()) == {"first", "second"}


def test_a_secret_said_twice_is_named_once() -> None:
    assert ConnectionInfo(conn_id="c", password="p", extra={"token": "p"}).secrets() == ("p",)


def test_a_connection_crosses_process_borders() -> None:
    assert pickle.loads(pickle.dumps(FULL)) == FULL
