"""Our types in a catalog that speaks Atlas: what they are, and what is missing of them there.

Evolution is additive: attributes and enum values are added, never changed, never removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from airflow_provider_atlan_meta.core.errors import TerminalError

Definition = Mapping[str, Any]
# What a typedefs document holds, in the order in which the types need each other.
SECTIONS = (
    "enumDefs",
    "structDefs",
    "classificationDefs",
    "entityDefs",
    "relationshipDefs",
    "businessMetadataDefs",
)
ALERT, DATASET, QUARANTINED = "mc_alert", "mc_dataset", "DQ_QUARANTINED"
ALERT_STATUSES = (
    "NO_STATUS",
    "ACKNOWLEDGED",
    "WORK_IN_PROGRESS",
    "FIXED",
    "EXPECTED",
    "NO_ACTION_NEEDED",
    "FALSE_POSITIVE",
)
_COMMON = {"serviceType": "monte_carlo", "typeVersion": "1.0"}


def _attribute(
    name: str, kind: str = "string", *, optional: bool = True, indexed: bool = True, unique: bool = False
) -> dict[str, Any]:
    """Notified of: ``ATLAS_ENTITIES`` carries no other attributes."""
    return {
        "name": name,
        "typeName": kind,
        "isOptional": optional,
        "isUnique": unique,
        "isIndexable": indexed,
        "cardinality": "SET" if kind.startswith("array") else "SINGLE",
        "valuesMinCount": 0 if optional else 1,
        "valuesMaxCount": 2147483647 if kind.startswith("array") else 1,
        "includeInNotification": True,
    }


def _business_attribute(name: str, kind: str, **options: str) -> dict[str, Any]:
    return _attribute(name, kind) | {"options": {"applicableEntityTypes": '["DataSet"]', **options}}


def _end(kind: str, name: str) -> dict[str, Any]:
    return {
        "type": kind,
        "name": name,
        "isContainer": False,
        "cardinality": "SET",
        "isLegacyAttribute": False,
    }


# On both: whose row it is, and which revision of it was written.
_BOOKKEEPING = (_attribute("tenant"), _attribute("revision", "long"))

TYPES: Mapping[str, Sequence[Definition]] = {
    "enumDefs": [
        {
            **_COMMON,
            "name": "mc_alert_status",
            "elementDefs": [
                {"ordinal": ordinal, "value": value} for ordinal, value in enumerate(ALERT_STATUSES)
            ],
        }
    ],
    "structDefs": [],
    "classificationDefs": [
        {
            **_COMMON,
            "name": QUARANTINED,
            "superTypes": [],
            "entityTypes": ["DataSet"],
            "attributeDefs": [_attribute("alert_id"), _attribute("expiry_date", "date")],
        }
    ],
    "entityDefs": [
        {
            **_COMMON,
            "name": ALERT,
            "superTypes": ["Asset"],
            "attributeDefs": [
                _attribute("alertId", optional=False),
                _attribute("alertType", optional=False),
                _attribute("subTypes", "array<string>"),
                _attribute("severity"),
                _attribute("priority"),
                _attribute("status", "mc_alert_status"),
                # as Monte Carlo says it, also what the enum does not know
                _attribute("statusText"),
                _attribute("source"),
                _attribute("url", indexed=False),
                _attribute("openedAt", "date"),
                _attribute("updatedAt", "date"),
                _attribute("resolvedAt", "date"),
                *_BOOKKEEPING,
            ],
        },
        {
            # what no other crawler of the catalog has a type for
            **_COMMON,
            "name": DATASET,
            "superTypes": ["DataSet"],
            "attributeDefs": [
                _attribute("entityId", optional=False, unique=True),
                _attribute("entityType"),
                _attribute("platform"),
                _attribute("databaseName"),
                _attribute("schemaName"),
                *_BOOKKEEPING,
            ],
        },
    ],
    "relationshipDefs": [
        {
            **_COMMON,
            "name": "mc_alert_datasets",
            "relationshipCategory": "ASSOCIATION",
            "propagateTags": "NONE",
            "endDef1": _end(ALERT, "affectedDatasets"),
            "endDef2": _end("DataSet", "mcAlerts"),
        }
    ],
    "businessMetadataDefs": [
        {
            **_COMMON,
            "name": "DataObservability",
            "attributeDefs": [
                _business_attribute("openAlertCount", "int"),
                _business_attribute("lastAlertAt", "date"),
                _business_attribute("lastAlertUrl", "string", maxStrLength="200"),
            ],
        }
    ],
}


class TypeChanges(NamedTuple):
    """Two typedefs documents: what to create, and what is there already with what it lacks."""

    create: dict[str, list[Definition]]
    update: dict[str, list[Definition]]

    @property
    def is_empty(self) -> bool:
        return not any((*self.create.values(), *self.update.values()))


def names(types: Mapping[str, Sequence[Definition]]) -> Iterable[tuple[str, str]]:
    """Section and name of each, in the order of SECTIONS."""
    return ((section, definition["name"]) for section in SECTIONS for definition in types.get(section, ()))


def missing(
    wanted: Mapping[str, Sequence[Definition]], there: Mapping[tuple[str, str], Definition]
) -> TypeChanges:
    """What the catalog lacks.

    :param there: the catalog's own definitions by section and name.
    :raises TerminalError: an attribute is there with another type: a change of that kind is never made here.
    """
    changes = TypeChanges({section: [] for section in SECTIONS}, {section: [] for section in SECTIONS})
    for section in SECTIONS:
        for definition in wanted.get(section, ()):
            known = there.get((section, definition["name"]))
            if known is None:
                changes.create[section].append(definition)
            elif (grown := _grown(known, definition)) is not None:
                changes.update[section].append(grown)
    return changes


def _grown(known: Definition, wanted: Definition) -> Definition | None:
    """The catalog's definition with what it lacks; None: it lacks nothing."""
    attributes = {entry["name"]: entry for entry in known.get("attributeDefs") or ()}
    added = []
    for attribute in wanted.get("attributeDefs", ()):
        there = attributes.get(attribute["name"])
        if there is None:
            # entities of the type exist without it
            added.append({**attribute, "isOptional": True, "isUnique": False, "valuesMinCount": 0})
        elif there["typeName"] != attribute["typeName"]:
            raise TerminalError(
                f"the catalog's type {known['name']} has attribute {attribute['name']} as {there['typeName']}, "
                f"{attribute['typeName']} is needed; rename one of the two types, nothing was changed"
            )
    elements = list(known.get("elementDefs") or ())
    values = {element["value"] for element in elements}
    ordinal = max((element.get("ordinal") or 0 for element in elements), default=-1)
    new = [element["value"] for element in wanted.get("elementDefs", ()) if element["value"] not in values]
    if not added and not new:
        return None
    grown = dict(known)
    if added:
        grown["attributeDefs"] = [*attributes.values(), *added]
    if new:
        grown["elementDefs"] = [
            *elements,
            *({"ordinal": ordinal + 1 + at, "value": value} for at, value in enumerate(new)),
        ]
    return grown
