"""What Monte Carlo would say about an incident: webhook bodies of all 8 triggers, from a seeded generator.

Where the vendor leaves something open (where update fields sit, what a ticket looks like), every form
seen occurs. Bodies carry what breaks careless code: non-ASCII text, quotes, floats written with exponents,
characters that Python versions print differently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any
from uuid import UUID

TRIGGERS = (
    "created",
    "acknowledged",
    "status_updated",
    "owner_changed",
    "ticket_attached",
    "marked_as_incident",
    "unmarked",
    "resolved",
)
_RESOLVED = ("fixed", "expected", "no_action_needed", "false_positive")
_KNOWN_TYPES = ("open_anomaly_incident", "open_custom_rule_anomaly_incident")
_UNKNOWN_TYPES = ("open_semantic_drift_incident", "agent_evaluation_incident")
_DETAILS = (
    "Has 42 rows vs. 101 expected",
    'Größe von "aufträge" fiel um 40 % → 表 is stale',
    "It's late by 3 h\nlast seen: 04:10",
    # printable since Unicode 15 only: Python 3.11 and 3.12 sign it differently
    "Freshness \U0001fae8 anomaly",
)
# Written as 1.00025E+3: what is compared must be the number as received, not as printed.
_EXPONENT = (1000.25, "1.00025E+3")


class MonteCarloIncident:
    """What Monte Carlo knows of one incident, and the bodies it would send about it.

    :param kind: its type; None: any.
    """

    def __init__(self, rng: Random, kind: str | None = None) -> None:
        self._rng = rng
        self.id = random_uuid(rng)
        self._account = random_uuid(rng)
        drawn = rng.choice(_KNOWN_TYPES if rng.random() < 0.85 else _UNKNOWN_TYPES)
        self._type = kind or drawn
        self._group = rng.choice(("analytics:sales", "analytics:finance", "lake:raw.events", None))
        self._tables = [rng.choice(("orders", "auftr\u00e4ge", "order_items", "daily'snapshot"))]
        self._details = rng.choice((*_DETAILS, None))
        self._rule_in_payload = rng.random() < 0.5
        self._placement = rng.choice(("payload", "top", "both"))
        self._states_all = rng.random() < 0.5
        self._fields: dict[str, str | None] = {}
        self._ticket: dict[str, str] | None = None

    def told(self, trigger: str) -> dict[str, Any]:
        """The webhook of ``trigger``, after it happened."""
        changed = self._happen(trigger)
        payload: dict[str, Any] = {
            "event_list": self._events(),
            "group_id": self._group,
            "incident_id": self.id,
            "url": f"https://getmontecarlo.com/alerts/{self.id}",
        }
        if self._type == _KNOWN_TYPES[1] and self._rule_in_payload:
            payload["rule"] = self._rule()
        if self._ticket is not None:
            payload["external_ticket"] = self._ticket
        body = {
            "account": {"id": self._account},
            "action": "incident",
            "payload": payload,
            "type": self._type,
            "version": "v0.1",
        }
        self._state(body, self._fields if self._states_all else changed)
        return body

    def _happen(self, trigger: str) -> dict[str, str | None]:
        rng = self._rng
        changed: dict[str, str | None] = {}
        if trigger == "acknowledged":
            changed["alert_feedback"] = "investigating"
        elif trigger == "status_updated":
            changed["alert_feedback"] = rng.choice(("work_in_progress", "no_status", None, "investigating"))
        elif trigger == "owner_changed":
            changed["owner"] = f"{rng.choice(('dana', 'lee', 'sören'))}{rng.randrange(100)}@example.com"
        elif trigger == "marked_as_incident":
            changed["declared_alert_severity"] = rng.choice(("SEV-1", "SEV-2", "SEV_3", "SEV-4"))
        elif trigger == "unmarked":
            changed["declared_alert_severity"] = None
        elif trigger == "resolved":
            changed["alert_feedback"] = rng.choice(_RESOLVED)
        elif trigger == "ticket_attached":
            self._ticket = {"provider": "jira", "key": f"DATA-{rng.randrange(10_000)}"}
        self._fields |= changed
        if trigger != "created" and rng.random() < 0.08:
            self._tables.append(f"joined_{rng.randrange(1000)}")
        return changed

    def _state(self, body: dict[str, Any], fields: Mapping[str, str | None]) -> None:
        if self._placement == "top":
            body.update(fields)
            return
        body["payload"].update(fields)
        if self._placement == "both":  # a stale copy at the top: the payload's own field counts
            body.update({name: "stale@example.com" if name == "owner" else None for name in fields})

    def _events(self) -> list[dict[str, Any]]:
        if self._type == _KNOWN_TYPES[1]:
            event: dict[str, Any] = {
                "data": {"metric_display_name": "custom_metric_1234", "rows": [1, 2.50, None, True]}
            }
            if not self._rule_in_payload:
                event["rule"] = self._rule()
            return [event | {"table_name": None}]
        events = [{"event_details": self._details, "table_name": table} for table in self._tables]
        if self._details is None:
            del events[0]["event_details"]
        return events

    def _rule(self) -> dict[str, Any]:
        threshold = {
            "metric": "custom_metric_1234",
            "operator": "GT",
            "threshold": _EXPONENT[0],
            "field": None,
        }
        return {
            "comparisons": [threshold | {"baseline": 49.0}],
            "description": f"Orders row count must stay above {self._account[:4]}",
            "rule_type": "custom_sql",
            "uuid": self._account,
        }


def written(document: Any, *, compact: bool, ascii_only: bool) -> bytes:
    separators = (",", ":") if compact else (", ", ": ")
    text = json.dumps(document, separators=separators, ensure_ascii=ascii_only)
    return text.replace(str(_EXPONENT[0]), _EXPONENT[1]).encode()


def random_uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))
