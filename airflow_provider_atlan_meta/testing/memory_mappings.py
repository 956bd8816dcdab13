"""Mappings in memory. Implements ``core.stored_mappings.MappingStore``.

    mappings = MemoryMappings([WarehouseMapping(...)])
    mappings.load().mappings.resolve("acme", account, "analytics:sales", "orders")

Held to the same contract suite as the real store (``tests/contract/mapping_store.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.mapping import WarehouseMapping
from airflow_provider_atlan_meta.core.stored_mappings import (
    AppliedMappings,
    LoadedMappings,
    StoredMapping,
    audit_entries,
    diff_mappings,
    loaded,
    written,
)
from airflow_provider_atlan_meta.core.stored_subscriptions import AuditEntry


class MemoryMappings:
    """:ivar audit: what was done, in order. :ivar is_down: nothing can be reached: every call raises TransientError."""

    def __init__(self, mappings: Iterable[WarehouseMapping] = (), *, actor: str = "atlan-meta") -> None:
        self._rows: dict[str, StoredMapping] = {}
        self._version = 0
        self.audit: list[AuditEntry] = []
        self.is_down = False
        self.apply(tuple(mappings), actor=actor)

    def load(self) -> LoadedMappings:
        return loaded(self._version, self.rows())

    def rows(self) -> list[StoredMapping]:
        if self.is_down:
            raise TransientError("the mappings cannot be reached; nothing was changed")
        return [self._rows[name] for name in sorted(self._rows)]

    def apply(
        self, wanted: Sequence[WarehouseMapping], *, actor: str, dry_run: bool = False
    ) -> AppliedMappings:
        diff = diff_mappings(self.rows(), wanted)
        if not dry_run:
            for name, tenant, spec in written(diff):
                old = self._rows.get(name)
                self._store(StoredMapping(name, tenant, spec, old.revision + 1 if old else 1, None, actor))
            for row in diff.removed:
                del self._rows[row.name]
                self._version += 1
            self.audit += audit_entries(diff, actor)
        return AppliedMappings(version=self._version, diff=diff, dry_run=dry_run)

    def store_by_hand(self, name: str, *, tenant: str, spec: Any) -> None:
        """As somebody with SQL would: nothing is checked."""
        self._store(StoredMapping(name, tenant, spec, 1))

    def _store(self, row: StoredMapping) -> None:
        self._rows[row.name] = row
        self._version += 1
