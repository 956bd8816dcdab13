"""Sends signed webhooks to one endpoint. Never repeats a call, never follows a redirect."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from airflow_provider_atlan_meta.clients.http_post import PostEndpoint
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.sending import SendOutcome
from airflow_provider_atlan_meta.core.webhook_message import SigningSecret, WebhookMessage, signed_headers

CONNECT_SECONDS, TOTAL_SECONDS = 3.0, 10.0
_USER_AGENT = "atlan-meta-webhook/1"


@dataclass(frozen=True, kw_only=True)
class WebhookConfig:
    """What a connection of type ``http`` says: host, port, schema (``https``), password = signing secret
    (``whsec_...``); extra: ``path``, ``webhook_secret_previous``, ``ca_file``, ``timeout``.

    The secret is no extra: Airflow's own HTTP hook sends extras as headers.
    """

    url: str
    secrets: tuple[SigningSecret, ...] = field(repr=False)
    connect_seconds: float = CONNECT_SECONDS
    total_seconds: float = TOTAL_SECONDS
    ca_file: str = ""

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> WebhookConfig:
        """:raises ConfigurationError: no usable address, secret or time; names the connection."""
        previous = str(info.extra.get("webhook_secret_previous") or "")
        try:
            return cls(
                url=_url(info),
                secrets=tuple([SigningSecret.parse(text) for text in (info.password, previous) if text]),
                total_seconds=float(info.extra.get("timeout") or TOTAL_SECONDS),
                ca_file=str(info.extra.get("ca_file") or ""),
            )
        except (ConfigurationError, ValueError) as error:
            raise ConfigurationError(f"connection {info.conn_id!r}: {error}") from None

    def __post_init__(self) -> None:
        if not self.secrets:
            raise ConfigurationError("the signing secret (whsec_...) goes into its password")
        if not 0 < self.connect_seconds <= self.total_seconds <= 60:
            raise ConfigurationError(f"timeout must be {self.connect_seconds:g} to 60 seconds")


def _url(info: ConnectionInfo) -> str:
    address = info.host if "://" in info.host else f"{info.schema or 'https'}://{info.host}"
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("its host is the receiver's address, such as https://hooks.example.com")
    if parts.username or parts.query or parts.fragment:
        raise ConfigurationError("its host has a login, query or fragment; write scheme, host and path only")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = info.port or parts.port
    path = str(info.extra.get("path") or parts.path).lstrip("/")
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}/{path}"


class WebhookClient:
    """One endpoint, used as an async context manager in the loop it sends from; ``send`` raises nothing it causes.

    :param clock: seconds since 1970, for ``webhook-timestamp``.
    :raises ConfigurationError: its certificates cannot be read.
    """

    def __init__(self, config: WebhookConfig, *, clock: Callable[[], float] = time.time) -> None:
        self._secrets = config.secrets
        self._clock = clock
        self._endpoint = PostEndpoint(
            config.url,
            headers={"user-agent": _USER_AGENT, "accept": "*/*"},
            connect_seconds=config.connect_seconds,
            total_seconds=config.total_seconds,
            tls=_verification(config.ca_file),
        )

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._endpoint.__aexit__(kind, error, trace)

    async def send(self, message: WebhookMessage) -> SendOutcome:
        """One try of one delivery."""
        headers = signed_headers(message, self._secrets, at_seconds=int(self._clock()))
        return await self._endpoint.post(message.body, headers)


def _verification(ca_file: str) -> ssl.SSLContext | None:
    if not ca_file:
        return None
    try:
        return ssl.create_default_context(cafile=Path(ca_file).expanduser())
    except (OSError, ssl.SSLError):
        raise ConfigurationError(f"the webhook's ca_file {ca_file} cannot be read as certificates") from None
