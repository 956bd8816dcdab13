"""Monte Carlo's GraphQL API: alerts by id and by the time of their last update.

Credentials are an API key or an OAuth2 client; they are sent to the connection's own host only and never repeated in
an error.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from airflow_provider_atlan_meta.clients.bounded_http import Answer, BoundedHttp, retry_after
from airflow_provider_atlan_meta.core.budget import DailyBudget
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    TerminalError,
    TransientError,
)
from airflow_provider_atlan_meta.core.montecarlo_api import (
    ALERTS_FILTER,
    ALERTS_QUERY,
    Alert,
    AlertsPage,
    parse_alerts,
)
from airflow_provider_atlan_meta.core.montecarlo_registration import (
    REGISTER_MUTATION,
    SETTINGS_QUERY,
    find_setting,
    registered_id,
    registration,
)

API_URL = "https://api.getmontecarlo.com"
# Monte Carlo ends a request after as long
MAX_SECONDS = 30.0
IDS_PER_CALL = 100
WINDOW = timedelta(days=60)
_PAGE = 100
_MAX_TEXT = 300
_CALLS_PER_DAY = 10_000
_SCOPES = "https://api.getmontecarlo.com/access https://instance.getmontecarlo.com/{instance}"
# A token is renewed so long before it ends.
_TOKEN_MARGIN_SECONDS = 60.0
# of a token that does not say how long it lasts
_TOKEN_SECONDS = 300.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Answers by status; others below 500 are terminal, from 500 on they may pass.
_ERRORS: Mapping[int, tuple[type[AtlanMetaError], str]] = {
    401: (ConfigurationError, "the API key or client of the connection is not valid; make a new one"),
    403: (ConfigurationError, "the role of the API key may not read alerts; give it one that may"),
    404: (ConfigurationError, "there is no such API; check the host of the connection"),
    408: (TransientError, "ask again"),
    425: (TransientError, "ask again"),
    429: (TransientError, "asked too often"),
}


@dataclass(frozen=True, kw_only=True)
class MonteCarloConfig:
    """:param url: without ``/graphql`` and without a slash at its end.
    :param key_id, key_token: an API key; else ``client_id`` and ``client_secret`` with the account's ``instance``.
    :param calls_per_day: what this process may ask; 0: as much as it wants.
    """

    conn_id: str
    url: str = API_URL
    key_id: str = ""
    key_token: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    token_url: str = ""
    instance: str = ""
    timeout_seconds: float = MAX_SECONDS
    calls_per_day: int = _CALLS_PER_DAY

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> MonteCarloConfig:
        """login, password = an API key's id and token (or extra ``mcd_id``, ``mcd_token``: the layout of ``mcd``
        connections); or extra ``client_id``, ``client_secret``, ``instance`` (``us1``, ``eu1``). host: another API.

        :raises ConfigurationError: no credentials, half of them, or a host that would be told them in the clear.
        """
        extra = info.extra
        url = _base_url(info)
        client_id, client_secret = _text(extra, "client_id"), _text(extra, "client_secret")
        instance = _text(extra, "instance")
        if client_id or client_secret:
            if not (client_id and client_secret and instance):
                raise ConfigurationError(
                    f"connection {info.conn_id!r}: OAuth2 needs client_id, client_secret and instance (us1, eu1)"
                )
        elif not has_api_credentials(info):
            raise ConfigurationError(
                f"connection {info.conn_id!r} has no API key; put its id into login and its token into password"
            )
        return cls(
            conn_id=info.conn_id,
            url=url,
            key_id="" if client_id else info.login or _text(extra, "mcd_id"),
            key_token="" if client_id else info.password or _text(extra, "mcd_token"),
            client_id=client_id,
            client_secret=client_secret,
            token_url=_safe_url(info.conn_id, _text(extra, "token_url") or f"{url}/oauth2/token"),
            instance=instance,
            timeout_seconds=min(float(_number(info, "timeout", MAX_SECONDS)), MAX_SECONDS),
            calls_per_day=int(_number(info, "calls_per_day", _CALLS_PER_DAY)),
        )


def has_api_credentials(info: ConnectionInfo) -> bool:
    """Whether the connection holds more than the secret of webhooks."""
    extra = info.extra
    is_key = bool((info.login or _text(extra, "mcd_id")) and (info.password or _text(extra, "mcd_token")))
    return is_key or bool(_text(extra, "client_id") and _text(extra, "client_secret"))


class MonteCarloClient:
    """Implements ``core.montecarlo_api.AlertSource``. No call is repeated here, but once with a new token.

    Not thread-safe.

    :param transport: stands in for the network in tests. :param now: of the day that calls are counted in.
    :raises TransientError: no answer, too many calls (``retry_after``), a fault of Monte Carlo's.
    :raises TerminalError: refused: key, role or question.
    """

    def __init__(
        self,
        config: MonteCarloConfig,
        *,
        transport: httpx.BaseTransport | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._now = now
        self._budget = DailyBudget(config.calls_per_day, of="Monte Carlo")
        self._token = ""
        self._token_until = 0.0
        self._http = BoundedHttp("Monte Carlo", transport)

    def __enter__(self) -> MonteCarloClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def by_ids(self, ids: Sequence[str], *, timeout_seconds: float = MAX_SECONDS) -> dict[str, Alert]:
        """The alerts there are, by id as asked; one call per ``IDS_PER_CALL`` of them.

        :param timeout_seconds: for all of it.
        """
        deadline = time.monotonic() + timeout_seconds
        asked = {canonical: alert_id for alert_id in ids if (canonical := _uuid(alert_id))}
        found: dict[str, Alert] = {}
        canonical_ids = list(asked)
        for start in range(0, len(canonical_ids), IDS_PER_CALL):
            batch = canonical_ids[start : start + IDS_PER_CALL]
            variables: dict[str, Any] = {"ids": batch, "first": len(batch)}
            for page in self._pages(variables, deadline):
                found |= {asked[_uuid(a.id)]: a for a in page.alerts if _uuid(a.id) in asked}
        return found

    def updated_between(self, after: datetime, before: datetime) -> Iterator[list[Alert]]:
        """Alerts last updated in [after, before), oldest first, page by page; each version once.

        :param after, before: with their zone; a longer time than the API allows is asked in parts.
        """
        start = after
        while start < before:
            end = min(start + WINDOW, before)
            yield from self._window(start, end)
            start = end

    def register_webhook(self, *, audience_id: str, url: str, secret: str, dry_run: bool) -> str | None:
        """Has an audience's alerts sent to ``url``, signed with ``secret``; the same again changes that one.

        :param dry_run: Monte Carlo sends a sample alert now and keeps nothing.
        :return: id of the setting; None after a dry run.
        """
        asked = {"query": SETTINGS_QUERY, "variables": {"audience": audience_id}}
        setting_id = find_setting(self._ask(asked, self._deadline()), url)
        variables = registration(
            audience_id=audience_id, url=url, secret=secret, setting_id=setting_id, dry_run=dry_run
        )
        try:
            return registered_id(
                self._ask({"query": REGISTER_MUTATION, "variables": variables}, self._deadline())
            )
        except TerminalError as error:
            raise type(error)(str(error).replace(secret, "***")[:_MAX_TEXT]) from None

    def describe(self) -> str:
        """One line for people: proves that the credentials may read alerts."""
        now = self._now()
        self._page(_window_variables(now - timedelta(minutes=1), now, first=1), self._deadline())
        kind = "OAuth2 client" if self._config.client_id else "API key"
        return f"Monte Carlo at {self._config.url} answers this {kind}"

    def _window(self, after: datetime, before: datetime) -> Iterator[list[Alert]]:
        """A page begins at the time of the last alert seen, not at a position: an alert that is updated while we
        read moves the positions of all behind it. Positions are used only among alerts of one and the same time.
        """
        seen: set[tuple[str, int]] = set()
        variables = _window_variables(after, before, first=_PAGE)
        while True:
            page = self._page(variables, self._deadline())
            new = [alert for alert in page.alerts if (alert.id, alert.updated_at) not in seen]
            if new:
                yield new
            if not page.has_next:
                return
            last = max((alert.updated_at for alert in page.alerts), default=None)
            if last is not None and last > _microseconds(after):
                after = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=last)
                seen = {(alert.id, alert.updated_at) for alert in page.alerts if alert.updated_at == last}
                variables = _window_variables(after, before, first=_PAGE)
            else:
                seen |= {(alert.id, alert.updated_at) for alert in page.alerts}
                variables = variables | {"after": _moved(variables.get("after"), page)}

    def _pages(self, variables: dict[str, Any], deadline: float) -> Iterator[AlertsPage]:
        while True:
            page = self._page(variables, deadline)
            yield page
            if not page.has_next:
                return
            variables = variables | {"after": _moved(variables.get("after"), page)}

    def _page(self, variables: Mapping[str, Any], deadline: float) -> AlertsPage:
        return parse_alerts(self._ask({"query": ALERTS_QUERY, "variables": variables}, deadline))

    def _deadline(self) -> float:
        return time.monotonic() + self._config.timeout_seconds

    def _ask(self, question: Mapping[str, Any], deadline: float) -> bytes:
        """The body of an answer with status 200."""
        url, body = f"{self._config.url}/graphql", json.dumps(question).encode()
        headers = {"content-type": "application/json", **self._credentials(deadline)}
        answer = self._post(url, body, headers, deadline)
        if answer.status == 401 and self._config.client_id:
            self._token_until = 0.0
            answer = self._post(url, body, headers | self._credentials(deadline), deadline)
        if answer.status != 200:
            raise _translated(answer, self._now())
        return answer.body

    def _credentials(self, deadline: float) -> dict[str, str]:
        config = self._config
        if not config.client_id:
            return {"x-mcd-id": config.key_id, "x-mcd-token": config.key_token}
        if time.monotonic() >= self._token_until:
            self._fetch_token(deadline)
        return {"authorization": f"Bearer {self._token}"}

    def _fetch_token(self, deadline: float) -> None:
        config = self._config
        form = {"grant_type": "client_credentials", "scope": _SCOPES.format(instance=config.instance)}
        auth = httpx.BasicAuth(config.client_id, config.client_secret)
        asked_at = time.monotonic()
        request = httpx.Request("POST", config.token_url, data=form)
        headers = {"content-type": request.headers["content-type"]}
        answer = self._post(config.token_url, request.content, headers, deadline, auth)
        if answer.status in (400, 401, 403):
            raise ConfigurationError(
                f"Monte Carlo gives no token ({answer.status}); check client_id, client_secret and instance"
            )
        if answer.status != 200:
            raise _translated(answer, self._now())
        try:
            given = json.loads(answer.body)
            self._token = str(given["access_token"])
            lasts = float(given.get("expires_in") or _TOKEN_SECONDS)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TerminalError(f"{config.token_url} answers no token; is it the right address?") from None
        self._token_until = asked_at + max(lasts - _TOKEN_MARGIN_SECONDS, lasts / 2)

    def _post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        deadline: float,
        auth: httpx.Auth | None = None,
    ) -> Answer:
        self._budget.take(self._now())
        left = min(deadline - time.monotonic(), MAX_SECONDS)
        return self._http.post(url, body, headers, timeout_seconds=left, auth=auth)


def _window_variables(after: datetime, before: datetime, *, first: int) -> dict[str, Any]:
    window = {"after": after.isoformat(), "before": before.isoformat()}
    return {"updated": window, "filter": ALERTS_FILTER, "first": first}


def _moved(cursor: str | None, page: AlertsPage) -> str:
    if not page.next_cursor or page.next_cursor == cursor:
        raise TransientError("Monte Carlo says there are more alerts and not where; ask again")
    return page.next_cursor


def _translated(answer: Answer, now: datetime) -> AtlanMetaError:
    kind, cure = _ERRORS.get(answer.status, (TerminalError, "is this Monte Carlo's API?"))
    if answer.status >= 500:
        kind, cure = TransientError, "ask again"
    told = _said(answer.body) if kind is TerminalError else ""
    text = f"Monte Carlo answered {answer.status}{told}; {cure}"
    if issubclass(kind, TransientError):
        return kind(text, retry_after=retry_after(answer.headers, now))
    return kind(text)


def _said(body: bytes) -> str:
    """The GraphQL errors of an answer that is not 200."""
    try:
        errors = json.loads(body)["errors"]
        return f": {'; '.join(str(error['message']) for error in errors)[:_MAX_TEXT]}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _base_url(info: ConnectionInfo) -> str:
    host = info.host.rstrip("/").removesuffix("/graphql").rstrip("/")
    if not host:
        return API_URL
    url = host if "://" in host else f"https://{host}"
    return _safe_url(info.conn_id, f"{url}:{info.port}" if info.port else url)


def _safe_url(conn_id: str, url: str) -> str:
    """:raises ConfigurationError: secrets would travel in the clear."""
    try:
        parts = urlsplit(url)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    except ValueError:
        is_safe = False
    if not is_safe or not parts.hostname or parts.username or parts.query:
        raise ConfigurationError(
            f"connection {conn_id!r}: its address must be https://..., without a login in it (http:// only on loopback)"
        )
    return url


def _number(info: ConnectionInfo, name: str, default: float) -> float:
    text = info.extra.get(name)
    try:
        number = default if text in (None, "") else float(text)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < 1e12 or (name == "timeout" and number == 0):
        raise ConfigurationError(f"connection {info.conn_id!r}: its {name} is not a number that can be")
    return number


def _text(extra: Mapping[str, Any], name: str) -> str:
    return str(extra.get(name) or "")


def _uuid(text: str) -> str:
    """An alert's id as the API writes it; empty: no alert can have it, and asking would refuse all others too."""
    try:
        return str(UUID(text)) if len(text) == 36 else ""
    except ValueError:
        return ""


def _microseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
