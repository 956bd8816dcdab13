-- Schema meta, first revision. Run as a superuser: roles and the revoke on pg_logical_emit_message need one;
-- everything else is owned by meta_owner.

do $$ declare name text; begin
  foreach name in array array['meta_owner', 'meta_ingest', 'meta_consumer', 'meta_reader', 'meta_cdc'] loop
    if not exists (select from pg_roles where rolname = name) then
      execute format('create role %I login nosuperuser nocreatedb nocreaterole', name);
    end if;
  end loop;
end $$;
alter role meta_cdc replication bypassrls;

-- A stopped client must never hold locks for as long as its lease lasts (30 s).
do $$ declare name text; begin
  foreach name in array array['meta_ingest', 'meta_consumer'] loop
    execute format('alter role %I set idle_in_transaction_session_timeout = ''10s''', name);
    execute format('alter role %I set lock_timeout = ''5s''', name);
    execute format('alter role %I set statement_timeout = ''15s''', name);
    -- change messages spell their times alike, wherever the writer's process stands
    execute format('alter role %I set timezone = ''UTC''', name);
    if current_setting('server_version_num')::int >= 170000 then
      execute format('alter role %I set transaction_timeout = ''20s''', name);
    end if;
  end loop;
end $$;

-- Only the change triggers may write change messages. The function has 3 arguments before PostgreSQL 17, 4 since.
do $$ declare f regprocedure; begin
  for f in select oid::regprocedure from pg_proc where proname = 'pg_logical_emit_message' loop
    execute format('revoke execute on function %s from public', f);
    execute format('grant execute on function %s to meta_owner', f);
  end loop;
end $$;

alter schema meta owner to meta_owner;
grant usage on schema meta to meta_ingest, meta_consumer, meta_reader, meta_cdc;

set role meta_owner;

-- The first 128 bits of SHA-256 over length-prefixed UTF-8 parts: core/identity.py's twin.
create function meta.hash128(variadic parts text[]) returns uuid
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
  select encode(substring(sha256(string_agg(
           int4send(octet_length(convert_to(part, 'UTF8'))) || convert_to(part, 'UTF8'), ''::bytea order by n)) for 16), 'hex')::uuid
    from unnest(parts) with ordinality as p (part, n)
$$;

-- Part of every change_id: whoever restores the database from a backup replaces this function with the next number.
create function meta.incarnation() returns integer language sql immutable parallel safe as $$ select 1 $$;

create table meta.event (
  event_key uuid primary key,
  tenant_id text not null,
  event_id uuid not null,
  source text not null,
  type text not null,
  subject text not null,
  occurred_at timestamptz,
  received_at timestamptz not null,
  duplicate_of uuid,
  payload json not null
) partition by range (event_key);
create index event_subject on meta.event (tenant_id, subject, event_key);
create table meta.event_default partition of meta.event default;
-- A partition read by its own name ignores the parent's policy: forced, without a policy, it is closed.
alter table meta.event_default enable row level security, force row level security;

create function meta.day_key(day date) returns uuid
language sql immutable strict parallel safe as $$
  select rpad(lpad(to_hex((extract(epoch from day::timestamp) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

-- CREATE + ATTACH instead of PARTITION OF: the latter locks the whole table against every open writer.
-- False: somebody else is at it, the day is there, or the DEFAULT partition already holds rows of it.
create function meta.ensure_event_day(day date) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '1s' as $$
declare name text := format('event_%s', to_char(day, 'YYYYMMDD'));
begin
  if to_regclass('meta.' || name) is not null or not pg_try_advisory_xact_lock(hashtext('meta.ensure_event_day')) then
    return false;
  end if;
  execute format('create table meta.%I (like meta.event including defaults including constraints)', name);
  execute format('alter table meta.%I enable row level security, force row level security', name);
  execute format('alter table meta.event attach partition meta.%I for values from (%L) to (%L)',
                 name, meta.day_key(day), meta.day_key(day + 1));
  return true;
exception when check_violation or lock_not_available then
  return false;
end $$;
revoke execute on function meta.ensure_event_day(date) from public;
grant execute on function meta.ensure_event_day(date) to meta_ingest;

create table meta.incident (
  tenant_id text not null,
  incident_id text not null,
  source text,
  type text,
  title text,
  severity text,
  priority text,
  status text,
  owner text,
  url text,
  opened_at timestamptz,
  updated_at timestamptz,
  resolved_at timestamptz,
  entity_ids uuid[] not null default '{}',
  -- one per effective column, in their order: the offset of the record that said it last
  positions bigint[] not null default '{}',
  log_position bigint not null default -1,
  last_event_id uuid,
  unconfirmed boolean not null default false,
  revision bigint not null default 1,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, incident_id)
) with (fillfactor = 70);

create table meta.entity (
  tenant_id text not null,
  entity_id uuid not null,
  qualified_name text not null,
  type_name text not null,
  name text,
  platform text not null,
  database_name text,
  schema_name text,
  -- the event_key of what was said last: comparable across partitions, offsets are not
  position uuid not null,
  content_hash bigint not null,
  revision bigint not null default 1,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, entity_id)
) with (fillfactor = 85);

create table meta.incident_entity (
  tenant_id text not null,
  entity_id uuid not null,
  incident_id text not null,
  primary key (tenant_id, entity_id, incident_id)
);

create table meta.tombstone (
  tenant_id text not null,
  kind text not null,
  id text not null,
  revision bigint not null,
  deleted_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, kind, id)
);

create table meta.ingest_offset (
  cluster_id text not null,
  topic text not null,
  partition integer not null,
  sink text not null,
  next_offset bigint not null,
  topic_id text not null,
  owner uuid,
  owner_label text not null default '',
  epoch bigint not null default 0,
  expires_at timestamptz not null default '-infinity',
  renewed_at timestamptz not null default clock_timestamp(),
  moved_at timestamptz not null default clock_timestamp(),
  primary key (cluster_id, topic, partition, sink)
) with (fillfactor = 50);

create table meta.dead_letter (
  cluster_id text not null,
  topic text not null,
  partition integer not null,
  "offset" bigint not null,
  sink text not null,
  tenant_id text,
  key bytea,
  headers json not null,
  value bytea,
  stage text not null,
  reason text not null,
  fingerprint text not null,
  state text not null default 'new',
  at timestamptz not null default clock_timestamp(),
  published_at timestamptz,
  primary key (cluster_id, topic, partition, "offset", sink)
);
create index dead_letter_unpublished on meta.dead_letter (at) where published_at is null;

do $$ declare name text; begin
  foreach name in array array['event', 'incident', 'entity', 'incident_entity', 'tombstone', 'dead_letter'] loop
    execute format('alter table meta.%I enable row level security, force row level security', name);
    -- the sub-select is evaluated once per statement, not once per row
    execute format($policy$create policy tenant on meta.%I using
      (tenant_id = any ((select string_to_array(current_setting('meta.tenants', true), ','))::text[]))$policy$, name);
  end loop;
end $$;
-- The revision triggers run as the owner and must find every row's tombstone, whoever writes it.
create policy owner on meta.tombstone to meta_owner using (true) with check (true);
-- What could not be read has no tenant: ingest writes and publishes it, nobody else sees it.
create policy ingest on meta.dead_letter to meta_ingest using (true) with check (true);

-- Rows for apply_batch, as arrays of composite values. Their columns are packed by clients/postgres_rows.py.
create type meta.staged_incident as (
  tenant_id text, incident_id text, source text, type text, title text, severity text, priority text, status text,
  owner text, url text, opened_at timestamptz, updated_at timestamptz, resolved_at timestamptz, entity_ids uuid[],
  positions bigint[], log_position bigint, last_event_id uuid, unconfirmed boolean, revision bigint);
create type meta.staged_entity as (
  tenant_id text, entity_id uuid, qualified_name text, type_name text, name text, platform text,
  database_name text, schema_name text, content_hash bigint, "position" uuid);
create type meta.staged_link as (tenant_id text, entity_id uuid, incident_id text, dropped boolean);
create type meta.staged_dead_letter as (
  "offset" bigint, tenant_id text, key bytea, headers json, value bytea, stage text, reason text, fingerprint text);
create type meta.lease as (
  cluster_id text, topic text, partition integer, sink text, epoch bigint, start_offset bigint, end_offset bigint, seconds float8);

-- The incidents a batch touches, read without a lock; a row that is gone is there with its tombstone's revision.
create function meta.read_incidents(p_tenants text, p_tenant_ids text[], p_incident_ids text[])
returns table (tenant_id text, incident_id text, source text, type text, title text, severity text, priority text, status text,
  owner text, url text, opened_at timestamptz, updated_at timestamptz, resolved_at timestamptz, entity_ids uuid[],
  positions bigint[], log_position bigint, last_event_id uuid, unconfirmed boolean, revision bigint, present boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  perform set_config('meta.tenants', p_tenants, true);
  return query
    select i.tenant_id, i.incident_id, i.source, i.type, i.title, i.severity, i.priority, i.status, i.owner, i.url,
           i.opened_at, i.updated_at, i.resolved_at, i.entity_ids, i.positions, i.log_position, i.last_event_id,
           i.unconfirmed, i.revision, true
      from unnest(p_tenant_ids, p_incident_ids) k (tenant_id, incident_id)
      join meta.incident i on i.tenant_id = k.tenant_id and i.incident_id = k.incident_id
    union all
    select t.tenant_id, t.id, null, null, null, null, null, null, null, null, null, null, null, '{}'::uuid[],
           '{}'::bigint[], -1, null, false, t.revision, false
      from unnest(p_tenant_ids, p_incident_ids) k (tenant_id, incident_id)
      join meta.tombstone t on t.tenant_id = k.tenant_id and t.kind = 'incident' and t.id = k.incident_id
     where not exists (select from meta.incident i where i.tenant_id = k.tenant_id and i.incident_id = k.incident_id);
end $$;

-- Which of these events are stored already, and whether as duplicates: replay's probe.
create function meta.known_events(p_tenants text, p_keys uuid[]) returns table (event_key uuid, duplicate_of uuid)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  perform set_config('meta.tenants', p_tenants, true);
  return query select e.event_key, e.duplicate_of from meta.event e where e.event_key = any (p_keys);
end $$;

-- The server half of a batch in one call: locks are held only while the server works, never while it waits for a
-- client. The cursor comes first, so that a stale owner locks no row. A null lease is a replay: no cursor.
-- 40001 'incident moved': somebody wrote an incident since it was read; plan the batch again.
-- P0001 with detail 'fenced': the lease or the offset is not the caller's any more.
create function meta.apply_batch(
  p_lease meta.lease, p_tenants text,
  e_event_key uuid[], e_tenant_id text[], e_event_id uuid[], e_source text[], e_type text[], e_subject text[],
  e_occurred_at timestamptz[], e_received_at timestamptz[], e_payload json[], e_duplicate_of uuid[],
  p_incidents meta.staged_incident[],
  p_waves integer[], p_quiet meta.staged_incident[], p_entities meta.staged_entity[], p_entity_waves integer[],
  p_links meta.staged_link[], p_dead_letters meta.staged_dead_letter[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  wave integer;
  first integer := 1;
  written bigint;
begin
  perform set_config('meta.tenants', p_tenants, true);
  if p_lease is not null then
    update meta.ingest_offset o
       set next_offset = p_lease.end_offset, moved_at = clock_timestamp(), renewed_at = clock_timestamp(),
           expires_at = clock_timestamp() + make_interval(secs => p_lease.seconds)
     where o.cluster_id = p_lease.cluster_id and o.topic = p_lease.topic and o.partition = p_lease.partition
       and o.sink = p_lease.sink and o.next_offset = p_lease.start_offset and o.epoch = p_lease.epoch;
    if not found then
      raise exception 'lease lost: %/% at offset %, epoch %', p_lease.topic, p_lease.partition, p_lease.start_offset, p_lease.epoch
        using detail = 'fenced';
    end if;
  end if;

  -- A key that is there already is rare: plain first, as ON CONFLICT writes every row twice into the log.
  begin
    insert into meta.event (event_key, tenant_id, event_id, source, type, subject, occurred_at, received_at, payload, duplicate_of)
    select unnest(e_event_key), unnest(e_tenant_id), unnest(e_event_id), unnest(e_source), unnest(e_type), unnest(e_subject),
           unnest(e_occurred_at), unnest(e_received_at), unnest(e_payload), unnest(e_duplicate_of);
  exception when unique_violation then
    insert into meta.event (event_key, tenant_id, event_id, source, type, subject, occurred_at, received_at, payload, duplicate_of)
    select unnest(e_event_key), unnest(e_tenant_id), unnest(e_event_id), unnest(e_source), unnest(e_type), unnest(e_subject),
           unnest(e_occurred_at), unnest(e_received_at), unnest(e_payload), unnest(e_duplicate_of)
    on conflict (event_key) do nothing;
  end;

  foreach wave in array p_waves loop
    insert into meta.incident as t (tenant_id, incident_id, source, type, title, severity, priority, status, owner, url,
      opened_at, updated_at, resolved_at, entity_ids, positions, log_position, last_event_id, unconfirmed, revision)
    select tenant_id, incident_id, source, type, title, severity, priority, status, owner, url, opened_at, updated_at,
           resolved_at, entity_ids, positions, log_position, last_event_id, unconfirmed, revision
      from unnest(p_incidents[first : first + wave - 1])
    on conflict (tenant_id, incident_id) do update
      set (source, type, title, severity, priority, status, owner, url, opened_at, updated_at, resolved_at, entity_ids,
           positions, log_position, last_event_id, unconfirmed)
        = (excluded.source, excluded.type, excluded.title, excluded.severity, excluded.priority, excluded.status,
           excluded.owner, excluded.url, excluded.opened_at, excluded.updated_at, excluded.resolved_at,
           excluded.entity_ids, excluded.positions, excluded.log_position, excluded.last_event_id, excluded.unconfirmed)
      where t.revision = excluded.revision - 1;
    get diagnostics written = row_count;
    if written <> wave then
      raise exception 'incident moved: % of % rows written', written, wave using errcode = '40001';
    end if;
    first := first + wave;
  end loop;

  if cardinality(p_quiet) > 0 then
    update meta.incident t
       set positions = q.positions, log_position = q.log_position, last_event_id = q.last_event_id, unconfirmed = q.unconfirmed
      from unnest(p_quiet) q
     where t.tenant_id = q.tenant_id and t.incident_id = q.incident_id and t.revision = q.revision;
    get diagnostics written = row_count;
    if written <> cardinality(p_quiet) then
      raise exception 'incident moved: % of % rows noted', written, cardinality(p_quiet) using errcode = '40001';
    end if;
  end if;

  first := 1;
  foreach wave in array p_entity_waves loop
    insert into meta.entity as t (tenant_id, entity_id, qualified_name, type_name, name, platform, database_name,
      schema_name, position, content_hash)
    select s.tenant_id, s.entity_id, s.qualified_name, s.type_name, s.name, s.platform, s.database_name,
           s.schema_name, s.position, s.content_hash
      from unnest(p_entities[first : first + wave - 1]) s
     -- ON CONFLICT would lock the row even where nothing changes
     where not exists (select from meta.entity e
                        where e.tenant_id = s.tenant_id and e.entity_id = s.entity_id and e.content_hash = s.content_hash)
     order by s.tenant_id, s.entity_id
    on conflict (tenant_id, entity_id) do update
      set (qualified_name, type_name, name, platform, database_name, schema_name, position, content_hash)
        = (excluded.qualified_name, excluded.type_name, excluded.name, excluded.platform, excluded.database_name,
           excluded.schema_name, excluded.position, excluded.content_hash)
      where excluded.position > t.position and excluded.content_hash <> t.content_hash;
    first := first + wave;
  end loop;

  if cardinality(p_links) > 0 then
    delete from meta.incident_entity l using unnest(p_links) s
     where s.dropped and l.tenant_id = s.tenant_id and l.entity_id = s.entity_id and l.incident_id = s.incident_id;
    insert into meta.incident_entity (tenant_id, entity_id, incident_id)
    select tenant_id, entity_id, incident_id from unnest(p_links) where not dropped on conflict do nothing;
  end if;

  if cardinality(p_dead_letters) > 0 then
    insert into meta.dead_letter (cluster_id, topic, partition, "offset", sink, tenant_id, key, headers, value, stage, reason, fingerprint)
    select p_lease.cluster_id, p_lease.topic, p_lease.partition, s."offset", p_lease.sink, s.tenant_id, s.key, s.headers,
           s.value, s.stage, s.reason, s.fingerprint
      from unnest(p_dead_letters) s on conflict do nothing;
  end if;
end $$;

revoke execute on all functions in schema meta from public;
grant execute on function meta.hash128(text[]), meta.incarnation(), meta.day_key(date)
  to meta_ingest, meta_consumer, meta_reader, meta_cdc;
grant execute on function meta.read_incidents(text, text[], text[]), meta.known_events(text, uuid[]), meta.ensure_event_day(date),
  meta.apply_batch(meta.lease, text, uuid[], text[], uuid[], text[], text[], text[], timestamptz[], timestamptz[], json[], uuid[],
                   meta.staged_incident[], integer[], meta.staged_incident[],
                   meta.staged_entity[], integer[], meta.staged_link[], meta.staged_dead_letter[]) to meta_ingest;
grant select, insert on meta.event to meta_ingest;
grant select, insert, update, delete on meta.incident, meta.entity to meta_ingest;
grant select, insert, delete on meta.incident_entity to meta_ingest;
grant select on meta.tombstone to meta_ingest;
grant select, insert, update on meta.ingest_offset, meta.dead_letter to meta_ingest;
-- parents only: a grant on a partition would go round the parent's policy
grant select on meta.event, meta.incident, meta.entity, meta.incident_entity, meta.tombstone, meta.ingest_offset, meta.dead_letter
  to meta_reader, meta_consumer, meta_cdc;

select meta.ensure_event_day(day::date)
  from generate_series((now() at time zone 'utc')::date - 1, (now() at time zone 'utc')::date + 7, '1 day') day;
