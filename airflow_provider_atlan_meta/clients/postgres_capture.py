"""The database's side of change capture: role, publication, replication slot, and changes told again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, connect, translate
from airflow_provider_atlan_meta.core.capture_health import SlotState
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.migrations.change_triggers import (
    ENTITY,
    INCIDENT,
    ChangedTable,
    reemit_rows,
    reemit_tombstones,
)

TABLES: dict[str, ChangedTable] = {table.name: table for table in (INCIDENT, ENTITY)}
_APPLICATION = "atlan-meta capture"
_PLUGIN = "pgoutput"
_OLDEST_FAILOVER_SLOTS = 170000
_DROP_SECONDS = 15.0
_POLL_SECONDS = 0.05
# no lock is held for longer, and nobody waits behind us for longer
_LIMITS = """
select set_config('lock_timeout', '5s', false), set_config('statement_timeout', '15s', false),
       set_config('timezone', 'UTC', false)"""

# As jsonb: what an older PostgreSQL does not know is null instead of an error.
_SLOT = """
select s.active, s.database, s.plugin, s.wal_status, s.active_pid, s.safe_wal_size as safe_bytes,
       pg_wal_lsn_diff(s.confirmed_flush_lsn, '0/0')::bigint as confirmed,
       pg_wal_lsn_diff(s.restart_lsn, '0/0')::bigint as restart,
       pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint as current,
       case when limits.mb >= 0 then limits.mb * 1024 * 1024 end as limit_bytes,
       coalesce(to_jsonb(s) ->> 'invalidation_reason', '') as invalidation_reason,
       coalesce(a.wait_event, '') as wait_event, current_database() as here
  from pg_replication_slots s
  left join pg_stat_activity a on a.pid = s.active_pid
 cross join (select setting::bigint as mb from pg_settings where name = 'max_slot_wal_keep_size') limits
 where s.slot_name = %s"""

_REQUIRED = """
select current_setting('wal_level') as wal_level,
       current_setting('max_replication_slots')::int - (select count(*) from pg_replication_slots) as free_slots,
       current_setting('server_version_num')::int as version,
       current_database() as database,
       r.rolcanlogin as can_login,
       r.rolreplication or exists (select from pg_roles m where m.rolname = 'rds_replication'
                                      and pg_has_role(r.oid, m.oid, 'member')) as replicates,
       has_function_privilege(r.oid, f.oid, 'execute') as emits,
       f.oid::regprocedure::text as emit,
       exists (select from pg_publication where pubname = %(publication)s) as published
  from pg_proc f left join pg_roles r on r.rolname = %(role)s
 where f.proname = 'pg_logical_emit_message' and f.proargtypes[2] = 'text'::regtype"""

_COUNT_ROWS = "select count(*) from meta.{} where changed_at >= %s"
_COUNT_TOMBSTONES = "select count(*) from meta.tombstone where kind = %s and deleted_at >= %s"


class Reemitted(NamedTuple):
    """One page that was told again; the next one goes on behind ``tenant_id``, ``id``."""

    rows: int
    tenant_id: str
    id: str


class CaptureStore:
    """One session. Observing, and making or dropping a slot, takes role meta_cdc; the rest a superuser.

    :raises TransientError: the database does not answer.
    """

    def __init__(self, config: PostgresConfig) -> None:
        self._role = config.user
        self._connection = connect(config, _APPLICATION)
        self._execute(_LIMITS)

    def __enter__(self) -> CaptureStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    # ---- what is there -----------------------------------------------------------------------------------------------

    def slot(self, name: str) -> SlotState | None:
        """:raises ConfigurationError: the slot of that name is another database's, or not Debezium's."""
        found = self._slot(name)
        if found is None:
            return None
        if found["database"] != found["here"] or found["plugin"] != _PLUGIN:
            raise ConfigurationError(
                f"replication slot {name!r} belongs to database {found['database']!r} ({found['plugin']}); "
                "slots have one name per server: choose another with [atlan_meta] capture_slot"
            )
        return SlotState(
            **{field: found[field] for field in SlotState.__dataclass_fields__ if field != "wal_status"},
            wal_status=found["wal_status"] or "lost",
        )

    def _slot(self, name: str) -> dict[str, Any] | None:
        rows = self._execute(_SLOT, [name])
        return rows[0] if rows else None

    def missing(self, role: str, publication: str, slot: str) -> list[str]:
        """SQL a superuser has to run before ``role`` can capture; empty: nothing is missing.

        :raises ConfigurationError: what no SQL can bring.
        """
        found = self._execute(_REQUIRED, {"role": role, "publication": publication})[0]
        if found["wal_level"] != "logical":
            raise ConfigurationError(
                f"wal_level is {found['wal_level']}: set it to logical in postgresql.conf and restart PostgreSQL"
            )
        if found["can_login"] is None:
            raise ConfigurationError(f"there is no role {role}; run `atlan-meta db migrate`")
        if self.slot(slot) is None and found["free_slots"] < 1:
            raise ConfigurationError(
                "every replication slot of the server is taken: drop one or raise max_replication_slots"
            )
        statements = []
        if not (found["can_login"] and found["replicates"]):
            statements.append(sql.SQL("alter role {} login replication").format(sql.Identifier(role)))
        if not found["emits"]:
            grant = sql.SQL("grant execute on function {} to {}")
            statements.append(grant.format(sql.SQL(found["emit"]), sql.Identifier(role)))
        if not found["published"]:
            statements.append(sql.SQL("create publication {}").format(sql.Identifier(publication)))
        return [statement.as_string(self._connection) for statement in statements]

    # ---- making it ---------------------------------------------------------------------------------------------------

    def run(self, statements: Sequence[str]) -> None:
        """What ``missing`` found, in one transaction."""
        with _translated("preparing change capture"), self._connection.transaction():
            for statement in statements:
                self._connection.execute(statement.encode())

    def create_slot(self, name: str) -> None:
        """From here on the database keeps every change for the slot. Waits for transactions that are open now."""
        failover = self._connection.info.server_version >= _OLDEST_FAILOVER_SLOTS
        arguments = "%s, %s, false, false, true" if failover else "%s, %s, false, false"
        self._execute(f"select pg_create_logical_replication_slot({arguments})", [name, _PLUGIN])

    def drop_slot(self, name: str) -> None:
        """Does nothing when it is gone; ends the session that reads it.

        :raises TransientError: somebody takes it again and again.
        """
        deadline = time.monotonic() + _DROP_SECONDS
        while (found := self._slot(name)) is not None:
            if found["active_pid"] is not None:
                self._execute("select pg_terminate_backend(%s)", [found["active_pid"]])
            with suppress(psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
                self._connection.execute("select pg_drop_replication_slot(%s)", [name])
                continue
            if time.monotonic() > deadline:
                raise TransientError(f"replication slot {name!r} is in use by process {found['active_pid']}")
            time.sleep(_POLL_SECONDS)

    # ---- telling again -----------------------------------------------------------------------------------------------

    def check_sees_everything(self) -> None:
        """:raises ConfigurationError: row level security would hide rows from this login, without an error."""
        query = "select rolsuper or rolbypassrls as sees from pg_roles where rolname = current_user"
        if not self._execute(query)[0]["sees"]:
            raise ConfigurationError(f"{self._role} does not see every tenant's rows; this needs a superuser")

    def count(self, kind: str, since: datetime, *, deleted: bool) -> int:
        """How much ``reemit`` would tell again."""
        if deleted:
            return int(self._execute(_COUNT_TOMBSTONES, [kind, since])[0]["count"])
        query = sql.SQL(_COUNT_ROWS).format(sql.Identifier(TABLES[kind].name))
        return int(self._execute(query, [since])[0]["count"])

    def reemit(
        self, kind: str, since: datetime, *, deleted: bool, after: tuple[str, str], limit: int
    ) -> Reemitted:
        """One page of rows, or of tombstones, in one transaction; rows 0: that was all."""
        query = (reemit_tombstones if deleted else reemit_rows)(TABLES[kind])
        arguments = {"since": since, "tenant": after[0], "id": after[1], "limit": limit}
        with _translated(f"telling {kind}s again"), self._connection.cursor() as cursor:
            rows = cursor.execute(query.encode(), arguments).fetchall()
        return Reemitted(len(rows), *(rows[-1][:2] if rows else after))

    # ---- the session -------------------------------------------------------------------------------------------------

    def _execute(self, query: str | sql.Composed, arguments: Any = None) -> list[dict[str, Any]]:
        with _translated("PostgreSQL"), self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query if isinstance(query, sql.Composed) else query.encode(), arguments)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, what) from error
