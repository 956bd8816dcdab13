"""Rows of the store as entities of a catalog that speaks Atlas.

The catalog cannot order writes, so every entity says which revision of its row it is: as an attribute of our own
types, as a custom attribute of anybody else's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from airflow_provider_atlan_meta.core.atlas_dialects import ATLAS, Dialect
from airflow_provider_atlan_meta.core.atlas_types import DATASET
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.stores import ENTITY, INCIDENT, RowRef, StateRow

REVISION, CUSTOM_REVISION, CUSTOM_TENANT = "revision", "atlan_meta_revision", "atlan_meta_tenant"
_PROVISIONAL = "mc:"
_SUCCESSES_TO_GROW = 4
_NOTHING: Mapping[Any, Any] = {}


@dataclass(frozen=True, kw_only=True)
class CatalogNaming:
    """How rows are named in one catalog.

    :param suffix: of every qualified name; may hold ``{tenant}``.
    :param incident_connection: qualified name of the catalog's Monte Carlo connection; where the dialect needs one
        and there is none, incidents are not written: the vendor's own crawler owns them.
    """

    dialect: Dialect = ATLAS
    suffix: str = ATLAS.suffix
    incident_connection: str = ""

    def __post_init__(self) -> None:
        try:
            self.suffix.format(tenant="acme")
        except (KeyError, IndexError, ValueError):
            raise ConfigurationError(
                f"the suffix of qualified names, {self.suffix!r}, may hold {{tenant}} and no other braces"
            ) from None

    @property
    def takes_incidents(self) -> bool:
        return "{connection}" not in self.dialect.incident_name or bool(self.incident_connection)

    def incident(self, ref: RowRef) -> Target:
        name = self.dialect.incident_name.format(id=ref.id, connection=self.incident_connection)
        return Target(self.dialect.incident_type, f"{name}{self.suffix.format(tenant=ref.tenant_id)}")

    def entity(self, row: StateRow) -> Target | None:
        """None: the catalog has no place for it."""
        values = row.values
        if values is None or (values["qualified_name"].startswith(_PROVISIONAL) and not self._provisional):
            return None
        kind = self.dialect.entity_types.get(values["type_name"], values["type_name"])
        return Target(kind, f"{values['qualified_name']}{self.suffix.format(tenant=row.ref.tenant_id)}")

    @property
    def _provisional(self) -> bool:
        return self.dialect.takes_provisional


class Target(NamedTuple):
    """An entity as others refer to it. :param attribute: the unique one that ``value`` is of."""

    type_name: str
    value: str
    attribute: str = "qualifiedName"


class CatalogEntity(NamedTuple):
    """A row as the catalog is told of it.

    :param attributes: all that we own, without the revision; None clears. None instead of them: it is deleted.
    :param links: what the row refers to. :param digest: 64 bits, signed, over everything but the revision.
    """

    ref: RowRef
    revision: int
    target: Target
    attributes: Mapping[str, Any] | None
    links: tuple[Target, ...]
    digest: int


def newest(rows: Sequence[StateRow]) -> list[StateRow]:
    """One row per ref, that of the highest revision (the later one of equals), in the order of those."""
    last: dict[RowRef, int] = {}
    for at, row in enumerate(rows):
        known = last.get(row.ref)
        if known is None or row.revision >= rows[known].revision:
            last[row.ref] = at
    return [rows[at] for at in sorted(last.values())]


def apart(entities: Sequence[CatalogEntity]) -> list[list[CatalogEntity]]:
    """Those that name one entity of the catalog come one after the other: in one request they would make two of it."""
    waves: list[list[CatalogEntity]] = []
    seen: dict[Target, int] = {}
    for entity in entities:
        wave = seen[entity.target] = seen.get(entity.target, -1) + 1
        if wave == len(waves):
            waves.append([])
        waves[wave].append(entity)
    return waves


def linked_refs(rows: Sequence[StateRow]) -> list[RowRef]:
    """The entities that incidents among the rows refer to, each once."""
    return list(
        dict.fromkeys(
            RowRef(row.ref.tenant_id, ENTITY, str(entity))
            for row in rows
            if row.ref.kind == INCIDENT and row.values is not None
            for entity in row.values["entity_ids"] or ()
        )
    )


def catalog_entity(
    row: StateRow, naming: CatalogNaming, entities: Mapping[RowRef, StateRow]
) -> CatalogEntity | None:
    """:param entities: rows of the entities it refers to; what is not there is not linked.
    :return: None: the catalog takes nothing of it.
    """
    if row.ref.kind == INCIDENT:
        return _incident(row, naming, entities) if naming.takes_incidents else None
    if row.values is None:
        return _deleted_entity(row, naming)
    target = naming.entity(row)
    if target is None:
        return None
    fields = naming.dialect.own_attributes.get(target.type_name, {})
    attributes = {"qualifiedName": target.value, "name": row.values["name"]}
    attributes |= {name: _plain(_field(row, field)) for name, field in fields.items()}
    if naming.dialect.connector_attributes:
        attributes |= _connector(target.value)
    return _entity(row, target, attributes, ())


def _incident(row: StateRow, naming: CatalogNaming, entities: Mapping[RowRef, StateRow]) -> CatalogEntity:
    dialect, target = naming.dialect, naming.incident(row.ref)
    if row.values is None:
        return _entity(row, target, None, ())
    attributes: dict[str, Any] = {"qualifiedName": target.value}
    for name, field in dialect.incident_attributes.items():
        value = _plain(_field(row, field))
        is_known = value is not None and (name not in dialect.enums or value in dialect.enums[name])
        attributes[name] = value if is_known else dialect.empty.get(name)
    # mandatory there
    attributes["name"] = attributes["name"] or row.ref.id
    if "alertType" in attributes:
        attributes["alertType"] = attributes["alertType"] or "unknown"
    if dialect.connector_attributes:
        attributes |= _connector(target.value)
    found = (entities.get(ref) for ref in linked_refs([row]))
    links = (naming.entity(entity) for entity in found if entity is not None)
    return _entity(row, target, attributes, tuple(dict.fromkeys(link for link in links if link is not None)))


def _deleted_entity(row: StateRow, naming: CatalogNaming) -> CatalogEntity | None:
    """By our own id, which only our own type has: anybody else's entities are not ours to delete."""
    if DATASET not in naming.dialect.own_attributes:
        return None
    return _entity(row, Target(DATASET, row.ref.id, "entityId"), None, ())


def _entity(
    row: StateRow, target: Target, attributes: Mapping[str, Any] | None, links: tuple[Target, ...]
) -> CatalogEntity:
    return CatalogEntity(row.ref, row.revision, target, attributes, links, _digest(target, attributes, links))


def _digest(target: Target, attributes: Mapping[str, Any] | None, links: tuple[Target, ...]) -> int:
    text = json.dumps([target, attributes, links], sort_keys=True, separators=(",", ":"))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)


def _field(row: StateRow, field: str) -> Any:
    if field == "id":
        return row.ref.id
    if field == "tenant":
        return row.ref.tenant_id
    return (row.values or {})[field]


def _plain(value: Any) -> Any:
    """As the API takes it: times are milliseconds since 1970."""
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return str(value) if isinstance(value, UUID) else value


def _connector(qualified_name: str) -> dict[str, str]:
    """``default/snowflake/1700000000/DB/SCHEMA/TABLE``: its connection and connector."""
    parts = qualified_name.split("/")
    if len(parts) < 4:
        return {}
    return {"connectionQualifiedName": "/".join(parts[:3]), "connectorName": parts[1]}


def bulk_body(
    entities: Sequence[CatalogEntity], dialect: Dialect, custom: Mapping[Target, Mapping[str, str]] = _NOTHING
) -> dict[str, Any]:
    """One request. What entities of it refer to among themselves goes by the request's own guids: the catalog looks
    for unique attributes only among what it has already.

    :param custom: custom attributes that foreign entities have: a write replaces all of them.
    """
    guids = {entity.target: temporary_guid(at) for at, entity in enumerate(entities)}
    return {
        "referredEntities": {},
        "entities": [
            {
                "guid": temporary_guid(at),
                **_document(entity, guids, dialect, custom.get(entity.target, _NOTHING)),
            }
            for at, entity in enumerate(entities)
        ],
    }


def is_foreign(target: Target, dialect: Dialect) -> bool:
    """Of a type that is not ours."""
    return target.type_name not in dialect.own_attributes


def temporary_guid(at: int) -> str:
    """Of the entity at this place of a request."""
    return f"-{at + 1}"


def _document(
    entity: CatalogEntity, guids: Mapping[Target, str], dialect: Dialect, custom: Mapping[str, str]
) -> dict[str, Any]:
    kind = entity.target.type_name
    attributes = dict(entity.attributes or {})
    document: dict[str, Any] = {"typeName": kind, "attributes": attributes}
    if not is_foreign(entity.target, dialect):
        attributes[REVISION] = entity.revision
    else:
        document["customAttributes"] = {
            **custom,
            CUSTOM_REVISION: str(entity.revision),
            CUSTOM_TENANT: entity.ref.tenant_id,
        }
    if entity.ref.kind == INCIDENT:
        name, relationship = dialect.incident_links
        document["relationshipAttributes"] = {
            name: [_link(target, guids, relationship) for target in entity.links]
        }
    return document


def _link(target: Target, guids: Mapping[Target, str], relationship: str) -> dict[str, Any]:
    link: dict[str, Any] = {"typeName": target.type_name}
    if target in guids:
        link["guid"] = guids[target]
    else:
        link["uniqueAttributes"] = {target.attribute: target.value}
    if relationship:
        link["relationshipType"] = relationship
    return link


def revision_of(document: Mapping[str, Any]) -> int | None:
    """Which revision of ours an entity of the catalog is; None: it does not say, or is deleted."""
    if document.get("status") == "DELETED":
        return None
    said = (document.get("attributes") or {}).get(REVISION)
    if said is None:
        said = (document.get("customAttributes") or {}).get(CUSTOM_REVISION)
    try:
        return None if said is None else int(said)
    except (TypeError, ValueError):
        return None


def has_attributes(document: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an entity of the catalog is alive and has these values."""
    attributes = document.get("attributes") or {}
    is_alive = document.get("status") != "DELETED"
    return is_alive and all(attributes.get(name) == value for name, value in wanted.items())


class BatchSize:
    """How many entities go into a bulk: half as many after trouble, slowly more after success."""

    def __init__(self, dialect: Dialect) -> None:
        self.limit = dialect.first_batch
        self._largest = dialect.largest_batch
        self._successes = 0

    def shrink(self) -> None:
        self.limit = max(1, self.limit // 2)
        self._successes = 0

    def succeed(self) -> None:
        """A bulk of ``limit`` entities went well."""
        self._successes += 1
        if self._successes >= _SUCCESSES_TO_GROW:
            self.limit = min(self._largest, self.limit + max(1, self._largest // 10))
            self._successes = 0
