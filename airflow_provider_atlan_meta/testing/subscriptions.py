"""Subscriptions as an installation grows them, and changes they are about: for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID

from airflow_provider_atlan_meta.core.changes import COLUMNS, ChangeEvent
from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.routing import DestinationSpec, Subscription

SEVERITIES = ("SEV-1", "SEV-2", "SEV-3", "SEV-4")
STATUSES = ("ACKNOWLEDGED", "WORK_IN_PROGRESS", "FIXED", "EXPECTED", "NO_ACTION_NEEDED", "FALSE_POSITIVE")
TYPES = ("open_anomaly_incident", "open_custom_rule_anomaly_incident", "incident_status_updated")
_TEAMS = tuple(f"team{number:02}" for number in range(40))
_SCHEMAS = tuple(f"schema{number:02}" for number in range(40))
_INCIDENT_KINDS = {"kind": ["incident"]}

# By how often they are met: most rules are about one team's or one schema's incidents, few watch everything.
_SHAPES: tuple[tuple[int, Callable[[Random], dict[str, Any]]], ...] = (
    (20, lambda pick: {**_INCIDENT_KINDS, "owner": [f"{pick.choice(_TEAMS)}@acme.example"]}),
    (15, lambda pick: {**_INCIDENT_KINDS, "title": [{"wildcard": f"*{pick.choice(_SCHEMAS)}*"}]}),
    (
        15,
        lambda pick: {
            **_INCIDENT_KINDS,
            "severity": [SEVERITIES[pick.randrange(2)]],
            "owner": [{"suffix": f"{pick.choice(_TEAMS)}@acme.example"}],
        },
    ),
    (
        10,
        lambda pick: {
            **_INCIDENT_KINDS,
            "status": {"from": [None, "ACKNOWLEDGED"], "to": [pick.choice(STATUSES)]},
            "title": [{"prefix": f"Has {pick.randrange(90)} "}],
        },
    ),
    (
        10,
        lambda pick: {
            **_INCIDENT_KINDS,
            "op": ["created"],
            "type": [TYPES[pick.randrange(2)]],
            "title": [{"anything-but": {"prefix": "Has"}}],
        },
    ),
    (
        5,
        lambda pick: {
            **_INCIDENT_KINDS,
            "changed": ["owner", "severity"],
            "owner": [{"equals-ignore-case": f"{pick.choice(_TEAMS)}@ACME.example"}],
        },
    ),
    (
        5,
        lambda pick: {
            **_INCIDENT_KINDS,
            "$or": [{"severity": ["SEV-1"]}, {"priority": ["P1"]}],
            "entity_ids": [str(UUID(int=pick.getrandbits(128))) for _ in range(3)],
        },
    ),
    (10, lambda pick: {"kind": ["entity"], "schema_name": [pick.choice(_SCHEMAS)]}),
    (
        10,
        lambda pick: {
            "kind": ["entity"],
            "op": ["created", "deleted"],
            "qualified_name": [{"prefix": f"mc:acme:analytics:{pick.choice(_SCHEMAS)}."}],
        },
    ),
)
_WATCH_EVERYTHING: tuple[dict[str, Any], ...] = ({**_INCIDENT_KINDS}, {"op": ["deleted"]}, {})


def realistic_subscriptions(count: int, *, tenant: str = "acme", seed: int = 7) -> tuple[Subscription, ...]:
    """The same ones for the same seed; of 100, three watch everything or nearly so."""
    pick = Random(seed)  # noqa: S311 - no secret is drawn
    watching = [_WATCH_EVERYTHING[number % 3] for number in range(max(1, count * 3 // 100))]
    weights, shapes = zip(*_SHAPES, strict=True)
    patterns = [*watching, *(pick.choices(shapes, weights)[0](pick) for _ in range(count - len(watching)))]
    return tuple(
        Subscription(
            name=f"{tenant}-{number:05}",
            tenant=tenant,
            match=Pattern(pattern),
            destination=DestinationSpec(type="webhook", conn_id=f"{tenant}_receiver"),
        )
        for number, pattern in enumerate(patterns)
    )


def realistic_changes(count: int, *, tenant: str = "acme", seed: int = 11) -> list[ChangeEvent]:
    """Incidents created, updated three times and deleted, and an entity for every fourth change."""
    return list(islice(_changes(Random(seed), tenant), count))  # noqa: S311 - no secret is drawn


def _changes(pick: Random, tenant: str) -> Iterator[ChangeEvent]:
    while True:
        row = _incident(pick)
        identity = str(UUID(int=pick.getrandbits(128)))
        yield _change(pick, tenant, "incident", identity, op="created", after=row)
        for revision in range(2, 5):
            before, row = row, {**row, **_update(pick)}
            changed = [column for column in COLUMNS["incident"] if before[column] != row[column]]
            if changed:
                was = {column: before[column] for column in changed}
                yield _change(
                    pick,
                    tenant,
                    "incident",
                    identity,
                    op="updated",
                    revision=revision,
                    changed=changed,
                    before=was,
                    after=row,
                )
        yield _change(pick, tenant, "incident", identity, op="deleted", revision=5, before=row)
        yield _change(
            pick, tenant, "entity", str(UUID(int=pick.getrandbits(128))), op="created", after=_entity(pick)
        )


def _change(pick: Random, tenant: str, kind: str, identity: str, **fields: Any) -> ChangeEvent:
    return ChangeEvent(
        change_id=str(UUID(int=pick.getrandbits(128))),
        kind=kind,
        tenant_id=tenant,
        id=identity,
        changed_at="2026-11-25T00:00:28.318675+00:00",
        **{"revision": 1, **fields},
    )


def _incident(pick: Random) -> dict[str, Any]:
    return {
        **dict.fromkeys(COLUMNS["incident"]),
        "source": "montecarlo",
        "type": TYPES[pick.randrange(2)],
        "title": f"Has {pick.randrange(100)} rows vs. 101 expected in {pick.choice(_SCHEMAS)}.orders",
        "url": f"https://getmontecarlo.com/incidents/{UUID(int=pick.getrandbits(128))}",
        "opened_at": "2026-11-24T23:30:32.772+00:00",
        "entity_ids": [str(UUID(int=pick.getrandbits(128))) for _ in range(pick.randrange(1, 4))],
    }


def _update(pick: Random) -> dict[str, Any]:
    stated: dict[str, Any] = {"type": TYPES[2], "status": pick.choice(STATUSES)}
    if pick.random() < 0.5:
        stated["severity"] = pick.choice(SEVERITIES)
    if pick.random() < 0.5:
        stated["owner"] = f"{pick.choice(_TEAMS)}@acme.example"
    return stated


def _entity(pick: Random) -> dict[str, Any]:
    schema, name = pick.choice(_SCHEMAS), f"table{pick.randrange(500)}"
    return {
        "qualified_name": f"mc:acme:analytics:{schema}.{name}",
        "type_name": "table",
        "name": name,
        "platform": "montecarlo",
        "database_name": "analytics",
        "schema_name": schema,
    }
