"""Mappings as they are stored, and what applying a file has made of them.

What is stored may have been written by another version, or by hand. A mapping that cannot be used is left out and told
of with its reason: its tables stay provisional, those of the others do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.core.mapping import CASES, DIALECTS, VALUES, Mappings, WarehouseMapping
from airflow_provider_atlan_meta.core.stored_subscriptions import AuditEntry
from airflow_provider_atlan_meta.core.subscription_diff import FieldChange, diff_lines, field_changes
from airflow_provider_atlan_meta.core.tenancy import is_tenant

_TEXTS = ("warehouse", "account", "platform", "dialect", "naming", "case")


class StoredMapping(NamedTuple):
    """A row. :param spec: all that it says beside its name and tenant, as JSON values in the shape of the file."""

    name: str
    tenant: str
    spec: Any
    revision: int
    applied_at: datetime | None = None
    applied_by: str = ""


@dataclass(frozen=True, kw_only=True)
class LoadedMappings:
    """:ivar mappings: those that can be used. :ivar unusable: name -> why it cannot be."""

    mappings: Mappings
    unusable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChangedMapping:
    name: str
    tenant: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True, slots=True)
class MappingDiff:
    """Each part in the order of names. ``str()`` is for people, ``to_dict()`` for machines."""

    added: tuple[StoredMapping, ...]
    changed: tuple[ChangedMapping, ...]
    removed: tuple[StoredMapping, ...]
    unchanged: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.removed)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        return diff_lines(
            added=[_named(one) for one in self.added],
            changed=[(one.name, one.fields) for one in self.changed],
            removed=[_named(one) for one in self.removed],
            unchanged=len(self.unchanged),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "added": [{"name": one.name, "tenant": one.tenant, **one.spec} for one in self.added],
            "changed": [
                {"name": one.name, "fields": [field.to_dict() for field in one.fields]}
                for one in self.changed
            ],
            "removed": [one.name for one in self.removed],
            "unchanged": list(self.unchanged),
        }


def _named(mapping: StoredMapping) -> str:
    return f"{mapping.name} (tables of {mapping.tenant})"


@dataclass(frozen=True, kw_only=True)
class AppliedMappings:
    """:ivar version: of the mappings afterwards. :ivar dry_run: nothing was changed, all this would be so."""

    version: int
    diff: MappingDiff
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {"version": self.version, "dry_run": self.dry_run, **self.diff.to_dict()}


class MappingStore(Protocol):
    """Raises TransientError while it cannot be reached: nothing was changed."""

    def load(self) -> LoadedMappings:
        """All of them, at one revision."""
        ...

    def rows(self) -> Sequence[StoredMapping]:
        """As they are stored, by name."""
        ...

    def apply(
        self, wanted: Sequence[WarehouseMapping], *, actor: str, dry_run: bool = False
    ) -> AppliedMappings:
        """Makes the stored ones exactly these, all or none, one caller at a time. What differs is decided against
        what is stored then; only that gets a new revision. Every change is audited.
        """
        ...


def spec_of(mapping: WarehouseMapping) -> dict[str, Any]:
    """The JSON of the column ``spec``: what the file says, and nothing that it leaves out."""
    said = {name: getattr(mapping, name) for name in _TEXTS}
    return {
        **{name: text for name, text in said.items() if text},
        **({"groups": list(mapping.groups)} if mapping.groups else {}),
        **dict(mapping.values),
    }


def stored_of(mapping: WarehouseMapping) -> StoredMapping:
    return StoredMapping(mapping.name, mapping.tenant, spec_of(mapping), 1)


def mapping_of(row: StoredMapping) -> WarehouseMapping:
    """:raises TerminalError: it cannot be used; the text says why."""
    spec, groups = row.spec, row.spec.get("groups", []) if isinstance(row.spec, dict) else []
    if not isinstance(spec, dict) or not isinstance(groups, list):
        raise TerminalError("its spec is not what apply writes")
    texts = {name: spec[name] for name in (*_TEXTS, *VALUES) if name in spec}
    if not all(isinstance(text, str) for text in (*texts.values(), *groups)):
        raise TerminalError("its spec holds something else than text")
    if unknown := spec.keys() - {*_TEXTS, *VALUES, "groups"}:
        raise TerminalError(f"its spec says {sorted(unknown)[0][:40]!r}, which this version does not know")
    if not is_tenant(row.tenant):
        raise TerminalError(f"tenant {row.tenant[:40]!r} is not a tenant's name")
    if spec.get("dialect") not in DIALECTS or spec.get("case") not in CASES or not spec.get("platform"):
        raise TerminalError("its dialect, case or platform is none that this version knows")
    values = tuple((name, texts.pop(name)) for name in VALUES if name in texts)
    return WarehouseMapping(
        name=row.name, tenant=row.tenant, groups=tuple(groups), values=values, revision=row.revision, **texts
    )


def problem_of(row: StoredMapping) -> str:
    """Why it cannot be used; empty when it can."""
    try:
        _ = mapping_of(row).compiled
    except TerminalError as error:
        return str(error)
    return ""


def loaded(version: int, rows: Iterable[StoredMapping]) -> LoadedMappings:
    found = [(row, problem_of(row)) for row in rows]
    return LoadedMappings(
        mappings=Mappings((mapping_of(row) for row, problem in found if not problem), revision=version),
        unusable={row.name: problem for row, problem in found if problem},
    )


def diff_mappings(stored: Iterable[StoredMapping], wanted: Iterable[WarehouseMapping]) -> MappingDiff:
    """By name. Revisions are no part of it."""
    old = {row.name: row for row in stored}
    new = {one.name: stored_of(one) for one in wanted}
    both = [_compared(old[name], new[name]) for name in sorted(old.keys() & new.keys())]
    return MappingDiff(
        added=tuple(new[name] for name in sorted(new.keys() - old.keys())),
        changed=tuple(one for one in both if one.fields),
        removed=tuple(old[name] for name in sorted(old.keys() - new.keys())),
        unchanged=tuple(one.name for one in both if not one.fields),
    )


def audit_entries(diff: MappingDiff, actor: str) -> tuple[AuditEntry, ...]:
    """What an apply leaves behind, one entry per mapping that it added, changed or removed."""
    return (
        *(
            AuditEntry(actor, "mapping.add", one.name, one.tenant, None, _described(one))
            for one in diff.added
        ),
        *(
            AuditEntry(actor, "mapping.change", one.name, one.tenant, one.before, one.after)
            for one in diff.changed
        ),
        *(
            AuditEntry(actor, "mapping.remove", one.name, one.tenant, _described(one), None)
            for one in diff.removed
        ),
    )


def written(diff: MappingDiff) -> list[tuple[str, str, dict[str, Any]]]:
    """name, tenant and spec of what an apply writes."""
    changed = [
        (one.name, one.tenant, {k: v for k, v in one.after.items() if k != "tenant"}) for one in diff.changed
    ]
    return [*((one.name, one.tenant, one.spec) for one in diff.added), *changed]


def _compared(old: StoredMapping, new: StoredMapping) -> ChangedMapping:
    before, after = _described(old), _described(new)
    return ChangedMapping(new.name, new.tenant, before, after, tuple(field_changes("", before, after)))


def _described(row: StoredMapping) -> dict[str, Any]:
    spec = row.spec if isinstance(row.spec, dict) else {"spec": row.spec}
    return {"tenant": row.tenant, **spec}
