"""Records of ``meta.events.v1`` as Monte Carlo's webhooks make them: natural, seeded, bounded in memory.

Incidents are drawn with Zipf's weights; a tenth of the webhooks is the incident's previous one again.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from airflow_provider_atlan_meta.core import identity, montecarlo
from airflow_provider_atlan_meta.core.events import RECEIVED_AT, MetadataEvent, encode_event, event_headers
from airflow_provider_atlan_meta.core.rows import LogRecord

TENANTS = ("acme", "globex", "initech")
START_MS = 1_795_000_000_000
_STEP_MS = 9
_RECENT = 300
_GROUPS = ("analytics:sales", "analytics:finance", "lake:raw.events", "warehouse:core")
_FEEDBACK: tuple[str | None, ...] = (
    *("investigating", "work_in_progress", "fixed", "expected", "no_action_needed", "no_status"),
    None,
)
_SEVERITIES: tuple[str | None, ...] = ("SEV-1", "SEV-2", "SEV-3", "SEV-4", None)
_OWNERS: tuple[str | None, ...] = ("dana@example.com", "lee@example.com", "sam@example.com", None)


@dataclass(frozen=True)
class Shape:
    """How much a webhook tells.

    :param breaches: events that carry a rule and its measurements; 0: anomalies, as short as Monte Carlo gets.
    :param hits: measurements per breach.
    """

    name: str
    breaches: int
    hits: int


SHORT = Shape("0.5 KB", 0, 0)
USUAL = Shape("1.7 KB", 2, 1)
LONG = Shape("15 KB", 18, 1)
SHAPES = (SHORT, USUAL, LONG)


@dataclass(frozen=True)
class Incident:
    """Whom webhooks speak of, and what all of them repeat."""

    tenant: str
    id: str
    account: str
    group: str
    tables: tuple[str, ...]
    states_in_payload: bool
    rule: str


def incidents(count: int, *, seed: int = 1) -> list[Incident]:
    rng = Random(seed)
    accounts = {tenant: _uuid(rng) for tenant in TENANTS}
    made = []
    for number in range(count):
        tenant = TENANTS[number % len(TENANTS)]
        tables = tuple(f"fact_orders_{rng.randrange(count):05d}" for _ in range(rng.choice((1, 1, 1, 2, 3))))
        group, in_payload = rng.choice(_GROUPS), rng.random() < 0.7
        made.append(Incident(tenant, _uuid(rng), accounts[tenant], group, tables, in_payload, _uuid(rng)))
    return made


def records(
    count: int,
    *,
    shape: Shape = USUAL,
    seed: int = 7,
    known: int = 5000,
    duplicates: float = 0.10,
    first_offset: int = 0,
    start_ms: int = START_MS,
    touch_incidents: bool = True,
) -> Iterator[LogRecord]:
    """``count`` records of partition 0, with rising offsets and times.

    :param known: how many incidents there are; another ``seed`` speaks of the same ones.
    :param start_ms: when offset 0 was received.
    :param touch_incidents: False: kept as events only (subject ``event:<id>``).
    """
    rng = Random(seed)
    world = incidents(known)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, known + 1)))
    recent: deque[tuple[Incident, MetadataEvent]] = deque(maxlen=_RECENT)
    last: dict[str, MetadataEvent] = {}
    for offset in range(first_offset, first_offset + count):
        if recent and rng.random() < duplicates:
            incident = recent[rng.randrange(len(recent))][0]
            event = last[incident.id]
        else:
            incident = rng.choices(world, cum_weights=weights)[0]
            event = _event(incident, webhook(incident, shape, rng), touch_incidents)
            last[incident.id] = event
        recent.append((incident, event))
        yield _record(event, offset, start_ms + offset * _STEP_MS)


def repeated(count: int, *, distinct: int = 20_000, start_ms: int) -> Iterator[LogRecord]:
    """``count`` records cheaply: ``distinct`` ones over and over, each time received anew."""
    made = list(records(min(count, distinct)))
    for offset in range(count):
        record = made[offset % len(made)]
        stamp = b"%d" % (start_ms + offset * _STEP_MS)
        yield record._replace(offset=offset, headers=((RECEIVED_AT, stamp), *record.headers[1:]))


def webhook(incident: Incident, shape: Shape, rng: Random) -> dict[str, Any]:
    """One body, shaped like the vendor's samples."""
    payload: dict[str, Any] = {
        "event_list": [
            _item(incident, shape, rng, n) for n in range(max(shape.breaches, len(incident.tables)))
        ],
        "group_id": incident.group,
        "incident_id": incident.id,
        "url": f"https://getmontecarlo.com/alerts/{incident.id}",
    }
    body: dict[str, Any] = {
        "account": {"id": incident.account},
        "action": "incident",
        "payload": payload,
        "type": "open_custom_rule_anomaly_incident" if shape.breaches else "open_anomaly_incident",
        "version": "v0.1",
    }
    stated = payload if incident.states_in_payload else body
    if rng.random() < 0.6:
        stated["alert_feedback"] = rng.choice(_FEEDBACK)
    if rng.random() < 0.4:
        stated["declared_alert_severity"] = rng.choice(_SEVERITIES)
    if rng.random() < 0.3:
        stated["owner"] = rng.choice(_OWNERS)
    return body


def _item(incident: Incident, shape: Shape, rng: Random, number: int) -> dict[str, Any]:
    table = incident.tables[number % len(incident.tables)]
    if number >= shape.breaches:
        return {"event_details": f"Has {int(rng.random() * 1000)} rows vs. 101 expected", "table_name": table}
    threshold = int(rng.random() * 99)
    comparison = {"metric": "custom_metric_1234", "operator": ">", "threshold": f"{threshold}.0"}
    return {
        "data": {
            "hits": [_hit(rng) for _ in range(shape.hits)],
            "metric_display_name": "custom_metric_1234",
            "rule_comparisons": [comparison],
        },
        "rule": {
            "comparisons": [_comparison(incident, threshold)],
            "creator_id": None,
            "description": f"Orders row count of {table} must stay above {threshold}",
            "execution_time": None,
            "prev_execution_time": None,
            "rule_type": "custom_sql",
            "start_time": None,
            "timezone": None,
            "uuid": incident.rule,
        },
        "table_name": table,
    }


def _hit(rng: Random) -> dict[str, Any]:
    value = int(rng.random() * 1000)
    return {
        "field": None,
        "measurement_timestamp": f"Nov 20, {value % 12:02d}:10PM",
        "timestamp": "",
        "value": f"{value}.0",
        "value_rounded": str(value),
    }


def _comparison(incident: Incident, threshold: int) -> dict[str, Any]:
    return {
        "field": None,
        "full_table_id": None,
        "metric": "custom_metric_1234",
        "operator": "GT",
        "threshold": float(threshold),
        "warehouse_uuid": incident.account,
    }


def _event(incident: Incident, body: dict[str, Any], touch_incidents: bool) -> MetadataEvent:
    text = json.dumps(body, separators=(",", ":"))
    event_id = str(identity.event_id(incident.tenant, montecarlo.NAME, text))
    return MetadataEvent(
        id=event_id,
        source=montecarlo.NAME,
        type=body["type"],
        subject=incident.id if touch_incidents else f"event:{event_id}",
        tenant=incident.tenant,
        data=msgspec.Raw(text.encode()),
    )


def _record(event: MetadataEvent, offset: int, received_ms: int) -> LogRecord:
    return LogRecord(
        0,
        offset,
        identity.partition_key(event.tenant, event.subject),
        encode_event(event),
        tuple(event_headers(event, received_ms)),
    )


def _uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))
