"""SQL of the revision and change triggers, generated per table from its columns.

Generated, because a trigger that walks columns at run time costs three times as much. A migration that adds a
column runs ``change_triggers`` of the table again. Message shape: ``core/changes.py`` and schemas/change_event.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# A message above this becomes thin ("truncated"): its reader fetches the row.
MAX_MESSAGE_BYTES = 512 * 1024


@dataclass(frozen=True)
class ChangedTable:
    """:param id_column: second part of the primary key, behind tenant_id.
    :param columns: the effective ones: only they make a new revision and a change message.
    """

    name: str
    id_column: str
    columns: tuple[str, ...]
    id_type: str = "text"


INCIDENT = ChangedTable(
    "incident",
    "incident_id",
    (
        "source",
        "type",
        "title",
        "severity",
        "priority",
        "status",
        "owner",
        "url",
        "opened_at",
        "updated_at",
        "resolved_at",
        "entity_ids",
    ),
)
ENTITY = ChangedTable(
    "entity",
    "entity_id",
    ("qualified_name", "type_name", "name", "platform", "database_name", "schema_name"),
    "uuid",
)


class _Message(NamedTuple):
    """What a trigger tells: the row to tell of, and SQL for what the row itself does not hold."""

    op: str
    row: str
    revision: str
    changed_at: str


def change_triggers(table: ChangedTable) -> str:
    """Everything that keeps ``revision`` and tells the log; replaces what an earlier revision made."""
    return "\n".join((_revision_functions(table), _emit_function(table), _triggers(table)))


def _revision_functions(table: ChangedTable) -> str:
    return f"""
create or replace function meta.{table.name}_first_revision() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare buried bigint;
begin
  select t.revision into buried from meta.tombstone t
   where t.tenant_id = new.tenant_id and t.kind = '{table.name}' and t.id = new.{table.id_column}::text;
  if found then new.revision := buried + 1; end if;
  return new;
end $$;
create or replace function meta.keep_revision() returns trigger language plpgsql as $$
begin new.revision := old.revision; return new; end $$;
create or replace function meta.next_revision() returns trigger language plpgsql as $$
begin new.revision := old.revision + 1; new.changed_at := clock_timestamp(); return new; end $$;
-- a delete is a revision of its own: its change must not bear the id of the one before it
create or replace function meta.bury() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into meta.tombstone (tenant_id, kind, id, revision)
  values (old.tenant_id, tg_table_name, to_jsonb(old) ->> tg_argv[0], old.revision + 1)
  on conflict (tenant_id, kind, id) do update set revision = excluded.revision, deleted_at = excluded.deleted_at;
  return null;
end $$;
"""


def _emit_function(table: ChangedTable) -> str:
    branches = "\n".join(
        f"""  when '{operation}' then
    id := {_change_id(table, message)};
    aggregate := {message.row}.tenant_id || '|' || {message.row}.{table.id_column};
    change := {_head(table, message)} || held || {_body(table, message.op)};
    if octet_length(change) > {MAX_MESSAGE_BYTES} then
      change := {_head(table, message)} || held || '"truncated":true}}';
    end if;"""
        for operation, message in (
            ("INSERT", _Message("created", "new", "new.revision", "new.changed_at")),
            ("UPDATE", _Message("updated", "new", "new.revision", "new.changed_at")),
            ("DELETE", _Message("deleted", "old", "(old.revision + 1)", "clock_timestamp()")),
        )
    )
    return f"""
create or replace function meta.emit_{table.name}_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id uuid;
  aggregate text;
  change text;
  -- a replay keeps quiet: readers note the revision and tell nobody
  held text := case when current_setting('meta.held', true) = 'on' then '"held":true,' else '' end;
begin
  case tg_op
{branches}
  end case;
  perform pg_logical_emit_message(true, 'outbox', '{{"id":"' || id || '","aggregatetype":"changes","aggregateid":'
    || to_json(aggregate) || ',"payload":' || to_json(change) || '}}');
  return null;
end $$;
"""


def _change_id(table: ChangedTable, message: _Message) -> str:
    """``hash128(tenant, kind, id, incarnation, revision)``, written out: the function costs five times as much."""
    kind = (len(table.name).to_bytes(4, "big") + table.name.encode()).hex()
    row = message.row

    def part(expression: str) -> str:
        return f"int4send(octet_length({expression})) || convert_to({expression}, 'UTF8')"

    parts = " || ".join(
        (
            part(f"{row}.tenant_id"),
            f"'\\x{kind}'::bytea",
            part(f"{row}.{table.id_column}::text"),
            part("meta.incarnation()::text"),
            part(f"{message.revision}::text"),
        )
    )
    return f"encode(substring(sha256({parts}) for 16), 'hex')::uuid"


def _head(table: ChangedTable, message: _Message) -> str:
    row = message.row
    return (
        f"""'{{"change_id":"' || id || '","kind":"{table.name}","op":"{message.op}","tenant_id":'"""
        f""" || to_json({row}.tenant_id) || ',"id":' || to_json({row}.{table.id_column})"""
        f""" || ',"revision":' || {message.revision} || ',"changed_at":' || to_json({message.changed_at}) || ','"""
    )


def _body(table: ChangedTable, word: str) -> str:
    if word == "created":
        return f""" '"changed":null,"before":null,"after":' || {whole_row(table, "new")} || '}}' """
    if word == "deleted":
        return f""" '"changed":null,"before":' || {whole_row(table, "old")} || ',"after":null}}' """
    differs = [(c, f"old.{c} is distinct from new.{c}") for c in table.columns]
    names = ", ".join(f"""case when {test} then '"{c}"' end""" for c, test in differs)
    values = ", ".join(
        f"""case when {test} then '"{c}":' || coalesce(to_json(old.{c})::text, 'null') end"""
        for c, test in differs
    )
    return (
        f""" '"changed":[' || concat_ws(',', {names}) || '],"before":{{' || concat_ws(',', {values}) """
        f""" || '}},"after":' || {whole_row(table, "new")} || '}}' """
    )


def _triggers(table: ChangedTable) -> str:
    old = ", ".join(f"old.{c}" for c in table.columns)
    new = ", ".join(f"new.{c}" for c in table.columns)
    on = f"on meta.{table.name}"
    names = ("a_first", "b_keep", "c_revision", "emit_row", "emit_update", "bury")
    drops = "\n".join(f"drop trigger if exists {name} {on};" for name in names)
    return f"""
{drops}
create trigger a_first before insert {on} for each row when (new.revision = 1)
  execute function meta.{table.name}_first_revision();
create trigger b_keep before update {on} for each row when (new.revision is distinct from old.revision)
  execute function meta.keep_revision();
create trigger c_revision before update {on} for each row when (({old}) is distinct from ({new}))
  execute function meta.next_revision();
create trigger emit_row after insert or delete {on} for each row execute function meta.emit_{table.name}_change();
create trigger emit_update after update {on} for each row when (old.revision is distinct from new.revision)
  execute function meta.emit_{table.name}_change();
create trigger bury after delete {on} for each row execute function meta.bury('{table.id_column}');
"""


def read_changed_rows(*tables: ChangedTable) -> str:
    """A function that gives rows as they are now, spelled as the triggers spell ``after``, to meta_consumer."""
    selects = "\n    union all\n".join(
        f"""    select r.tenant_id, '{table.name}', r.{table.id_column}::text, r.revision, {whole_row(table, "r")}::text
      from unnest(p_tenant_ids, p_kinds, p_ids) k (tenant_id, kind, id)
      join meta.{table.name} r on r.tenant_id = k.tenant_id and r.{table.id_column} = {known_id(table)}
     where k.kind = '{table.name}'"""
        for table in tables
    )
    return f"""
create or replace function meta.read_changed_rows(p_tenants text, p_tenant_ids text[], p_kinds text[], p_ids text[])
returns table (tenant_id text, kind text, id text, revision bigint, columns text)
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_column
begin
  perform set_config('meta.tenants', p_tenants, true);
  return query
{selects};
end $$;
revoke execute on function meta.read_changed_rows(text, text[], text[], text[]) from public;
grant execute on function meta.read_changed_rows(text, text[], text[], text[]) to meta_consumer;
"""


def known_id(table: ChangedTable) -> str:
    """``k.id`` as the table has it; null where it cannot be one of the table's."""
    if table.id_type == "text":
        return "k.id"
    form = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
    return f"case when k.id ~ '{form}' then k.id::{table.id_type} end"


def whole_row(table: ChangedTable, row: str) -> str:
    return "json_build_object(" + ", ".join(f"'{c}', {row}.{c}" for c in table.columns) + ")"


def reemit_rows(table: ChangedTable) -> str:
    """One page: locks rows in key order and tells the log their state, in one transaction.

    An update of a row waits for the lock, so its message comes behind. Parameters: ``since``, ``limit``, and
    ``tenant``, ``id`` of the last row of the page before ('' and '' for the first). Returns tenant and id.
    """
    message = _Message(
        "' || case when r.revision = 1 then 'created' else 'updated' end || '",
        "r",
        "r.revision",
        "r.changed_at",
    )
    whole = whole_row(table, "r")
    id_column = f"t.{table.id_column}"
    page = f"""select t.* from meta.{table.name} t
     where t.changed_at >= %(since)s and (t.tenant_id, {id_column}) > (%(tenant)s, {_last_id(table)})
     order by t.tenant_id, {id_column} limit %(limit)s for no key update"""
    return _reemit(table, message, page, f""" '"changed":null,"before":null,"after":' || {whole} || '}}' """)


def reemit_tombstones(table: ChangedTable) -> str:
    """The same for rows that are gone: only that they were deleted is known of them."""
    message = _Message("deleted", "r", "r.revision", "r.deleted_at")
    page = f"""select t.tenant_id, t.id as {table.id_column}, t.revision, t.deleted_at from meta.tombstone t
     where t.kind = '{table.name}' and t.deleted_at >= %(since)s and (t.tenant_id, t.id) > (%(tenant)s, %(id)s)
       and not exists (select from meta.{table.name} o
                        where o.tenant_id = t.tenant_id and o.{table.id_column}::text = t.id)
     order by t.tenant_id, t.id limit %(limit)s for no key update of t"""
    return _reemit(table, message, page, """ '"changed":null,"before":null,"after":null}' """)


def _last_id(table: ChangedTable) -> str:
    if table.id_type == "text":
        return "%(id)s"
    return f"coalesce(nullif(%(id)s, ''), '00000000-0000-0000-0000-000000000000')::{table.id_type}"


def _reemit(table: ChangedTable, message: _Message, page: str, body: str) -> str:
    head = f"""{_head(table, message)} || '"reemitted":true,' """
    return f"""
select r.tenant_id, r.{table.id_column}::text, pg_logical_emit_message(true, 'outbox', '{{"id":"' || i.id
         || '","aggregatetype":"changes","aggregateid":' || to_json(r.tenant_id || '|' || r.{table.id_column})
         || ',"payload":' || to_json(case when octet_length(w.change) > {MAX_MESSAGE_BYTES}
                                          then {head} || '"truncated":true}}' else w.change end) || '}}')
  from ({page}) r
 cross join lateral (select {_change_id(table, message)} as id) i
 cross join lateral (select {head} || {body} as change) w
"""
