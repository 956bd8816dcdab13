"""Monte Carlo's GraphQL API as far as we ask it: ``getAlerts``, the registration of a webhook, OAuth2 tokens.

Pure protocol, no server: ``testing.recorder`` puts it behind HTTP. What GraphQL refuses is HTTP 200 with ``errors``,
as with Monte Carlo itself; only selected fields are answered, and a field that an alert does not have is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from airflow_provider_atlan_meta.testing.graphql_document import Field, GraphQLError, parse_operation

WINDOW_MAX = timedelta(days=62)
PAGE_DEFAULT, PAGE_MAX = 20, 1_000
TOKEN_SECONDS = 3600.0
_ALERTS_KEPT = 100_000
_VERSIONS_KEPT = 10
_ORDERS = ("updatedTime", "createdTime")

Answer = dict[str, Any]

# Every field of an alert that exists here, with what it is when nobody set it.
_DEFAULTS: Mapping[str, Any] = {
    "title": "Volume anomaly",
    "type": "ANOMALIES",
    "subTypes": [],
    "severity": None,
    "priority": None,
    "triagePriority": "NOT_TRIAGED",
    "status": None,
    "owner": None,
    "tables": [],
    "assets": [],
    "activeAssets": [],
    "audiences": [],
    "domains": [],
    "monitorUuids": [],
    "monitorTags": [],
    "jiraTickets": [],
    "sloStatus": None,
    "url": None,
}


class Unauthorized(Exception):
    """HTTP 401."""


class MonteCarloApi:
    """One account. Any API key of two non-empty parts is right; a bearer must have been given out here.

    :param clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        # id -> versions, oldest first, each with the time it was set
        self._alerts: OrderedDict[str, list[tuple[float, Answer]]] = OrderedDict()
        self._tokens: dict[str, float] = {}
        self.audience_id = str(UUID(int=1))
        self.webhooks: dict[str, Answer] = {}

    def put(self, alerts: Iterable[Mapping[str, Any]]) -> int:
        """Sets alerts as they are from now on, by ``id``; without ``updatedTime`` they were updated now.

        :raises ValueError: an id that is no UUID, a time without its zone, a field that alerts do not have.
        """
        now = self._clock()
        made = [self._made(alert, now) for alert in alerts]
        for alert in made:
            versions = self._alerts.setdefault(alert["id"], [])
            versions.append((now, alert))
            del versions[:-_VERSIONS_KEPT]
            self._alerts.move_to_end(alert["id"])
        while len(self._alerts) > _ALERTS_KEPT:
            self._alerts.popitem(last=False)
        return len(made)

    def clear(self) -> None:
        self._alerts.clear()

    def revoke_tokens(self) -> None:
        self._tokens.clear()

    def current(self) -> list[Answer]:
        return [versions[-1][1] for versions in self._alerts.values()]

    def call(self, headers: Mapping[str, str], body: bytes, lag_seconds: float = 0.0) -> Answer:
        """The answer of ``POST /graphql``.

        :param lag_seconds: what was set in these last seconds is not seen yet.
        :raises Unauthorized: neither an API key nor a bearer of ours that is valid.
        """
        self._authenticate(headers)
        try:
            asked = json.loads(body)
            operation = parse_operation(asked["query"], asked.get("variables") or {})
            data = {
                field.name: self._answer(operation.kind, field, lag_seconds) for field in operation.fields
            }
        except GraphQLError as error:
            return {"errors": [{"message": str(error)}], "data": None}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"errors": [{"message": "Must provide query string."}]}
        return {"data": data}

    def token(self, authorization: str, body: bytes) -> tuple[int, Answer]:
        """Status and answer of ``POST /oauth2/token``: client credentials in the header or in the form."""
        form = dict(parse_qsl(body.decode(errors="replace")))
        client = _basic(authorization) or (form.get("client_id", ""), form.get("client_secret", ""))
        if form.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        if not all(client):
            return 401, {"error": "invalid_client"}
        token = secrets.token_urlsafe(24)
        self._tokens[token] = self._clock() + TOKEN_SECONDS
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": int(TOKEN_SECONDS)}

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if self._tokens.get(token, 0.0) > self._clock():
                return
        elif headers.get("x-mcd-id") and headers.get("x-mcd-token"):
            return
        raise Unauthorized

    @staticmethod
    def _made(alert: Mapping[str, Any], now: float) -> Answer:
        unknown = alert.keys() - _DEFAULTS.keys() - {"id", "createdTime", "updatedTime"}
        if unknown:
            raise ValueError(f"alerts have no {', '.join(sorted(unknown))}")
        alert_id = str(UUID(str(alert.get("id"))))
        updated = alert.get("updatedTime") or datetime.fromtimestamp(now, UTC).isoformat(
            timespec="microseconds"
        )
        created = alert.get("createdTime") or updated
        for text in (updated, created):
            _time(text)
        url = f"https://getmontecarlo.com/alerts/{alert_id}"
        times = {"createdTime": created, "updatedTime": updated}
        return {"id": alert_id, **_DEFAULTS, "url": url, **alert, **times}

    def _answer(self, kind: str, field: Field, lag_seconds: float) -> Any:
        if kind == "query" and field.name == "getAlerts":
            return self._get_alerts(field, lag_seconds)
        if kind == "mutation" and field.name == "createOrUpdateAudienceNotificationSetting":
            return self._register(field)
        if kind == "query" and field.name == "getNotificationAudiences":
            return self._audiences(field)
        raise GraphQLError(f'Cannot query field "{field.name}" on type "{kind.capitalize()}".')

    def _get_alerts(self, field: Field, lag_seconds: float) -> Answer:
        given = field.arguments
        if all(given.get(name) is None for name in ("ids", *_ORDERS)):
            raise GraphQLError("Either updatedTime, createdTime or ids must be provided")
        found = [alert for alert in self._visible(lag_seconds) if _wanted(alert, given)]
        order = given.get("orderBy") or "-createdTime"
        name, is_descending = order.lstrip("-"), order.startswith("-")
        if name not in _ORDERS:
            raise GraphQLError(f"Cannot order by {name}.")
        found.sort(key=lambda alert: (_time(alert[name]), alert["id"]), reverse=is_descending)
        first = given.get("first") or PAGE_DEFAULT
        start = _position(given.get("after")) + 1
        page = found[start : start + min(first, PAGE_MAX)]
        edges = [{"cursor": _cursor(start + index), "node": alert} for index, alert in enumerate(page)]
        connection = {
            "totalCount": len(found),
            "pageInfo": {
                "hasNextPage": start + len(page) < len(found),
                "endCursor": edges[-1]["cursor"] if edges else None,
            },
            "edges": edges,
        }
        answer: Answer = _selected(connection, field.fields, "AlertConnection")
        return answer

    def _visible(self, lag_seconds: float) -> list[Answer]:
        newest = self._clock() - lag_seconds
        seen = [
            [alert for at, alert in versions if lag_seconds <= 0 or at <= newest]
            for versions in self._alerts.values()
        ]
        return [versions[-1] for versions in seen if versions]

    def _register(self, field: Field) -> Answer:
        given = field.arguments
        if given.get("notificationType") != "webhook" or not given.get("recipients"):
            raise GraphQLError("notificationType and recipients are needed")
        setting_id = given.get("uuid") or str(UUID(int=len(self.webhooks) + 1))
        setting: Answer | None = None
        if not given.get("dry"):
            self.webhooks[setting_id] = dict(given)
            setting = {"uuid": setting_id, "type": "WEBHOOK", "recipients": given["recipients"]}
        answer: Answer = _selected({"notificationSetting": setting}, field.fields, "Registration")
        return answer

    def _audiences(self, field: Field) -> list[Answer]:
        """One audience; asked for another, there is none."""
        if field.arguments.get("audienceId") not in (None, self.audience_id):
            return []
        settings = [
            {"uuid": setting_id, "type": "WEBHOOK", "recipients": given["recipients"]}
            for setting_id, given in self.webhooks.items()
            if given.get("audienceId") == self.audience_id
        ]
        audience = {"uuid": self.audience_id, "label": "data-platform", "notificationSettings": settings}
        found: list[Answer] = _selected([audience], field.fields, "NotificationAudience")
        return found


def _wanted(alert: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    ids = given.get("ids")
    if ids is not None and alert["id"] not in ids:
        return False
    for name in _ORDERS:
        window = given.get(name)
        if window is not None and not _within(alert[name], window):
            return False
    filters = given.get("filter") or {}
    include = (filters.get("include") or {}).get("types")
    exclude = (filters.get("exclude") or {}).get("types") or []
    return (include is None or alert["type"] in include) and alert["type"] not in exclude


def _within(text: str, window: Mapping[str, str]) -> bool:
    """``after`` is inclusive, ``before`` exclusive."""
    try:
        after, before = _time(window["after"]), _time(window["before"])
    except (KeyError, ValueError):
        raise GraphQLError("DateTimeRangeInput needs after and before, each with its zone") from None
    if before - after > WINDOW_MAX:
        raise GraphQLError("The time range must not be longer than 2 months")
    return after <= _time(text) < before


def _time(text: Any) -> datetime:
    time_ = datetime.fromisoformat(str(text))
    if time_.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return time_


def _selected(value: Any, fields: tuple[Field, ...], of: str) -> Any:
    """Only what was asked for, at every depth."""
    if isinstance(value, list):
        return [_selected(item, fields, of) for item in value]
    if not isinstance(value, dict) or not fields:
        return value
    answer: Answer = {}
    for field in fields:
        if field.name == "__typename":
            answer["__typename"] = "Alert" if of == "node" else of
        elif field.name in value:
            answer[field.name] = _selected(value[field.name], field.fields, field.name)
        elif of in ("tables", "assets", "activeAssets", "owner", "audiences", "domains"):
            answer[field.name] = None
        else:
            kind = "Alert" if of == "node" else of
            raise GraphQLError(f'Cannot query field "{field.name}" on type "{kind}".')
    return answer


def _cursor(position: int) -> str:
    return base64.b64encode(f"arrayconnection:{position}".encode()).decode()


def _position(cursor: str | None) -> int:
    if not cursor:
        return -1
    try:
        return int(base64.b64decode(cursor, validate=True).decode().removeprefix("arrayconnection:"))
    except (ValueError, binascii.Error):
        raise GraphQLError("Invalid cursor") from None


def _basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        login, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        return None
    return login, password
