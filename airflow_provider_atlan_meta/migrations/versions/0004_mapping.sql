-- Schema meta, fourth revision: how the tables of a source are called in the catalog. Only adds: the version before runs
-- on it.

-- Longer than any transaction of ours may take (20 s): who waits longer than this is in somebody else's way.
set local lock_timeout = '25s';

set role meta_owner;

create table meta.mapping (
  name text primary key,
  tenant_id text not null,
  spec json not null,
  revision bigint not null default 1,
  applied_at timestamptz not null default clock_timestamp(),
  applied_by text not null default ''
);

create table meta.mapping_version (
  only_row boolean primary key default true check (only_row),
  version bigint not null
);
insert into meta.mapping_version (version) values (0);

-- Behind every batch that is being written: an advisory lock, because it is fair, and share locks on a row are not.
create function meta.count_mapping_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform pg_advisory_xact_lock(hashtext('meta.mapping'));
  update meta.mapping_version set version = version + 1;
  return null;
end $$;
create trigger count_change after insert or update or delete or truncate on meta.mapping
  for each statement execute function meta.count_mapping_change();

alter table meta.mapping enable row level security, force row level security;
create policy tenant on meta.mapping for select using
  (tenant_id = any ((select string_to_array(current_setting('meta.tenants', true), ','))::text[]));
create policy ingest on meta.mapping for select to meta_ingest using (true);
create policy consumer on meta.mapping to meta_consumer using (true) with check (true);

-- Called before anything is written that was derived from the mappings: until the transaction ends nobody changes them.
-- P0001 with detail 'mapping': they are not those any more; derive again. Null: derived from none, nothing is checked.
create function meta.hold_mapping(p_version bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if p_version is null then
    return;
  end if;
  perform pg_advisory_xact_lock_shared(hashtext('meta.mapping'));
  perform from meta.mapping_version where version = p_version;
  if not found then
    raise exception 'the mappings have changed since version %', p_version using detail = 'mapping';
  end if;
end $$;
revoke execute on function meta.hold_mapping(bigint), meta.count_mapping_change() from public;
grant execute on function meta.hold_mapping(bigint) to meta_ingest;

grant select on meta.mapping, meta.mapping_version to meta_ingest, meta_reader;
grant select, insert, update, delete on meta.mapping to meta_consumer;
grant select on meta.mapping_version to meta_consumer;
