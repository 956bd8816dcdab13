"""SQL of the function that the followers of PostgreSQL read rows with, generated from the tables' columns.

A migration that adds a column makes it again.
"""

from __future__ import annotations

from airflow_provider_atlan_meta.migrations.change_triggers import ChangedTable, known_id, whole_row


def read_projected(*tables: ChangedTable) -> str:
    """Rows as they are now, and how they stand in a store; ``columns`` is null where only a tombstone is left.

    A key that is neither in its table nor buried has revision 0. A row that is not in the store has version 0.
    """
    selects = "\n      union all\n".join(
        f"""      select r.revision, {whole_row(table, "r")}::text as columns
        from meta.{table.name} r
       where k.kind = '{table.name}' and r.tenant_id = k.tenant_id and r.{table.id_column} = {known_id(table)}"""
        for table in tables
    )
    return f"""
create or replace function meta.read_projected(
  p_tenants text, p_sink text, p_claim_seconds float8, p_tenant_ids text[], p_kinds text[], p_ids text[])
returns table (tenant_id text, kind text, id text, revision bigint, columns text, projected_revision bigint,
  content_hash bigint, version bigint, attempts integer, claim_left float8)
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC'
-- rows are asked for by their keys only: a plan made for empty tables must not read all of them later
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
begin
  perform set_config('meta.tenants', p_tenants, true);
  return query
    select k.tenant_id, k.kind, k.id, coalesce(r.revision, t.revision, 0), r.columns,
           coalesce(p.projected_revision, 0), p.content_hash, coalesce(p.version, 0), coalesce(p.attempts, 0),
           greatest(0, p_claim_seconds - extract(epoch from clock_timestamp() - p.claimed_at))::float8
      from unnest(p_tenant_ids, p_kinds, p_ids) k (tenant_id, kind, id)
      left join lateral (
{selects}
      ) r on true
      left join meta.tombstone t on t.tenant_id = k.tenant_id and t.kind = k.kind and t.id = k.id
      left join meta.projection p on p.tenant_id = k.tenant_id and p.kind = k.kind and p.id = k.id and p.sink = p_sink;
end $$;
revoke execute on function meta.read_projected(text, text, float8, text[], text[], text[]) from public;
grant execute on function meta.read_projected(text, text, float8, text[], text[], text[]) to meta_ingest;
"""
