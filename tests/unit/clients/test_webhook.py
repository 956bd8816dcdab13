from __future__ import annotations

import base64
from typing import Any

import aiohttp
import pytest

from airflow_provider_atlan_meta.clients.aiohttp_outcomes import outcome_of_failure
from airflow_provider_atlan_meta.clients.webhook import WebhookConfig
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.sending import outcome_of_status, seconds_of

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()


def connection(**fields: Any) -> ConnectionInfo:
    return ConnectionInfo(
        **{"conn_id": "hooks", "conn_type": "http", "host": "hooks.example.com", "password": SECRET} | fields
    )


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "https://hooks.example.com/"),
        ({"schema": "http", "port": 8080}, "http://hooks.example.com:8080/"),
        ({"host": "https://hooks.example.com/a/b"}, "https://hooks.example.com/a/b"),
        ({"extra": {"path": "/in/1?key=v"}}, "https://hooks.example.com/in/1?key=v"),
        ({"host": "http://[::1]:81/x"}, "http://[::1]:81/x"),
    ],
)
def test_the_address_is_what_an_http_connection_says(fields: dict[str, Any], url: str) -> None:
    assert WebhookConfig.from_connection(connection(**fields)).url == url


@pytest.mark.parametrize(
    "fields",
    [
        {"host": ""},
        {"host": "ftp://hooks.example.com"},
        {"host": "https://user:pw@hooks.example.com"},
        {"host": "https://hooks.example.com:port"},
        {"password": ""},
        {"password": "hunter2"},
        {"extra": {"timeout": "soon"}},
        {"extra": {"timeout": 1}},
        {"extra": {"timeout": 61}},
        {"extra": {"webhook_secret_previous": "hunter2"}},
    ],
)
def test_a_connection_that_cannot_work_is_named_without_its_secrets(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="'hooks'") as caught:
        WebhookConfig.from_connection(connection(**fields))
    assert "hunter2" not in str(caught.value)
    assert "pw" not in str(caught.value)


def test_both_secrets_sign_while_they_are_changed_and_neither_is_shown() -> None:
    info = connection(extra={"webhook_secret_previous": OTHER})
    config = WebhookConfig.from_connection(info)

    assert [secret.key for secret in config.secrets] == [b"k" * 32, b"o" * 32]
    assert "kkkk" not in repr(config)
    assert set(info.secrets()) == {SECRET, OTHER}


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (aiohttp.ConnectionTimeoutError(), "retry"),
        (aiohttp.ServerDisconnectedError(), "unknown"),
        (aiohttp.SocketTimeoutError(), "unknown"),
        (aiohttp.ClientPayloadError(), "unknown"),
        (TimeoutError(), "unknown"),
        (ConnectionResetError(), "unknown"),
    ],
)
def test_only_a_connection_that_never_stood_surely_had_no_effect(error: Exception, result: str) -> None:
    assert outcome_of_failure(error).result == result


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_delivered(status: int) -> None:
    assert outcome_of_status(status).result == "delivered"


@pytest.mark.parametrize("status", [100, 599, 999])
def test_an_answer_nobody_knows_is_unknown(status: int) -> None:
    assert outcome_of_status(status).result == "unknown"


@pytest.mark.parametrize("text", [None, "", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "²"])
def test_a_time_to_wait_that_is_no_number_of_seconds_says_nothing(text: str | None) -> None:
    assert seconds_of(text) is None
