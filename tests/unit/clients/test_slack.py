from __future__ import annotations

from typing import Any
from urllib.error import URLError

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web import WebClient

from airflow_provider_atlan_meta.clients.slack import PostedMessage, SlackClient, SlackConfig
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    ConfigurationError,
    RejectedError,
    TerminalError,
    TransientError,
)

CONFIG = SlackConfig(token="xoxb-secret", base_url="http://127.0.0.1:9/api/")


class Answer(dict[str, Any]):
    headers: dict[str, str]
    status_code = 200

    def __init__(self, headers: dict[str, str] | None = None, **fields: Any) -> None:
        super().__init__(fields)
        self.headers = headers or {}


def refusal(answer: Answer) -> SlackApiError:
    return SlackApiError("no", answer)  # type: ignore[no-untyped-call]


def client_that(monkeypatch: pytest.MonkeyPatch, answer: Any) -> tuple[SlackClient, list[tuple[str, Any]]]:
    calls: list[tuple[str, Any]] = []

    def api_call(_self: WebClient, method: str, *, json: Any) -> Any:
        calls.append((method, json))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(WebClient, "api_call", api_call)
    return SlackClient(CONFIG), calls


def test_a_post_returns_slacks_own_address_of_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    client, calls = client_that(monkeypatch, Answer(ok=True, channel="C0123", ts="17.5"))

    assert client.post("#alerts", "hello") == PostedMessage(channel="C0123", ts="17.5")
    assert calls[0][0] == "chat.postMessage"
    assert calls[0][1]["text"] == "hello"
    assert calls[0][1]["unfurl_links"] is False


def test_an_update_names_channel_and_time_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    client, calls = client_that(monkeypatch, Answer(ok=True))

    client.update(PostedMessage(channel="C0123", ts="17.5"), "changed")

    assert calls == [("chat.update", {"channel": "C0123", "ts": "17.5", "text": "changed"})]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("channel_not_found", TerminalError),
        ("invalid_auth", TerminalError),
        ("message_not_found", RejectedError),
        ("ratelimited", TransientError),
        ("internal_error", TransientError),
        ("a_word_of_tomorrow", TransientError),
    ],
)
def test_slacks_word_says_what_happens_next(
    monkeypatch: pytest.MonkeyPatch, word: str, kind: type[Exception]
) -> None:
    client, _ = client_that(monkeypatch, refusal(Answer(ok=False, error=word)))

    with pytest.raises(kind, match=word):
        client.post("C1", "hello")


def test_a_rate_limit_says_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(headers={"Retry-After": "17"}, ok=False, error="ratelimited")
    client, _ = client_that(monkeypatch, refusal(answer))

    with pytest.raises(TransientError) as caught:
        client.post("C1", "hello")
    assert caught.value.retry_after == 17


@pytest.mark.parametrize("error", [URLError("refused"), TimeoutError(), ConnectionResetError()])
def test_no_answer_is_transient_and_never_repeated_here(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    client, calls = client_that(monkeypatch, error)

    with pytest.raises(TransientError):
        client.post("C1", "hello")
    assert len(calls) == 1


def test_the_sdks_own_retries_are_off() -> None:
    assert SlackClient(CONFIG)._client.retry_handlers == []


def test_a_proxy_of_the_environment_is_not_used_where_no_proxy_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert SlackClient(CONFIG)._client.proxy is None
    assert SlackClient(SlackConfig(token="x"))._client.proxy == "http://proxy:3128"


def test_the_configuration_comes_from_the_connection_and_hides_the_token() -> None:
    info = ConnectionInfo(conn_id="s", password="xoxb-1", extra={"base_url": "http://r/api/", "timeout": "3"})

    config = SlackConfig.from_connection(info)

    assert (config.token, config.base_url, config.timeout_seconds) == ("xoxb-1", "http://r/api/", 3)
    assert "xoxb-1" not in repr(config)


def test_a_connection_without_a_token_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="'s'"):
        SlackConfig.from_connection(ConnectionInfo(conn_id="s"))
