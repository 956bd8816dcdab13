"""How a call to a catalog says who it is: basic, a bearer token, or a token by OAuth2 client credentials."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError

# a token is not used in its last seconds
_EARLY_SECONDS = 30.0
_LIFE_SECONDS = 600.0


class Login(Protocol):
    """What goes into a request's ``Authorization``."""

    def header(self, http: httpx.Client) -> str:
        """Empty: none. May ask for a token with this client.

        :raises ConfigurationError: there will be no token like this.
        :raises TransientError: no token now.
        """
        ...

    def renew(self) -> bool:
        """The catalog did not accept the last one: whether the next one is another."""
        ...


@dataclass(frozen=True, kw_only=True)
class FixedLogin:
    """Basic or a bearer token."""

    value: str = field(default="", repr=False)

    @classmethod
    def basic(cls, login: str, password: str) -> FixedLogin:
        return cls(value=f"Basic {base64.b64encode(f'{login}:{password}'.encode()).decode()}")

    @classmethod
    def bearer(cls, token: str) -> FixedLogin:
        return cls(value=f"Bearer {token}")

    def header(self, http: httpx.Client) -> str:
        del http
        return self.value

    def renew(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class ClientCredentials:
    """Where tokens come from.

    :param camel_case: a JSON body in camelCase, as Atlan wants it, instead of RFC 6749's form.
    """

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    camel_case: bool = False


class TokenLogin:
    """A token until shortly before its end, then the next one. Not thread-safe.

    :param clock: seconds that only go forward.
    """

    def __init__(self, credentials: ClientCredentials, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = credentials
        self._clock = clock
        self._token, self._ends_at = "", 0.0

    def header(self, http: httpx.Client) -> str:
        if not self._token or self._clock() >= self._ends_at:
            self._token, life = self._ask(http)
            self._ends_at = self._clock() + max(life - _EARLY_SECONDS, life / 2)
        return f"Bearer {self._token}"

    def renew(self) -> bool:
        self._token = ""
        return True

    def _ask(self, http: httpx.Client) -> tuple[str, float]:
        asked = self._credentials
        try:
            answer = http.post(asked.url, **_request(asked))
        except httpx.HTTPError as error:
            raise TransientError(f"no token from {asked.url}: {type(error).__name__}") from error
        if answer.status_code >= 500 or answer.status_code == 429:
            raise TransientError(f"no token from {asked.url}: HTTP {answer.status_code}")
        if not answer.is_success:
            raise ConfigurationError(
                f"no token from {asked.url}: HTTP {answer.status_code}; check client_id, client_secret and scope"
            )
        try:
            said = answer.json()
            token = said.get("access_token") or said.get("accessToken")
            life = float(said.get("expires_in") or said.get("expiresIn") or _LIFE_SECONDS)
        except (ValueError, TypeError, AttributeError):
            token, life = None, _LIFE_SECONDS
        if not token or not isinstance(token, str):
            raise ConfigurationError(f"{asked.url} answers without a token; is it a token endpoint?")
        return token, life


def _request(asked: ClientCredentials) -> dict[str, Any]:
    if asked.camel_case:
        return {"json": {"clientId": asked.client_id, "clientSecret": asked.client_secret}}
    form = {
        "grant_type": "client_credentials",
        "client_id": asked.client_id,
        "client_secret": asked.client_secret,
    }
    return {"data": form | ({"scope": asked.scope} if asked.scope else {})}
