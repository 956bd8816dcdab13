"""OAuth2 access tokens of an issuer, checked here: JWTs, signed with a key of the issuer's JWKS.

Only asymmetric algorithms: with a symmetric one whoever can check a token could make one. Keys are fetched when
they are old or a token names one that is unknown, never more often than every 30 s; while the issuer is away the
last ones stay for a day.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import jwt

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    RejectedError,
    TransientError,
)
from airflow_provider_atlan_meta.core.tenancy import is_tenant

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
_ASYMMETRIC = frozenset({*ALGORITHMS, "RS384", "RS512", "PS384", "PS512", "ES384", "ES512"})
MAX_TOKEN_BYTES = 8 << 10
_MAX_KEYS_BYTES = 256 << 10
_MIN_RSA_BITS = 2048
_LEEWAY_SECONDS = 30
_TIMEOUT = httpx.Timeout(3.0)
_FRESH_SECONDS, _STALE_SECONDS, _PAUSE_SECONDS = 300.0, 86_400.0, 30.0
_AWAY_PAUSE_SECONDS = 5.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# RFC 9068's and the plain one; Keycloak says in the payload what it is
_TOKEN_TYPES, _BEARER = frozenset({"jwt", "at+jwt", "application/at+jwt"}), "Bearer"
# whatever a hostile token makes a parser stumble over
_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class OAuth2Config:
    """Whose tokens are taken, and which of their claims names the tenant."""

    conn_id: str
    issuer: str
    audience: str
    jwks_uri: str
    tenant_claim: str = "tenant"
    algorithms: tuple[str, ...] = ALGORITHMS
    ca_file: str = ""

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> OAuth2Config:
        """host (or extra ``issuer``) = the issuer exactly as its tokens say it; extra: ``audience``, ``jwks_uri``,
        ``tenant_claim``, ``algorithms`` (comma-separated), ``ca_file``.

        :raises ConfigurationError: something is missing, a symmetric algorithm, or keys over plain HTTP.
        """
        extra = {name: str(value).strip() for name, value in info.extra.items() if value}
        wanted = {"issuer": extra.get("issuer") or info.host}
        wanted |= {name: extra.get(name, "") for name in ("audience", "jwks_uri")}
        missing = [name for name, value in wanted.items() if not value]
        if missing:
            raise ConfigurationError(f"connection {info.conn_id!r} needs {', '.join(missing)}")
        uri = urlsplit(wanted["jwks_uri"])
        if uri.scheme != "https" and (uri.scheme, uri.hostname in _LOOPBACK) != ("http", True):
            raise ConfigurationError(
                f"connection {info.conn_id!r}: jwks_uri must be https: whoever can change the keys on their way "
                "can make tokens"
            )
        algorithms = tuple(filter(None, (name.strip() for name in extra.get("algorithms", "").split(","))))
        if not _ASYMMETRIC.issuperset(algorithms):
            raise ConfigurationError(
                f"connection {info.conn_id!r}: algorithms may be {', '.join(sorted(_ASYMMETRIC))}"
            )
        return cls(
            conn_id=info.conn_id,
            **wanted,
            tenant_claim=extra.get("tenant_claim") or "tenant",
            algorithms=algorithms or ALGORITHMS,
            ca_file=extra.get("ca_file", ""),
        )


class _Key(NamedTuple):
    value: Any
    algorithm: str | None


class TokenVerifier:
    """Checks tokens of one issuer. For one asyncio loop.

    :param now: monotonic seconds. :param transport: stands in for the network in tests.
    """

    def __init__(
        self,
        config: OAuth2Config,
        *,
        now: Callable[[], float] = monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.config = config
        self._now = now
        self._transport = transport
        self._keys: dict[str, _Key] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def tenant_of(self, token: bytes) -> str:
        """The tenant a valid token is of.

        :raises RejectedError: not a valid access token of this issuer for us, or without a tenant.
        :raises TransientError: the issuer's keys cannot be had.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise RejectedError("token is larger than 8 KiB")
        try:
            header = jwt.get_unverified_header(token)
        except _UNREADABLE:
            raise RejectedError("token is not a JWT") from None
        algorithm, kind = header.get("alg"), header.get("typ", "JWT")
        if algorithm not in self.config.algorithms:
            raise RejectedError("token is signed with an algorithm that is not allowed")
        if not isinstance(kind, str) or kind.lower() not in _TOKEN_TYPES:
            raise RejectedError("token is not an access token")
        key = await self._key(header.get("kid"))
        if key.algorithm not in (None, algorithm):
            raise RejectedError("token is signed with another algorithm than its key is for")
        claims = self._claims(token, key.value, str(algorithm))
        if claims.get("typ", _BEARER) != _BEARER:
            raise RejectedError("token is not an access token")
        tenant = claims.get(self.config.tenant_claim)
        if not isinstance(tenant, str) or not is_tenant(tenant):
            raise RejectedError(f"token has no tenant in its claim {self.config.tenant_claim}")
        return tenant

    def _claims(self, token: bytes, key: Any, algorithm: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self.config.audience,
                issuer=self.config.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud"]},
            )
        except _UNREADABLE as error:
            # PyJWT's own words name the claim; a parser's would repeat the token
            reason = str(error)[:100] if isinstance(error, jwt.PyJWTError) else "not readable"
            raise RejectedError("token is not valid", detail=reason) from None
        return claims

    async def _key(self, kid: object) -> _Key:
        age = self._now() - self._fetched_at
        if age >= _FRESH_SECONDS or (self._find(kid) is None and age >= _PAUSE_SECONDS):
            await self._refresh(age)
        key = self._find(kid)
        if key is None:
            raise RejectedError("token is signed with a key the issuer does not publish")
        return key

    def _find(self, kid: object) -> _Key | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) if isinstance(kid, str) else None

    async def _refresh(self, age: float) -> None:
        """:raises TransientError: no keys at all, or none that are younger than a day."""
        async with self._fetching:
            if self._now() - self._fetched_at < min(age, _PAUSE_SECONDS):
                return
            # while there are keys nobody waits for an issuer that is away more often than for a new key
            pause = _AWAY_PAUSE_SECONDS if age >= _STALE_SECONDS else _PAUSE_SECONDS
            if self._now() - self._tried_at >= pause:
                self._tried_at = self._now()
                try:
                    self._keys = await self.fetch()
                    self._fetched_at = self._now()
                except AtlanMetaError:
                    if age >= _STALE_SECONDS:
                        raise
            elif age >= _STALE_SECONDS:
                raise TransientError("the issuer's keys cannot be had", retry_after=_AWAY_PAUSE_SECONDS)

    async def fetch(self) -> dict[str, _Key]:
        """The issuer's signing keys by their ids.

        :raises TransientError: no answer, or one without keys.
        """
        uri = self.config.jwks_uri
        try:
            context = ssl.create_default_context(cafile=self.config.ca_file or None)
            async with (
                httpx.AsyncClient(
                    timeout=_TIMEOUT, verify=context, transport=self._transport, follow_redirects=False
                ) as http,
                http.stream("GET", uri, headers={"Accept": "application/json"}) as answer,
            ):
                body = bytearray()
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > _MAX_KEYS_BYTES:
                        raise TransientError(f"{uri}: more than 256 KiB")
        except (httpx.HTTPError, OSError) as error:
            raise TransientError(f"{uri}: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise TransientError(f"{uri}: {answer.status_code}")
        keys = _signing_keys(bytes(body))
        if not keys:
            raise TransientError(f"{uri}: no keys that sign")
        return keys


def _signing_keys(body: bytes) -> dict[str, _Key]:
    try:
        listed = json.loads(body)["keys"]
        return {key.get("kid", ""): found for key in listed if (found := _signing_key(key))}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _signing_key(key: Mapping[str, Any]) -> _Key | None:
    """None: a secret, for something else than signatures, too short, or of a kind that is not known."""
    if key.get("kty") == "oct" or key.get("use", "sig") != "sig":
        return None
    try:
        value = jwt.PyJWK.from_dict(dict(key)).key
    except _UNREADABLE:
        return None
    if key.get("kty") == "RSA" and value.key_size < _MIN_RSA_BITS:
        return None
    return _Key(value, key.get("alg"))
