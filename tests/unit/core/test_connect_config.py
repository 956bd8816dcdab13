"""What is secret in a connector's configuration, what two of them differ in, what an offset looks like."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_atlan_meta.core.connect_config import (
    SourceOffset,
    check_offsets,
    differences,
    masked,
    masked_text,
    refuse_inline_secrets,
)
from airflow_provider_atlan_meta.core.errors import ConfigurationError

REFERENCE = "${file:/etc/connect/meta.properties:password}"
SECRETS = {
    "database.password": "hunter2",
    "ssl.key.password": "hunter2",
    "ssl.keystore.key": "hunter2",
    "basic.auth.user.info": "me:hunter2",
    "aws.secret.access.key": "hunter2",
    "some.api.key": "hunter2",
    "producer.override.sasl.jaas.config": 'PlainLoginModule required username="me" password="hunter2";',
    "schema.registry.url": "http://me:hunter2@registry:8081",
    "connection.url": "jdbc:postgresql://me:hunter2@db/meta",
}
OPEN = {
    "database.password": REFERENCE,
    "producer.override.sasl.jaas.config": f'PlainLoginModule required username="me" password="{REFERENCE}";',
    "sasl.oauthbearer.token.endpoint.url": "https://idp/token",
    "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    "ssl.truststore.location": "/etc/ssl/trust.jks",
    "transforms.outbox.table.field.event.key": "aggregateid",
    "empty.password": "",
}


@pytest.mark.parametrize(("name", "value"), SECRETS.items())
def test_a_secret_is_masked_and_refused(name: str, value: str) -> None:
    assert "hunter2" not in masked({name: value})[name]
    with pytest.raises(ConfigurationError, match=name) as refused:
        refuse_inline_secrets({"a": "b", name: value})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("name", "value"), OPEN.items())
def test_what_is_no_secret_is_shown_and_sent(name: str, value: str) -> None:
    assert masked({name: value}) == {name: value}
    refuse_inline_secrets({name: value})


@pytest.mark.parametrize(
    "text",
    [
        "FATAL: password=hunter2 is wrong",
        'sasl.jaas.config: required password="hunter2";',
        "cannot reach postgresql://me:hunter2@db/meta",
        "token: hunter2",
    ],
)
def test_messages_of_the_worker_repeat_no_secret(text: str) -> None:
    assert "hunter2" not in masked_text(text)


def test_differences_are_told_by_name_without_secrets() -> None:
    current = {"name": "c", "same": "1", "gone": "2", "changed": "3", "database.password": "hunter2"}
    wanted = {"same": "1", "changed": "4", "new": "5", "database.password": REFERENCE}

    found = {name: (before, after) for name, before, after in differences(current, wanted)}

    assert found == {
        "changed": ("3", "4"),
        "database.password": ("***", REFERENCE),
        "gone": ("2", None),
        "new": (None, "5"),
    }


def test_a_configuration_does_not_differ_from_itself_as_connect_echoes_it() -> None:
    wanted = {"a": "1", "database.password": REFERENCE}

    assert differences({"name": "c", **wanted}, wanted) == ()


def test_everything_of_a_missing_connector_differs() -> None:
    assert [name for name, *_ in differences(None, {"b": "1", "a": "2"})] == ["a", "b"]


NOW = [SourceOffset({"server": "meta"}, {"lsn": 10, "ts_usec": 5, "messageType": "COMMIT"})]


def offset(partition: Any = None, **values: Any) -> list[SourceOffset]:
    return [SourceOffset({"server": "meta"} if partition is None else partition, values)]


def test_an_offset_like_the_present_one_is_let_through() -> None:
    check_offsets(offset(lsn=9), NOW)
    check_offsets(offset(lsn=9, ts_usec=1, messageType="COMMIT"), NOW)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (offset({"server": "other"}, lsn=9), "no partition"),
        (offset({"sever": "meta"}, lsn=9), "no partition"),
        (offset(LSN=9), "wrong are \\['LSN'\\]"),
        (offset(lsn="9"), "wrong are \\['lsn'\\]"),
        (offset(lsn=True), "wrong are \\['lsn'\\]"),
        (offset(), "it is empty"),
        ([], "no offset is given"),
    ],
)
def test_an_offset_connect_would_take_without_a_word_is_refused(given: list[SourceOffset], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_offsets(given, NOW)


def test_a_connector_without_offsets_has_none_to_change() -> None:
    with pytest.raises(ConfigurationError, match="no offset yet"):
        check_offsets(offset(lsn=9), [])
