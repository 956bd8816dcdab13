"""Sends signed webhooks to one endpoint. Never repeats a call, never follows a redirect."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.sending import SendOutcome, outcome_of_status
from airflow_provider_atlan_meta.core.webhook_message import SigningSecret, WebhookMessage, signed_headers

CONNECT_SECONDS, TOTAL_SECONDS = 3.0, 10.0
# Of an answer: read so that the connection can be used again, and thrown away.
ANSWER_MAX_BYTES = 64 * 1024
_CONNECTIONS = 64
_KEEP_ALIVE_SECONDS = 15.0
_USER_AGENT = "atlan-meta-webhook/1"
# Nothing of the request has left this machine: it certainly took no effect.
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


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
    """

    def __init__(self, config: WebhookConfig, *, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> WebhookClient:
        config = self._config
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=config.total_seconds, sock_connect=config.connect_seconds),
            connector=aiohttp.TCPConnector(
                limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_SECONDS, ssl=_verification(config.ca_file)
            ),
            headers={"user-agent": _USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # what is thrown away need not be unpacked
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, message: WebhookMessage) -> SendOutcome:
        """One try of one delivery."""
        if self._session is None:
            raise RuntimeError("WebhookClient is used as an async context manager")
        headers = signed_headers(message, self._config.secrets, at_seconds=int(self._clock()))
        try:
            async with self._session.post(
                self._config.url, data=message.body, headers=headers, allow_redirects=False
            ) as answer:
                outcome = outcome_of_status(answer.status, answer.headers.get("retry-after"))
                await _drain(answer)
                return outcome
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return outcome_of_failure(error)


def outcome_of_failure(error: Exception) -> SendOutcome:
    """What a call without an answer means: only a connection that never stood surely had no effect."""
    if isinstance(error, _NEVER_SENT):
        return SendOutcome(result="retry", detail=f"not reached ({type(error).__name__})")
    return SendOutcome(result="unknown", detail=f"no answer ({type(error).__name__})")


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """The status is the answer already: what goes wrong from here changes nothing."""
    try:
        left = ANSWER_MAX_BYTES
        while left > 0 and (chunk := await answer.content.read(left)):
            left -= len(chunk)
    except (aiohttp.ClientError, TimeoutError, OSError):
        answer.close()
        return
    if not answer.content.at_eof():
        answer.close()


def _verification(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=Path(ca_file).expanduser())
    except (OSError, ssl.SSLError):
        raise ConfigurationError(f"the webhook's ca_file {ca_file} cannot be read as certificates") from None
