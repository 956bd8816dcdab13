-- Schema meta, third revision: where the stores that follow PostgreSQL stand. Only adds: the version before runs on it.

-- Longer than any transaction of ours may take (20 s): who waits longer than this is in somebody else's way.
set local lock_timeout = '25s';

set role meta_owner;

-- How a row stands in a store. Dirty: its revision (or its tombstone's) is above projected_revision, or it is not here.
create table meta.projection (
  tenant_id text not null,
  kind text not null,
  id text not null,
  sink text not null,
  projected_revision bigint not null default 0,
  -- of what the store has; null: not known for certain, so it is written whatever it is
  content_hash bigint,
  external_id text,
  -- +1 by whoever touches the row: an answer of the store counts only if nobody else was at it since the claim
  version bigint not null default 1,
  -- a write is on its way since then; stays when its worker dies
  claimed_at timestamptz,
  attempts integer not null default 0,
  -- not before then; no sweep looks at the row until it is due
  retry_at timestamptz,
  reason text,
  primary key (tenant_id, kind, id, sink)
) with (fillfactor = 70);
create index projection_due on meta.projection (sink, retry_at) where retry_at is not null;

-- Every row stamped before swept_to has been looked at. The mark becomes the next swept_to once every transaction that
-- may have stamped a row before it has ended, however long it took.
create table meta.projection_sweep (
  sink text primary key,
  swept_to timestamptz,
  mark_at timestamptz,
  mark_xid xid8
);

-- Rows that changed lately are found by block ranges. Since PostgreSQL 16 an update stays heap-only beside such an
-- index; before, it would not, and a sweep reads the tables instead.
do $$ begin
  if current_setting('server_version_num')::int >= 160000 then
    create index incident_changed on meta.incident using brin (changed_at) with (pages_per_range = 4, autosummarize = on);
    create index entity_changed on meta.entity using brin (changed_at) with (pages_per_range = 4, autosummarize = on);
    create index tombstone_deleted on meta.tombstone using brin (deleted_at) with (pages_per_range = 4, autosummarize = on);
  end if;
end $$;

alter table meta.projection enable row level security, force row level security;
create policy tenant on meta.projection using
  (tenant_id = any ((select string_to_array(current_setting('meta.tenants', true), ','))::text[]));
create policy ingest on meta.projection to meta_ingest using (true) with check (true);
-- dirty_rows looks for keys in every tenant; what a row says is read under its tenant only
create policy owner on meta.projection for select to meta_owner using (true);
create policy owner on meta.incident for select to meta_owner using (true);
create policy owner on meta.entity for select to meta_owner using (true);

-- since: sweep what was stamped from then on; null: everything. settled: what finish_sweep may move swept_to to.
create function meta.begin_sweep(p_sink text, out since timestamptz, out settled timestamptz)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  -- before this transaction gets its id: who stamped a row by now has an older one
  moment timestamptz := clock_timestamp();
begin
  insert into meta.projection_sweep (sink, mark_at, mark_xid)
  values (p_sink, moment, pg_current_xact_id()) on conflict do nothing;
  -- 5 s: a single statement may stamp its row a moment before it gets its transaction id
  select s.swept_to - interval '5 seconds',
         case when s.mark_xid <= pg_snapshot_xmin(pg_current_snapshot()) then s.mark_at end
    into since, settled from meta.projection_sweep s where s.sink = p_sink;
  if settled is not null then
    update meta.projection_sweep set mark_at = moment, mark_xid = pg_current_xact_id() where sink = p_sink;
  end if;
end $$;

-- One page of keys in key order, behind (p_tenant, p_kind, p_id). p_table: incident, entity or tombstone.
-- What waits for its retry_at is left out: it is found by that.
create function meta.dirty_rows(
  p_sink text, p_table text, p_since timestamptz, p_tenant text, p_kind text, p_id text, p_limit integer)
returns table (tenant_id text, kind text, id text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
-- a plan for a sweep of everything must not serve one of the last seconds
set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
begin
  case p_table
  when 'incident' then
    return query
      select r.tenant_id, p_table, r.incident_id from meta.incident r
        left join meta.projection p on p.tenant_id = r.tenant_id and p.kind = 'incident' and p.id = r.incident_id
         and p.sink = p_sink
       where (p_since is null or r.changed_at >= p_since)
         and (r.tenant_id, r.incident_id) > (p_tenant, p_id)
         and (p.sink is null or (p.projected_revision < r.revision and p.retry_at is null))
       order by r.tenant_id, r.incident_id limit p_limit;
  when 'entity' then
    return query
      select r.tenant_id, p_table, r.entity_id::text from meta.entity r
        left join meta.projection p on p.tenant_id = r.tenant_id and p.kind = 'entity' and p.id = r.entity_id::text
         and p.sink = p_sink
       where (p_since is null or r.changed_at >= p_since)
         and (r.tenant_id, r.entity_id)
             > (p_tenant, coalesce(nullif(p_id, ''), '00000000-0000-0000-0000-000000000000')::uuid)
         and (p.sink is null or (p.projected_revision < r.revision and p.retry_at is null))
       order by r.tenant_id, r.entity_id limit p_limit;
  when 'tombstone' then
    return query
      select r.tenant_id, r.kind, r.id from meta.tombstone r
        left join meta.projection p on p.tenant_id = r.tenant_id and p.kind = r.kind and p.id = r.id and p.sink = p_sink
       where (p_since is null or r.deleted_at >= p_since)
         and (r.tenant_id, r.kind, r.id) > (p_tenant, p_kind, p_id)
         and (p.sink is null or (p.projected_revision < r.revision and p.retry_at is null))
       order by r.tenant_id, r.kind, r.id limit p_limit;
  end case;
end $$;

revoke execute on function meta.begin_sweep(text),
  meta.dirty_rows(text, text, timestamptz, text, text, text, integer) from public;
grant execute on function meta.begin_sweep(text),
  meta.dirty_rows(text, text, timestamptz, text, text, text, integer) to meta_ingest;
grant select, insert, update, delete on meta.projection to meta_ingest;
grant select, insert, update on meta.projection_sweep to meta_ingest;
grant select on meta.projection, meta.projection_sweep to meta_reader;
