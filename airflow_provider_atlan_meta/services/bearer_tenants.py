"""Which tenant a bearer token is of, by the connection that says whose tokens are taken.

The connection is read again every minute; the issuer's keys stay while it says the same. Nothing configured lets
nobody in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from airflow_provider_atlan_meta.clients.oauth2 import OAuth2Config, TokenVerifier
from airflow_provider_atlan_meta.config.connections import OAUTH2
from airflow_provider_atlan_meta.core.errors import AtlanMetaError, ConfigurationError, RejectedError
from airflow_provider_atlan_meta.services.answers import problem
from airflow_provider_atlan_meta.services.intake import SECRETS_UNREADABLE, RefusedError
from airflow_provider_atlan_meta.services.logs import get_logger
from airflow_provider_atlan_meta.services.tenant_secrets import FindConnection

_log = get_logger(__name__)

_TTL_SECONDS = 60.0
_SCHEME = b"bearer"
# one reason for refusals is told once in this time, however many tokens it refuses
_TELL_SECONDS = 10.0

_NO_TOKEN = problem(
    401,
    "no access token; send Authorization: Bearer with one",
    headers=((b"www-authenticate", b'Bearer realm="atlan-meta"'),),
).closing()
_INVALID = problem(
    401,
    "the access token is not valid here; the log of the service says why",
    headers=((b"www-authenticate", b'Bearer realm="atlan-meta", error="invalid_token"'),),
).closing()
_NO_KEYS = problem(
    503, "access tokens cannot be checked at the moment; send it again", retry_after_seconds=5
).closing()


class BearerTenants:
    """For one asyncio loop.

    :param now: monotonic seconds. :param on_secrets: hears of every secret read.
    """

    def __init__(
        self,
        find: FindConnection,
        *,
        now: Callable[[], float],
        on_secrets: Callable[[Iterable[str]], None] = lambda _: None,
        verifier: Callable[[OAuth2Config], TokenVerifier] = TokenVerifier,
    ) -> None:
        self._find = find
        self._now = now
        self._on_secrets = on_secrets
        self._make = verifier
        self._verifier: TokenVerifier | None = None
        self._until = float("-inf")
        self._reading = asyncio.Lock()
        self._told: dict[str, float] = {}

    async def tenant_of(self, authorization: bytes) -> str:
        """:param authorization: the header's value.

        :raises RefusedError: 401 without a valid token, 503 while it cannot be checked.
        """
        scheme, _, token = authorization.strip().partition(b" ")
        if scheme.lower() != _SCHEME or not token.strip():
            raise RefusedError(_NO_TOKEN)
        try:
            verifier = await self._current()
        except AtlanMetaError as error:
            _log.error("connection not readable", conn_id=OAUTH2, error=str(error))
            raise RefusedError(SECRETS_UNREADABLE) from None
        if verifier is None:
            raise RefusedError(_INVALID)
        try:
            return await verifier.tenant_of(token.strip())
        except RejectedError as error:
            self._tell(error)
            raise RefusedError(_INVALID) from None
        except AtlanMetaError as error:
            _log.error("tokens cannot be checked", stage="producer", error=str(error))
            raise RefusedError(_NO_KEYS) from None

    def _tell(self, error: RejectedError) -> None:
        if self._now() >= self._told.get(error.reason, float("-inf")):
            self._told[error.reason] = self._now() + _TELL_SECONDS
            _log.warning("token refused", stage="producer", reason=str(error))

    async def _current(self) -> TokenVerifier | None:
        """None: nothing usable is configured.

        :raises AtlanMetaError: connections cannot be read, and none was before.
        """
        if self._now() < self._until:
            return self._verifier
        async with self._reading:
            if self._now() >= self._until:
                await self._read()
        return self._verifier

    async def _read(self) -> None:
        try:
            info = await asyncio.to_thread(self._find, OAUTH2)
        except AtlanMetaError as error:
            if self._verifier is None:
                raise
            _log.warning("connection not readable, the known one stays", conn_id=OAUTH2, error=str(error))
            self._until = self._now() + _TTL_SECONDS
            return
        try:
            config = None if info is None else OAuth2Config.from_connection(info)
        except ConfigurationError as error:
            _log.error("no token is taken", conn_id=OAUTH2, error=str(error))
            config = None
        else:
            if info is None:
                _log.warning("no token is taken", conn_id=OAUTH2, error="there is no such connection")
            else:
                self._on_secrets(info.secrets())
        if config is None:
            self._verifier = None
        elif self._verifier is None or self._verifier.config != config:
            self._verifier = self._make(config)
        self._until = self._now() + _TTL_SECONDS
