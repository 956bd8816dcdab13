"""What PostgreSQL must hold for a list of webhooks, worked out a second time.

Written from the guarantees, not from the code that keeps them: nothing of ``core`` or ``pipeline`` is used,
so that a mistake there cannot hide here. Slow and plain on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID

_RESOLVED = ("FIXED", "EXPECTED", "NO_ACTION_NEEDED", "FALSE_POSITIVE")
_TITLE_MAX = 1024
_ABSENT = object()

# The columns whose change makes a new revision.
EFFECTIVE = (
    "source",
    "type",
    "title",
    "severity",
    "priority",
    "status",
    "owner",
    "url",
    "opened_at",
    "updated_at",
    "resolved_at",
    "entity_ids",
)


class _Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def canonical(body: bytes) -> str:
    """The body with sorted keys and no spaces; numbers as received, text unescaped, last of equal keys."""
    return _dumped(json.loads(body, parse_int=_Number, parse_float=_Number))


def _dumped(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_dumped(key)}:{_dumped(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dumped, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _hash128(*parts: str) -> UUID:
    digest = sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return UUID(bytes=digest.digest()[:16])


@lru_cache(maxsize=50_000)
def event_id_of(tenant: str, body: bytes) -> UUID:
    return _hash128(tenant, "montecarlo", canonical(body))


@dataclass(frozen=True)
class Webhook:
    """One accepted webhook in log order.

    :param received_at: milliseconds since 1970, as its row says.
    """

    tenant: str
    body: bytes
    received_at: int

    @property
    def event_id(self) -> UUID:
        return event_id_of(self.tenant, self.body)

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


def type_of(body: bytes) -> str:
    return str(json.loads(body).get("type", "unknown"))


def subject_of(tenant: str, body: bytes) -> str:
    """The incident's id; without one the event stands for itself."""
    incident = (json.loads(body).get("payload") or {}).get("incident_id")
    return incident if isinstance(incident, str) and incident else f"event:{event_id_of(tenant, body)}"


@dataclass
class ExpectedIncident:
    """An incident after some webhooks; :attr:`values` has one entry per effective column.

    :param causes: which webhook made each revision, by its place among them.
    """

    values: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(EFFECTIVE))
    causes: list[int] = field(default_factory=list)
    entities: dict[UUID, dict[str, Any]] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        return len(self.causes)


def expected_incident(webhooks: Sequence[Webhook]) -> ExpectedIncident:
    """The incident that these webhooks, all of one incident and in log order, leave behind."""
    incident = ExpectedIncident()
    incident.values["entity_ids"] = ()
    previous: UUID | None = None
    for place, webhook in enumerate(webhooks):
        if webhook.event_id == previous:
            continue
        previous = webhook.event_id
        stated = _stated(webhook)
        entities = stated.pop("entities")
        if incident.revision:
            del stated["opened_at"]  # the earliest webhook's
        after = incident.values | stated
        if after != incident.values or not incident.revision:
            incident.causes.append(place)
        incident.values = after
        incident.entities |= entities
    return incident


def _stated(webhook: Webhook) -> dict[str, Any]:
    """The fields a body speaks of. What it does not mention is not there; None clears."""
    body = webhook.document
    payload = body.get("payload") or {}
    stated: dict[str, Any] = {
        "source": "montecarlo",
        "type": body.get("type", "unknown"),
        "opened_at": webhook.received_at,
        "entities": {},
    }
    title = _title(body, payload)
    if title is not None:
        stated["title"] = title
    if "url" in payload:
        stated["url"] = payload["url"]
    feedback = _placed(body, payload, "alert_feedback")
    if feedback is not _ABSENT:
        stated["status"] = _status(feedback)
        stated["resolved_at"] = webhook.received_at if stated["status"] in _RESOLVED else None
    severity = _placed(body, payload, "declared_alert_severity")
    if severity is not _ABSENT:
        stated["severity"] = severity.replace("SEV_", "SEV-") if severity else severity
    owner = _placed(body, payload, "owner")
    if owner is not _ABSENT:
        stated["owner"] = owner
    if "event_list" in payload:
        stated["entities"] = _entities(webhook.tenant, body, payload)
        stated["entity_ids"] = tuple(sorted(stated["entities"]))
    return stated


def _placed(body: dict[str, Any], payload: dict[str, Any], name: str) -> Any:
    """An update field: inside the payload or beside it, the payload counts when both have it."""
    return payload.get(name, body.get(name, _ABSENT))


def _status(feedback: str | None) -> str | None:
    if feedback in (None, "no_status"):
        return None
    return "ACKNOWLEDGED" if feedback == "investigating" else feedback.upper()


def _title(body: dict[str, Any], payload: dict[str, Any]) -> str | None:
    events = payload.get("event_list") or []
    rules = [payload.get("rule"), *(event.get("rule") for event in events)]
    candidates = [rule["description"] for rule in rules if rule and rule.get("description") is not None]
    if events and events[0].get("event_details") is not None:
        candidates.append(events[0]["event_details"])
    if not candidates and not events:
        return None
    words = body.get("type", "unknown").replace("_", " ")
    tables = [event["table_name"] for event in events if event.get("table_name") is not None]
    candidates.append(f"{words} on {payload.get('group_id') or ''}.{tables[0]}" if tables else words)
    return str(candidates[0][:_TITLE_MAX])


def _entities(tenant: str, body: dict[str, Any], payload: dict[str, Any]) -> dict[UUID, dict[str, Any]]:
    """Tables known by Monte Carlo's names only."""
    group = payload.get("group_id") or ""
    database, _, schema = group.partition(":")
    entities = {}
    for event in payload["event_list"] or ():
        table = event.get("table_name")
        if isinstance(table, str):
            qualified_name = f"mc:{body['account']['id']}:{group}.{table}"
            entities[_hash128(tenant, "montecarlo", qualified_name)] = {
                "qualified_name": qualified_name,
                "type_name": "table",
                "name": table,
                "platform": "montecarlo",
                "database_name": database or None,
                "schema_name": schema or None,
            }
    return entities
