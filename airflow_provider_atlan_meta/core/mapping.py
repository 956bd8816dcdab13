"""Monte Carlo's names of tables to the names a catalog has for them, by rules per warehouse.

Monte Carlo names a table in two ways: by MCON where its API speaks, and by ``group_id`` and ``table_name`` in a
webhook. Where a warehouse is mapped, both give one entity; where none is, the table stays *provisional* under
``mc:{account}:{group}.{table}`` until somebody maps it. Nothing here asks anybody: the same names under the same rules
have the same entity for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple, get_args
from zlib import crc32

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.montecarlo import provisional_entity
from airflow_provider_atlan_meta.core.rows import EntityRow
from airflow_provider_atlan_meta.core.templates import PARTS, Case, Naming

# A naming when the file gives none, by the catalog that is to know the name.
NAMINGS = {
    "atlas": "{database}.{schema}.{table}@{cluster}",
    "atlan": "default/{platform}/{epoch}/{database}/{schema}/{table}",
}
DIALECTS = tuple(NAMINGS)
# what a template may name beside the table's own parts
VALUES = ("cluster", "epoch")
CASES: tuple[Case, ...] = get_args(Case)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TABLES = frozenset({"table", "view", "external"})
_REMEMBERED = 4096


class Mcon(NamedTuple):
    """Monte Carlo's own name of an object.

    :param warehouse: the resource's UUID, in small letters.
    :param schema, name: None where the object is none of a schema, or no table.
    """

    account: str
    warehouse: str
    object_type: str
    object_id: str
    database: str
    schema: str | None
    name: str | None


def parse_mcon(text: str) -> Mcon:
    """``MCON++account++warehouse++type++id``; ``++`` may stand in the id.

    :raises RejectedError: it is none.
    """
    parts = text.split("++", 4)
    if len(parts) != 5 or parts[0] != "MCON":
        raise RejectedError("MCON is malformed", detail="not MCON++account++warehouse++type++id")
    _, account, warehouse, object_type, object_id = parts
    if not _UUID.fullmatch(account) or not _UUID.fullmatch(warehouse):
        raise RejectedError("MCON is malformed", detail="account or warehouse is not a UUID")
    if not object_type or not object_id:
        raise RejectedError("MCON is malformed", detail="type or id is empty")
    database, _, rest = object_id.partition(":")
    schema, _, name = rest.partition(".")
    return Mcon(
        account.lower(), warehouse.lower(), object_type, object_id, database, schema or None, name or None
    )


@dataclass(frozen=True, kw_only=True)
class WarehouseMapping:
    """How the tables of one warehouse are called.

    :ivar warehouse: UUID of Monte Carlo's resource: decides for an MCON. Empty: found by its groups only.
    :ivar account: Monte Carlo's account whose webhooks name the warehouse's tables; empty: found by MCON only.
    :ivar groups: which ``group_id``s of the account; ``*`` stands for any text.
    :ivar naming: template of the qualified name.
    :ivar case: what the warehouse makes of unquoted names.
    :ivar values: of VALUES.
    """

    name: str
    tenant: str
    warehouse: str = ""
    account: str = ""
    groups: tuple[str, ...] = ()
    platform: str
    dialect: str = "atlas"
    naming: str = ""
    case: Case = "keep"
    values: tuple[tuple[str, str], ...] = ()
    revision: int = field(default=0, compare=False)

    @cached_property
    def compiled(self) -> Naming:
        """:raises TemplateError: the template cannot be used."""
        template = self.naming or NAMINGS[self.dialect]
        return Naming(template, {"platform": self.platform, **dict(self.values)}, self.case)


class Resolved(NamedTuple):
    """:param mapping: by which rule."""

    entity: EntityRow
    mapping: str


class Provisional(NamedTuple):
    """:param reason: why no rule has named it."""

    entity: EntityRow
    reason: str


Resolution = Resolved | Provisional


class Mappings:
    """All rules at one revision, ready to be asked. Immutable, and equal where its rules are.

    :ivar revision: of the stored rules; what was derived under it can be told from what was derived before.
    """

    def __init__(self, mappings: Iterable[WarehouseMapping] = (), *, revision: int = 0) -> None:
        """:raises TemplateError: one of them cannot be used; the store leaves such out."""
        self.mappings = tuple(sorted(mappings, key=lambda one: one.name))
        self.revision = revision
        self._hash = hash((revision, self.mappings))
        self._by_warehouse: dict[tuple[str, str], WarehouseMapping] = {}
        by_account: dict[tuple[str, str], list[tuple[str, WarehouseMapping]]] = {}
        for one in self.mappings:
            _ = one.compiled
            if one.warehouse:
                self._by_warehouse.setdefault((one.tenant, one.warehouse), one)
            if one.account:
                found = by_account.setdefault((one.tenant, one.account), [])
                found += [(pattern, one) for pattern in one.groups]
        # of several that fit, the one that says most of the group; sorted() keeps names in their order
        self._by_account = {key: sorted(rules, key=_generality) for key, rules in by_account.items()}
        # Remembered per object, so that a new revision begins with nothing: an incident names its tables every time.
        self.resolve: Callable[[str, str, str | None, str], Resolution] = lru_cache(_REMEMBERED)(
            self._resolve
        )
        self.resolve_mcon: Callable[[str, str], Resolution] = lru_cache(_REMEMBERED)(self._resolve_mcon)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mappings):
            return NotImplemented
        return (self.revision, self.mappings) == (other.revision, other.mappings)

    def __hash__(self) -> int:
        return self._hash

    def _resolve_mcon(self, tenant: str, text: str) -> Resolution:
        """The warehouse decides; one that has no rule of its own is found as a webhook's table is.

        :raises RejectedError: no MCON, or not one of a table.
        """
        mcon = parse_mcon(text)
        if mcon.object_type not in _TABLES or mcon.name is None:
            raise RejectedError("MCON names no table", detail=mcon.object_type[:100])
        group = f"{mcon.database}:{mcon.schema or ''}"
        rule = self._by_warehouse.get((tenant, mcon.warehouse))
        if rule is None:
            return self.resolve(tenant, mcon.account, group, mcon.name)
        return _named(rule, tenant, mcon.account, group, mcon.name)

    def _resolve(self, tenant: str, account: str, group_id: str | None, table_name: str) -> Resolution:
        """A table as webhooks name it."""
        for pattern, rule in self._by_account.get((tenant, account), ()):
            if fits(pattern, group_id or ""):
                return _named(rule, tenant, account, group_id, table_name)
        return Provisional(
            provisional_entity(tenant, account, group_id, table_name), "no mapping of its warehouse"
        )


NO_MAPPINGS = Mappings()


def _named(
    rule: WarehouseMapping, tenant: str, account: str, group_id: str | None, table_name: str
) -> Resolution:
    database, _, schema = (group_id or "").partition(":")
    naming = rule.compiled
    parts = naming.fold((database, schema, table_name))
    for number in naming.used:
        if not parts[number]:
            provisional = provisional_entity(tenant, account, group_id, table_name)
            return Provisional(provisional, f"mapping {rule.name} needs its {PARTS[number]}")
    qualified_name = naming.render(parts)
    database, schema, table = parts
    described = (qualified_name, "table", table, rule.platform, database, schema)
    entity = EntityRow(
        tenant_id=tenant,
        entity_id=identity.entity_id(tenant, rule.platform, qualified_name),
        qualified_name=qualified_name,
        type_name="table",
        name=table,
        platform=rule.platform,
        database_name=database or None,
        schema_name=schema or None,
        content_hash=crc32("\0".join(described).encode()),
    )
    return Resolved(entity, rule.name)


def fits(pattern: str, group_id: str) -> bool:
    """Whether a pattern with ``*`` is about a group; linear in both."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == group_id
    if not group_id.startswith(first):
        return False
    at = len(first)
    for text in rest[:-1]:
        at = group_id.find(text, at)
        if at < 0:
            return False
        at += len(text)
    return len(group_id) - at >= len(rest[-1]) and group_id.endswith(rest[-1])


def _generality(rule: tuple[str, WarehouseMapping]) -> tuple[bool, int]:
    pattern = rule[0]
    return "*" in pattern, -len(pattern.replace("*", ""))
