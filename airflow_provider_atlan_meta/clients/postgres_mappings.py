"""Mappings in ``meta.mapping``: applied as role meta_consumer, every change with a row in ``meta.audit``.

Whoever writes locks the table against other writers first, so that what is compared is what is replaced; readers go on.
A call is a connection of its own: they are rare, and any thread may make one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, connect, translate
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

_Connection = psycopg.Connection[tuple[Any, ...]]

_LOCK = "lock table meta.mapping in share row exclusive mode"
# Version and rows of one snapshot; the version also where there is no row. Names in the order Python has.
_READ = """
select v.version, m.name, m.tenant_id, m.spec::text, m.revision, m.applied_at, m.applied_by
  from meta.mapping_version v left join meta.mapping m on true
 order by m.name collate "C" """
_VERSION = "select version from meta.mapping_version"
_WRITE = """
insert into meta.mapping as m (name, tenant_id, spec, applied_by)
select w.name, w.tenant_id, w.spec::json, %s from unnest(%s::text[], %s::text[], %s::text[]) w (name, tenant_id, spec)
on conflict (name) do update
   set tenant_id = excluded.tenant_id, spec = excluded.spec, revision = m.revision + 1,
       applied_at = excluded.applied_at, applied_by = excluded.applied_by"""
_REMOVE = "delete from meta.mapping where name = any (%s::text[])"
_AUDIT = """
insert into meta.audit (actor, action, object, tenant_id, before, after) values (%s, %s, %s, %s, %s, %s)"""


class PostgresMappings:
    """Implements ``core.stored_mappings.MappingStore``.

    :param config: any role reads: meta_ingest and meta_consumer all, meta_reader those of its tenants.
    :param application_name: shown in pg_stat_activity.
    """

    def __init__(self, config: PostgresConfig, *, application_name: str = "atlan-meta mapping") -> None:
        self._config = config
        self._application_name = application_name

    def load(self) -> LoadedMappings:
        with self._session() as connection:
            return loaded(*_read(connection))

    def rows(self) -> list[StoredMapping]:
        with self._session() as connection:
            return _read(connection)[1]

    def apply(
        self, wanted: Sequence[WarehouseMapping], *, actor: str, dry_run: bool = False
    ) -> AppliedMappings:
        """:param actor: who does it, for the audit."""
        with self._session() as connection, connection.transaction(force_rollback=dry_run):
            if not dry_run:
                connection.execute(_LOCK)
            version, rows = _read(connection)
            diff = diff_mappings(rows, wanted)
            if not dry_run and not diff.is_empty:
                if changes := written(diff):
                    names, tenants, specs = zip(*changes, strict=True)
                    texts = [json.dumps(spec) for spec in specs]
                    connection.execute(_WRITE, (actor, list(names), list(tenants), texts))
                if diff.removed:
                    connection.execute(_REMOVE, ([row.name for row in diff.removed],))
                _audit(connection, audit_entries(diff, actor))
                ((version,),) = connection.execute(_VERSION).fetchall()
        return AppliedMappings(version=version, diff=diff, dry_run=dry_run)

    @contextmanager
    def _session(self) -> Iterator[_Connection]:
        try:
            with connect(self._config, self._application_name) as connection:
                yield connection
        except errors.LockNotAvailable as error:
            raise TransientError(
                "somebody else is changing the mappings, or writes under them, and has not finished; nothing was "
                "changed, run the same again"
            ) from error
        except psycopg.Error as error:
            raise translate(error, "PostgreSQL") from error


def _read(connection: _Connection) -> tuple[int, list[StoredMapping]]:
    found = connection.execute(_READ).fetchall()
    rows = [
        StoredMapping(name, tenant, json.loads(spec), *rest)
        for _, name, tenant, spec, *rest in found
        if name is not None
    ]
    return found[0][0], rows


def _audit(connection: _Connection, entries: Sequence[AuditEntry]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            _AUDIT, [(*entry[:4], _json(entry.before), _json(entry.after)) for entry in entries]
        )


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)
