"""Slack Web API: one message posted, one message changed.

Never repeats a call by itself: a post whose answer was lost may be in the channel already.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    RejectedError,
    TerminalError,
    TransientError,
)

_TIMEOUT_SECONDS = 10
# Slack's own error words; what is not here is transient.
_ERRORS: dict[str, type[AtlanMetaError]] = {
    **dict.fromkeys(("message_not_found", "cant_update_message", "edit_window_closed"), RejectedError),
    **dict.fromkeys(
        (
            "account_inactive",
            "channel_not_found",
            "invalid_auth",
            "is_archived",
            "missing_scope",
            "no_permission",
            "not_authed",
            "not_in_channel",
            "restricted_action",
            "token_expired",
            "token_revoked",
        ),
        TerminalError,
    ),
}


@dataclass(frozen=True, kw_only=True)
class SlackConfig:
    """What the connection says: password = bot token; extra: ``base_url``, ``timeout``, ``proxy``."""

    token: str = field(repr=False)
    base_url: str = WebClient.BASE_URL
    timeout_seconds: int = _TIMEOUT_SECONDS
    proxy: str | None = field(default=None, repr=False)

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> SlackConfig:
        if not info.password:
            raise ConfigurationError(f"connection {info.conn_id!r}: Slack's bot token goes into its password")
        return cls(
            token=info.password,
            base_url=info.extra.get("base_url") or WebClient.BASE_URL,
            timeout_seconds=int(info.extra.get("timeout") or _TIMEOUT_SECONDS),
            proxy=info.extra.get("proxy") or None,
        )


@dataclass(frozen=True, kw_only=True)
class PostedMessage:
    """Slack's address of a message; ``channel`` is the id even where a name was given."""

    channel: str
    ts: str


class SlackClient:
    """:raises TransientError, TerminalError, RejectedError: the last when the message to change is gone."""

    def __init__(self, config: SlackConfig) -> None:
        self._client = WebClient(
            token=config.token,
            base_url=config.base_url,
            timeout=config.timeout_seconds,
            proxy=config.proxy,
            retry_handlers=[],
        )
        if config.proxy is None and proxy_bypass(urlsplit(config.base_url).hostname or ""):
            self._client.proxy = None  # the SDK takes HTTPS_PROXY from the environment and ignores NO_PROXY

    def post(self, channel: str, text: str) -> PostedMessage:
        body = {"channel": channel, "text": text, "unfurl_links": False, "unfurl_media": False}
        answer = self._call("chat.postMessage", body)
        return PostedMessage(channel=str(answer.get("channel") or channel), ts=str(answer.get("ts") or ""))

    def update(self, message: PostedMessage, text: str) -> None:
        self._call("chat.update", {"channel": message.channel, "ts": message.ts, "text": text})

    def _call(self, method: str, body: dict[str, Any]) -> Any:
        try:
            return self._client.api_call(method, json=body)
        except SlackApiError as error:
            raise _translated(method, error) from error
        except (SlackClientError, URLError, OSError) as error:
            raise TransientError(f"Slack {method}: no usable answer ({type(error).__name__})") from error


def _translated(method: str, error: SlackApiError) -> AtlanMetaError:
    answer = error.response
    word = str(answer.get("error", "")) if hasattr(answer, "get") else ""
    kind = _ERRORS.get(word, TransientError)
    if issubclass(kind, RejectedError):
        return kind(f"Slack {method}: {word}")
    if issubclass(kind, TerminalError):
        return kind(f"Slack {method}: {word}; check the token, its scopes (chat:write) and the channel id")
    headers = getattr(answer, "headers", None) or {}
    retry_after = str(headers.get("Retry-After", ""))
    return TransientError(
        f"Slack {method}: {word or 'unexpected answer'} (status {getattr(answer, 'status_code', '?')})",
        retry_after=float(retry_after) if retry_after.isdigit() else None,
    )
