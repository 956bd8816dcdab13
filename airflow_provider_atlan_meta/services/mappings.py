"""Mappings for the command line: applied as role meta_consumer, read as role meta_reader."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresStore
from airflow_provider_atlan_meta.clients.postgres_mappings import PostgresMappings
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.mapping import Mappings, WarehouseMapping
from airflow_provider_atlan_meta.core.stored_mappings import (
    AppliedMappings,
    LoadedMappings,
    StoredMapping,
    problem_of,
)
from airflow_provider_atlan_meta.pipeline.derivation import Derivation
from airflow_provider_atlan_meta.pipeline.enrichment import Enrichment

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ListedMapping:
    """:ivar problem: why it cannot be used; empty when it can."""

    row: StoredMapping
    problem: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        row = self.row
        return {
            "name": row.name,
            "tenant": row.tenant,
            **(row.spec if isinstance(row.spec, dict) else {}),
            "revision": row.revision,
            "applied_at": row.applied_at.isoformat() if row.applied_at else None,
            "applied_by": row.applied_by,
            "problem": self.problem,
        }


def apply_mappings(
    postgres: ConnectionInfo, wanted: Sequence[WarehouseMapping], *, actor: str, dry_run: bool = False
) -> AppliedMappings:
    """:param postgres: role meta_consumer."""
    return _store(postgres).apply(wanted, actor=actor, dry_run=dry_run)


def list_mappings(reader: ConnectionInfo) -> list[ListedMapping]:
    """Those of the tenants that the connection sees."""
    return [ListedMapping(row=row, problem=problem_of(row)) for row in _store(reader).rows()]


def load_mappings(postgres: ConnectionInfo) -> LoadedMappings:
    return _store(postgres).load()


def derivation(
    store: PostgresStore, config: PostgresConfig, enrichment: Enrichment | None = None
) -> Derivation:
    """For whoever writes through ``store``, as role meta_ingest."""

    def load() -> Mappings:
        found = PostgresMappings(config).load()
        for name, problem in found.unusable.items():
            _log.warning("mapping %s cannot be used, its tables are provisional: %s", name, problem)
        return found.mappings

    return Derivation(store, load, enrichment)


def _store(postgres: ConnectionInfo) -> PostgresMappings:
    return PostgresMappings(PostgresConfig.from_connection(postgres))
