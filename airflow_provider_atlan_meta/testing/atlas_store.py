"""What a catalog that speaks Atlas keeps: types and entities, and what it answers about them.

As Apache Atlas 2.1 does it: a bulk is one transaction, entities are found by any unique attribute, in sub-types as
well, what is unchanged is left alone, attributes that a type has not are ignored, custom attributes are replaced as a
whole, numbers and times that are null are kept as 0, a relationship that is told is replaced, deletes are soft and
free the name.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from airflow_provider_atlan_meta.core.atlas_types import SECTIONS

Document = dict[str, Any]


class Refused(Exception):
    """The catalog's answer to what it does not do."""

    def __init__(self, status: int, code: str, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.cause = status, code, cause

    @property
    def body(self) -> Document:
        cause = {"errorCause": self.cause} if self.cause else {}
        return {"errorCode": self.code, "errorMessage": str(self), **cause}


def _base(name: str, supertypes: Sequence[str], *attributes: Document) -> Document:
    return {
        "name": name,
        "category": "ENTITY",
        "superTypes": list(supertypes),
        "attributeDefs": list(attributes),
    }


def _text(name: str, *, optional: bool = True, unique: bool = False) -> Document:
    return {"name": name, "typeName": "string", "isOptional": optional, "isUnique": unique}


_BUILT_IN = (
    _base("Referenceable", (), _text("qualifiedName", optional=False, unique=True)),
    _base("Asset", ("Referenceable",), _text("name", optional=False), _text("description"), _text("owner")),
    _base("DataSet", ("Asset",)),
    _base("Process", ("Asset",)),
    _base("rdbms_table", ("DataSet",), _text("type")),
)
_NUMBERS = ("int", "long", "date", "float", "double", "short", "byte")


class AtlasTypes:
    """Types by section and name."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Document] = {
            ("entityDefs", one["name"]): copy.deepcopy(one) for one in _BUILT_IN
        }

    def create(self, document: Mapping[str, Any]) -> Document:
        for key in _keys(document):
            if key in self.known:
                raise Refused(409, "ATLAS-409-00-001", f"Given type {key[1]} already exists")
        for section in SECTIONS:
            for one in document.get(section) or ():
                self.known[section, one["name"]] = copy.deepcopy(one) | {"guid": str(uuid4())}
        return dict(document)

    def update(self, document: Mapping[str, Any]) -> Document:
        for section, name in _keys(document):
            new = next(one for one in document[section] if one["name"] == name)
            self._check_update(self.get(section, name), new)
        for section in SECTIONS:
            for one in document.get(section) or ():
                self.known[section, one["name"]] |= copy.deepcopy(one)
        return dict(document)

    def get(self, section: str, name: str) -> Document:
        try:
            return self.known[section, name]
        except KeyError:
            raise Refused(404, "ATLAS-404-00-001", f"Given typename {name} was invalid") from None

    def headers(self) -> list[Document]:
        """Without business metadata, as there."""
        return [
            {"name": name, "category": section[:-4].upper()}
            for section, name in self.known
            if section != "businessMetadataDefs"
        ]

    def attributes(self, name: str) -> dict[str, Document]:
        """Of the type and all above it."""
        definition = self.known["entityDefs", name]
        found: dict[str, Document] = {}
        for above in definition.get("superTypes") or ():
            found |= self.attributes(above)
        return found | {one["name"]: one for one in definition.get("attributeDefs") or ()}

    def is_a(self, name: str, other: str) -> bool:
        above = self.known["entityDefs", name].get("superTypes") or ()
        return name == other or any(self.is_a(one, other) for one in above)

    def relationships(self, name: str) -> dict[str, str]:
        """Attribute of the type -> attribute of the other end."""
        found: dict[str, str] = {}
        for (section, _), one in self.known.items():
            if section == "relationshipDefs":
                first, second = one["endDef1"], one["endDef2"]
                for here, there in ((first, second), (second, first)):
                    if self.is_a(name, here["type"]):
                        found[here["name"]] = there["name"]
        return found

    def _check_update(self, old: Document, new: Document) -> None:
        before = {one["name"] for one in old.get("attributeDefs") or ()}
        after = {one["name"]: one for one in new.get("attributeDefs") or ()}
        if before - after.keys():
            raise Refused(400, "ATLAS-400-00-00D", "attributes may not be removed")
        if any(not after[name].get("isOptional", True) for name in after.keys() - before):
            raise Refused(400, "ATLAS-400-00-00C", "only optional attributes may be added")


def _keys(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((section, one["name"]) for section in SECTIONS for one in document.get(section) or ())


class AtlasStore:
    """Types, entities and what was told of them.

    :ivar poison: parts of qualified names that no write succeeds with -> the refusal.
    :ivar notifications: operation and entity, as ``ATLAS_ENTITIES`` would carry them.
    """

    def __init__(self) -> None:
        self.types = AtlasTypes()
        self.entities: dict[str, Document] = {}
        # (unique attribute, value) -> guids, the dead ones among them
        self._named: dict[tuple[str, Any], list[str]] = {}
        self.poison: dict[str, Refused] = {}
        self.notifications: list[tuple[str, Document]] = []

    def write(self, document: Mapping[str, Any]) -> Document:
        """``POST entity/bulk``: all or nothing."""
        sent = list(document.get("entities") or ())
        if not sent:
            raise Refused(400, "ATLAS-400-00-01A", "invalid parameters: no entities to create/update.")
        before: dict[str, Document | None] = {}
        try:
            assigned = self._assign(sent, before)
            mutated: dict[str, list[Document]] = {}
            for one in sent:
                operation = self._apply(assigned[one["guid"]], one, assigned, before)
                if operation:
                    mutated.setdefault(operation, []).append(self.entities[assigned[one["guid"]]])
        except BaseException:
            for guid, entity in before.items():
                self.entities.pop(guid)
                if entity is not None:
                    self.entities[guid] = entity
            raise
        for operation, entities in mutated.items():
            self.notifications += [(f"ENTITY_{operation}", copy.deepcopy(entity)) for entity in entities]
        answer: Document = {"guidAssignments": assigned}
        return answer | ({"mutatedEntities": copy.deepcopy(mutated)} if mutated else {})

    def find(self, kind: str, attribute: str, value: str) -> Document | None:
        """The living entity of this type or one below it."""
        if ("entityDefs", kind) not in self.types.known:
            raise Refused(404, "ATLAS-404-00-001", f"Given typename {kind} was invalid")
        definition = self.types.attributes(kind).get(attribute)
        if definition is None or not definition.get("isUnique"):
            raise Refused(400, "ATLAS-400-00-01B", f"{kind}.{attribute} is not a unique attribute")
        for guid in self._named.get((attribute, value), ()):
            entity = self.entities.get(guid)
            if (
                entity is not None
                and entity["status"] == "ACTIVE"
                and self.types.is_a(entity["typeName"], kind)
            ):
                return entity
        return None

    def told(self, entity: Document) -> Document:
        """With both ends of its relationships, each kept by the entity that was written with it."""
        links = dict(entity["relationshipAttributes"])
        for name, other in self.types.relationships(entity["typeName"]).items():
            far = (
                one["guid"]
                for one in self.entities.values()
                if one["status"] == "ACTIVE"
                and entity["guid"] in one["relationshipAttributes"].get(other, ())
            )
            links.setdefault(name, sorted(far))
        return entity | {"relationshipAttributes": links}

    def delete(self, kind: str, attribute: str, value: str) -> Document:
        found = self.find(kind, attribute, value)
        if found is None:
            return {}
        found["status"] = "DELETED"
        self.notifications.append(("ENTITY_DELETE", copy.deepcopy(found)))
        return {"mutatedEntities": {"DELETE": [copy.deepcopy(found)]}}

    def _assign(self, sent: Sequence[Document], before: dict[str, Document | None]) -> dict[str, str]:
        """The request's guids -> the catalog's. :param before: gets what they were."""
        assigned: dict[str, str] = {}
        for one in sent:
            kind = one["typeName"]
            if ("entityDefs", kind) not in self.types.known:
                raise Refused(400, "ATLAS-400-00-014", f"Type {kind} with name ENTITY does not exist")
            self._check_poison(one)
            found = self._known(one)
            if found is None:
                found = {
                    "typeName": kind,
                    "guid": str(uuid4()),
                    "status": "ACTIVE",
                    "attributes": {},
                    "relationshipAttributes": {},
                    "customAttributes": {},
                }
                self.entities[found["guid"]] = found
                before[found["guid"]] = None
                for name in self._unique(kind):
                    # a later entity of the same name finds it
                    value = found["attributes"][name] = one["attributes"].get(name)
                    self._named.setdefault((name, value), []).append(found["guid"])
            before.setdefault(found["guid"], copy.deepcopy(found))
            assigned[one["guid"]] = found["guid"]
        return assigned

    def _apply(
        self, guid: str, one: Document, assigned: Mapping[str, str], before: Mapping[str, Document | None]
    ) -> str:
        """CREATE, UPDATE or nothing."""
        entity = self.entities[guid]
        changed = self._set_attributes(entity, one)
        if one.get("customAttributes") is not None:
            entity["customAttributes"] = dict(one["customAttributes"])
        for name, links in (one.get("relationshipAttributes") or {}).items():
            if name in self.types.relationships(entity["typeName"]):
                targets = sorted(self._resolve(link, assigned) for link in links or ())
                entity["relationshipAttributes"][name] = targets
        if before[guid] is None:
            return "CREATE"
        return "UPDATE" if changed or entity != before[guid] else ""

    def _set_attributes(self, entity: Document, one: Document) -> bool:
        """Whether something is a change although the value stays."""
        known = self.types.attributes(entity["typeName"])
        for name, definition in known.items():
            if definition["typeName"] in _NUMBERS:
                entity["attributes"].setdefault(name, 0)
        changed = False
        for name, value in one["attributes"].items():
            if name in known:
                self._check_value(entity["typeName"], known[name], value)
                is_number = known[name]["typeName"] in _NUMBERS
                # no null there, and every null is a change
                changed |= is_number and value is None
                entity["attributes"][name] = 0 if is_number and value is None else value
        for name, definition in known.items():
            if not definition.get("isOptional", True) and entity["attributes"].get(name) is None:
                raise self._invalid(f"{one['typeName']}.{name}: mandatory attribute value missing")
        return changed

    def _resolve(self, link: Mapping[str, Any], assigned: Mapping[str, str]) -> str:
        if link.get("guid"):
            return assigned.get(link["guid"], link["guid"])
        for attribute, value in link["uniqueAttributes"].items():
            found = self.find(link["typeName"], attribute, value)
            if found is not None:
                return str(found["guid"])
        raise Refused(404, "ATLAS-404-00-00A", f"Referenced entity {link} is not found")

    def _known(self, one: Document) -> Document | None:
        for attribute in self._unique(one["typeName"]):
            value = one["attributes"].get(attribute)
            found = None if value is None else self.find(one["typeName"], attribute, value)
            if found is not None:
                return found
        return None

    def _unique(self, kind: str) -> list[str]:
        return [name for name, one in self.types.attributes(kind).items() if one.get("isUnique")]

    def _check_poison(self, one: Document) -> None:
        name = str(one["attributes"].get("qualifiedName"))
        for part, refusal in self.poison.items():
            if part in name:
                raise refusal

    def _check_value(self, kind: str, definition: Document, value: Any) -> None:
        wanted = definition["typeName"]
        if value is None:
            return
        if wanted in _NUMBERS and not isinstance(value, int | float):
            raise self._invalid(f"{kind}.{definition['name']}: invalid value for type {wanted}")
        enum = self.types.known.get(("enumDefs", wanted))
        if enum is not None and value not in [one["value"] for one in enum["elementDefs"]]:
            raise self._invalid(f"{kind}.{definition['name']}: invalid value for type {wanted}")

    @staticmethod
    def _invalid(problem: str) -> Refused:
        return Refused(
            404, "ATLAS-404-00-007", f"Invalid instance creation/updation parameters passed : {problem}"
        )
