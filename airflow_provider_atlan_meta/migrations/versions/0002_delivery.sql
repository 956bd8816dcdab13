-- Schema meta, second revision: subscriptions and the ledger of deliveries. Only adds: the version before runs on it.

-- Longer than any transaction of ours may take (20 s): who waits longer than this is in somebody else's way.
set local lock_timeout = '25s';

-- The consumer asks for rows by their keys only. A plan that was made while a table was empty must not read all of it later.
alter role meta_consumer set enable_seqscan = off;
alter role meta_consumer set enable_hashjoin = off;
alter role meta_consumer set enable_mergejoin = off;
-- before PostgreSQL 18 a scan that cannot be helped is reckoned so dear that it would be compiled
alter role meta_consumer set jit = off;

set role meta_owner;

-- What the consumer has sent beyond the cursor, and which write under this lease was the last.
alter table meta.ingest_offset
  add column reach bigint not null default 0,
  add column write_epoch bigint not null default 0,
  add column write_number bigint not null default 0;

create table meta.subscription (
  name text primary key,
  tenant_id text not null,
  match json not null,
  destination json not null,
  enabled boolean not null default true,
  revision bigint not null default 1,
  disabled_reason text,
  disabled_at timestamptz,
  applied_at timestamptz not null default clock_timestamp(),
  applied_by text not null default ''
);

create table meta.subscription_version (
  only_row boolean primary key default true check (only_row),
  version bigint not null
);
insert into meta.subscription_version (version) values (0);

create function meta.count_subscription_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update meta.subscription_version set version = version + 1;
  return null;
end $$;
create trigger count_change after insert or update or delete or truncate on meta.subscription
  for each statement execute function meta.count_subscription_change();

create table meta.delivery (
  delivery_id uuid primary key,
  tenant_id text collate "C" not null,
  subscription text collate "C" not null,
  part text collate "C" not null,
  kind text collate "C" not null,
  id text collate "C" not null,
  change_id uuid,
  revision bigint not null,
  state text not null check (state in ('claimed', 'parked', 'delivered', 'folded', 'rejected')),
  attempts integer not null default 0,
  claimed_at timestamptz,
  status integer,
  detail text,
  external_id text,
  change json,
  scan_at timestamptz,
  folded integer not null default 0,
  at timestamptz not null default clock_timestamp(),
  -- not null exactly when the state is a final one
  settled_at timestamptz
) with (fillfactor = 90);
create index delivery_open on meta.delivery (tenant_id, kind, id, subscription, part, revision) where settled_at is null;
create index delivery_scan on meta.delivery (scan_at) where scan_at is not null;
-- for people: what became of a subject's changes, and of a subscription's newest
create index delivery_subject on meta.delivery (tenant_id, kind, id);
create index delivery_subscription on meta.delivery (subscription, at);

create table meta.delivery_lane (
  subscription text collate "C" not null,
  part text collate "C" not null,
  tenant_id text collate "C" not null,
  kind text collate "C" not null,
  id text collate "C" not null,
  partition integer not null,
  seen bigint not null default 0,
  -- of the main part's row; the other parts read it there
  external_id text not null default '',
  is_parked boolean not null default false,
  parks integer not null default 0,
  due_at timestamptz,
  unsure_at timestamptz,
  last json,
  moved_at timestamptz not null default clock_timestamp(),
  -- the subject first: a batch asks for every lane of its subjects
  primary key (tenant_id, kind, id, subscription, part)
) with (fillfactor = 70);
create index delivery_lane_due on meta.delivery_lane (partition, due_at) where due_at is not null;

create table meta.change_seen (
  tenant_id text collate "C" not null,
  kind text collate "C" not null,
  id text collate "C" not null,
  revision bigint not null,
  primary key (tenant_id, kind, id)
) with (fillfactor = 70);

create table meta.audit (
  number bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  action text not null,
  object text not null,
  tenant_id text,
  before json,
  after json,
  reason text
);

do $$ declare name text; begin
  foreach name in array array['subscription', 'delivery', 'delivery_lane', 'change_seen', 'audit'] loop
    execute format('alter table meta.%I enable row level security, force row level security', name);
    execute format($policy$create policy tenant on meta.%I for select using
      (tenant_id = any ((select string_to_array(current_setting('meta.tenants', true), ','))::text[]))$policy$, name);
    execute format('create policy consumer on meta.%I to meta_consumer using (true) with check (true)', name);
  end loop;
  -- what is about every tenant is everybody's to know
  foreach name in array array['subscription', 'audit'] loop
    execute format($policy$create policy every_tenant on meta.%I for select using (tenant_id = '*')$policy$, name);
  end loop;
end $$;

-- Ingest and consumer never touch each other's cursors.
alter table meta.ingest_offset enable row level security, force row level security;
create policy everybody on meta.ingest_offset for select using (true);
create policy ingest on meta.ingest_offset to meta_ingest using (sink <> 'consumer') with check (sink <> 'consumer');
create policy consumer on meta.ingest_offset to meta_consumer using (sink = 'consumer') with check (sink = 'consumer');
create policy consumer on meta.dead_letter to meta_consumer using (sink = 'consumer') with check (sink = 'consumer');
create policy consumer_only on meta.dead_letter as restrictive for insert to meta_consumer with check (sink = 'consumer');

-- A lane with what its main part has made at the target and the oldest claim nobody has told the end of.
create view meta.lane_state with (security_invoker = true) as
select l.subscription, l.part, l.tenant_id, l.kind, l.id, l.partition, l.seen,
       case when l.part = '' then l.external_id else coalesce(m.external_id, '') end as external_id,
       l.is_parked, l.parks, l.due_at, l.unsure_at, l.last, c.delivery_id as claim_id, c.attempts as claim_attempt, c.claimed_at
  from meta.delivery_lane l
  left join meta.delivery_lane m
    on l.part <> '' and m.part = '' and m.subscription = l.subscription
   and m.tenant_id = l.tenant_id and m.kind = l.kind and m.id = l.id
  left join lateral (
       select d.delivery_id, d.attempts, d.claimed_at from meta.delivery d
        where d.tenant_id = l.tenant_id and d.kind = l.kind and d.id = l.id
          and d.subscription = l.subscription and d.part = l.part and d.settled_at is null and d.claimed_at is not null
        order by d.revision limit 1) c on true;

-- Before anything is sent of these subjects. Answers with rows of four kinds, told apart by `what`:
-- lease: partition and, as `seen`, its reach so far, null where it is somebody else's · version: of the subscriptions, as
-- `seen` · lane: every one of the subjects · change: highest revision, as `seen`, that the cursor has passed.
create function meta.begin_deliveries(
  p_cluster_id text, p_topic text, p_sink text, p_seconds float8,
  p_partitions bigint[], p_epochs bigint[], p_reaches bigint[],
  p_tenant_ids text[], p_kinds text[], p_ids text[], p_with_last boolean)
returns table (what text, partition integer, subscription text, part text, tenant_id text, kind text, id text, seen bigint,
  external_id text, is_parked boolean, parks integer, unsure_seconds float8, last text, claim_id uuid, claim_attempt integer,
  claim_seconds float8, due_seconds float8)
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare moment timestamptz := clock_timestamp();
begin
  return query
    with given as (select * from unnest(p_partitions, p_epochs, p_reaches) g (partition, epoch, reach)),
    held as materialized (
      select o.partition, o.reach as former, g.reach
        from meta.ingest_offset o join given g on g.partition = o.partition
       where o.cluster_id = p_cluster_id and o.topic = p_topic and o.sink = p_sink and o.epoch = g.epoch
       order by o.partition for no key update of o),
    raised as (
      update meta.ingest_offset o
         set reach = greatest(o.reach, h.reach), renewed_at = clock_timestamp(),
             expires_at = clock_timestamp() + make_interval(secs => p_seconds)
        from held h
       where o.cluster_id = p_cluster_id and o.topic = p_topic and o.sink = p_sink and o.partition = h.partition)
    select 'lease', g.partition::integer, null::text, null::text, null::text, null::text, null::text, h.former,
           null::text, null::boolean, null::integer, null::float8, null::text, null::uuid, null::integer, null::float8, null::float8
      from given g left join held h on h.partition = g.partition
    union all
    select 'version', null, null, null, null, null, null, v.version, null, null, null, null, null, null, null, null, null
      from meta.subscription_version v;
  if cardinality(p_ids) > 0 then
    return query
      select 'lane', l.partition, l.subscription, l.part, l.tenant_id, l.kind, l.id, l.seen, l.external_id, l.is_parked, l.parks,
             extract(epoch from moment - l.unsure_at)::float8, case when p_with_last then l.last::text end,
             l.claim_id, l.claim_attempt, extract(epoch from moment - l.claimed_at)::float8,
             extract(epoch from l.due_at - moment)::float8
        from unnest(p_tenant_ids, p_kinds, p_ids) s (tenant_id, kind, id)
        join meta.lane_state l on l.tenant_id = s.tenant_id and l.kind = s.kind and l.id = s.id
      union all
      select 'change', null, null, null, c.tenant_id, c.kind, c.id, c.revision, null, null, null, null, null, null, null, null, null
        from unnest(p_tenant_ids, p_kinds, p_ids) s (tenant_id, kind, id)
        join meta.change_seen c on c.tenant_id = s.tenant_id and c.kind = s.kind and c.id = s.id;
  end if;
end $$;

-- The right to call, for each that is returned. A lane that is new begins with its claim, so that whoever comes next finds it.
create function meta.claim_deliveries(
  p_cluster_id text, p_topic text, p_sink text, p_partition integer, p_epoch bigint,
  d_subscription text[], d_part text[], d_tenant_id text[], d_kind text[], d_id text[],
  d_delivery_id uuid[], d_change_id uuid[], d_revision bigint[], d_attempts bigint[], d_change json[])
returns table (delivery_id uuid, attempt integer)
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  perform from meta.ingest_offset o
   where o.cluster_id = p_cluster_id and o.topic = p_topic and o.sink = p_sink and o.partition = p_partition
     and o.epoch = p_epoch for no key update;
  if not found then
    return;
  end if;
  insert into meta.delivery_lane (subscription, part, tenant_id, kind, id, partition)
  select distinct d.subscription, d.part, d.tenant_id, d.kind, d.id, p_partition
    from unnest(d_subscription, d_part, d_tenant_id, d_kind, d_id) d (subscription, part, tenant_id, kind, id)
   order by d.tenant_id, d.kind, d.id, d.subscription, d.part
  on conflict do nothing;
  -- whoever claims anew has settled what the lane had claimed before
  update meta.delivery t
     set claimed_at = null, state = 'parked'
    from unnest(d_subscription, d_part, d_tenant_id, d_kind, d_id, d_delivery_id) d (subscription, part, tenant_id, kind, id, delivery_id)
   where t.tenant_id = d.tenant_id and t.kind = d.kind and t.id = d.id and t.subscription = d.subscription and t.part = d.part
     and t.settled_at is null and t.claimed_at is not null and t.delivery_id <> all (d_delivery_id);
  return query
    insert into meta.delivery as t
      (delivery_id, subscription, part, tenant_id, kind, id, change_id, revision, state, attempts, claimed_at, change)
    select d.delivery_id, d.subscription, d.part, d.tenant_id, d.kind, d.id, d.change_id, d.revision, 'claimed',
           d.attempts + 1, clock_timestamp(), d.change
      from unnest(d_subscription, d_part, d_tenant_id, d_kind, d_id, d_delivery_id, d_change_id, d_revision, d_attempts, d_change)
           d (subscription, part, tenant_id, kind, id, delivery_id, change_id, revision, attempts, change)
     order by d.delivery_id
    on conflict (delivery_id) do update
      set state = 'claimed', attempts = greatest(t.attempts + 1, excluded.attempts), claimed_at = excluded.claimed_at,
          change_id = coalesce(t.change_id, excluded.change_id), change = coalesce(excluded.change, t.change)
      where t.settled_at is null
    returning t.delivery_id, t.attempts;
end $$;

-- Everything partitions have to say, and their cursors. Returns the partitions that are somebody else's, of which nothing
-- was written. A write that was executed already is told by its number: its lease is extended, nothing else.
create function meta.settle_deliveries(
  p_cluster_id text, p_topic text, p_sink text, p_seconds float8,
  p_partitions bigint[], p_epochs bigint[], p_numbers bigint[], p_ends bigint[], p_reaches bigint[],
  d_partition bigint[], d_subscription text[], d_part text[], d_tenant_id text[], d_kind text[], d_id text[],
  d_delivery_id uuid[], d_change_id uuid[], d_revision bigint[], d_state text[], d_attempts bigint[], d_status bigint[],
  d_detail text[], d_external_id text[], d_change json[], d_scan_seconds float8[], d_folded bigint[], d_claim_open boolean[],
  l_partition bigint[], l_subscription text[], l_part text[], l_tenant_id text[], l_kind text[], l_id text[],
  l_seen bigint[], l_external_id text[], l_is_parked boolean[], l_parks bigint[], l_due_seconds float8[],
  l_unsure_seconds float8[], l_last json[],
  s_partition bigint[], s_tenant_id text[], s_kind text[], s_id text[], s_revision bigint[],
  p_letter_partitions bigint[], p_letters meta.staged_dead_letter[]) returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  moment timestamptz := clock_timestamp();
  applied bigint[];
  lost bigint[];
begin
  with given as (
    select * from unnest(p_partitions, p_epochs, p_numbers, p_ends, p_reaches) g (partition, epoch, number, end_offset, reach)),
  held as materialized (
    select g.*, g.number > case when o.write_epoch = o.epoch then o.write_number else 0 end as is_next
      from meta.ingest_offset o join given g on g.partition = o.partition
     where o.cluster_id = p_cluster_id and o.topic = p_topic and o.sink = p_sink and o.epoch = g.epoch
       and g.number - case when o.write_epoch = o.epoch then o.write_number else 0 end in (0, 1)
     order by o.partition for no key update of o),
  moved as (
    update meta.ingest_offset o
       set next_offset = case when h.is_next then greatest(o.next_offset, h.end_offset) else o.next_offset end,
           moved_at = case when h.is_next and h.end_offset > o.next_offset then moment else o.moved_at end,
           reach = case when h.is_next then coalesce(h.reach, o.reach) else o.reach end,
           write_epoch = h.epoch, write_number = h.number,
           renewed_at = moment, expires_at = moment + make_interval(secs => p_seconds)
      from held h
     where o.cluster_id = p_cluster_id and o.topic = p_topic and o.sink = p_sink and o.partition = h.partition)
  select array_agg(h.partition) filter (where h.is_next), array_agg(g.partition) filter (where h.partition is null)
    into applied, lost from given g left join held h on h.partition = g.partition;

  if applied is not null and cardinality(l_id) > 0 then
    -- the main part has made something: the other parts, which are parked for want of it, need wait no longer
    update meta.delivery_lane w
       set due_at = moment
      from unnest(l_partition, l_subscription, l_part, l_tenant_id, l_kind, l_id, l_external_id)
           m (partition, subscription, part, tenant_id, kind, id, external_id)
     where m.part = '' and m.external_id <> '' and m.partition = any (applied)
       and w.tenant_id = m.tenant_id and w.kind = m.kind and w.id = m.id and w.subscription = m.subscription
       and w.part <> '' and w.partition = m.partition and w.is_parked and w.due_at > moment
       and not exists (select from meta.delivery_lane o
                        where o.tenant_id = m.tenant_id and o.kind = m.kind and o.id = m.id
                          and o.subscription = m.subscription and o.part = '' and o.external_id <> '');
    insert into meta.delivery_lane as t
      (subscription, part, tenant_id, kind, id, partition, seen, external_id, is_parked, parks, due_at, unsure_at, last, moved_at)
    select l.subscription, l.part, l.tenant_id, l.kind, l.id, l.partition, l.seen,
           case when l.part = '' then l.external_id else '' end, l.is_parked, l.parks,
           moment + make_interval(secs => l.due_seconds), moment - make_interval(secs => l.unsure_seconds), l.last, moment
      from unnest(l_partition, l_subscription, l_part, l_tenant_id, l_kind, l_id, l_seen, l_external_id, l_is_parked, l_parks,
                  l_due_seconds, l_unsure_seconds, l_last)
           l (partition, subscription, part, tenant_id, kind, id, seen, external_id, is_parked, parks,
              due_seconds, unsure_seconds, last)
     where l.partition = any (applied)
     order by l.tenant_id, l.kind, l.id, l.subscription, l.part
    on conflict (tenant_id, kind, id, subscription, part) do update
      set partition = excluded.partition, seen = greatest(t.seen, excluded.seen),
          external_id = case when excluded.external_id <> '' then excluded.external_id else t.external_id end,
          is_parked = excluded.is_parked, parks = excluded.parks, due_at = excluded.due_at, unsure_at = excluded.unsure_at,
          last = coalesce(excluded.last, t.last), moved_at = excluded.moved_at;
  end if;

  if applied is not null and cardinality(d_id) > 0 then
    insert into meta.delivery as t
      (delivery_id, subscription, part, tenant_id, kind, id, change_id, revision, state, attempts, claimed_at, status, detail,
       external_id, change, scan_at, folded, at, settled_at)
    select d.delivery_id, d.subscription, d.part, d.tenant_id, d.kind, d.id, d.change_id, d.revision, d.state, d.attempts,
           case when d.claim_open and d.state in ('claimed', 'parked') then moment end, d.status, d.detail, d.external_id,
           case when d.state in ('claimed', 'parked') or d.scan_seconds is not null then d.change end,
           moment + make_interval(secs => d.scan_seconds), d.folded, moment,
           case when d.state not in ('claimed', 'parked') then moment end
      from unnest(d_partition, d_subscription, d_part, d_tenant_id, d_kind, d_id, d_delivery_id, d_change_id, d_revision,
                  d_state, d_attempts, d_status, d_detail, d_external_id, d_change, d_scan_seconds, d_folded, d_claim_open)
           d (partition, subscription, part, tenant_id, kind, id, delivery_id, change_id, revision,
              state, attempts, status, detail, external_id, change, scan_seconds, folded, claim_open)
     where d.partition = any (applied)
     order by d.delivery_id
    on conflict (delivery_id) do update
      -- of a final one only the end of a scan is added
      set state = case when t.settled_at is null then excluded.state else t.state end,
          status = case when t.settled_at is null then excluded.status else t.status end,
          detail = case when t.settled_at is null then excluded.detail else t.detail end,
          external_id = case when t.settled_at is null then coalesce(excluded.external_id, t.external_id)
                             else coalesce(t.external_id, excluded.external_id) end,
          settled_at = coalesce(t.settled_at, excluded.settled_at),
          change_id = coalesce(t.change_id, excluded.change_id),
          attempts = greatest(t.attempts, excluded.attempts),
          claimed_at = case when excluded.claimed_at is not null then coalesce(t.claimed_at, excluded.claimed_at) end,
          change = case when excluded.settled_at is null or excluded.scan_at is not null
                        then coalesce(excluded.change, t.change) end,
          scan_at = excluded.scan_at,
          folded = t.folded + excluded.folded
      where t.settled_at is null or excluded.settled_at is not null;
  end if;

  if applied is not null and cardinality(s_id) > 0 then
    insert into meta.change_seen as t (tenant_id, kind, id, revision)
    select s.tenant_id, s.kind, s.id, s.revision
      from unnest(s_partition, s_tenant_id, s_kind, s_id, s_revision) s (partition, tenant_id, kind, id, revision)
     where s.partition = any (applied)
     order by s.tenant_id, s.kind, s.id
    on conflict (tenant_id, kind, id) do update set revision = excluded.revision where excluded.revision > t.revision;
  end if;

  if applied is not null and cardinality(p_letter_partitions) > 0 then
    insert into meta.dead_letter (cluster_id, topic, partition, "offset", sink, tenant_id, key, headers, value, stage, reason, fingerprint)
    select p_cluster_id, p_topic, s.partition, s."offset", p_sink, s.tenant_id, s.key, s.headers, s.value, s.stage, s.reason, s.fingerprint
      from unnest(p_letter_partitions, p_letters)
           s (partition, "offset", tenant_id, key, headers, value, stage, reason, fingerprint)
     where s.partition = any (applied)
    on conflict do nothing;
  end if;
  return coalesce(lost, '{}');
end $$;

-- What a former owner has delivered all the same. Its lanes are unsure: the owner of today may have sent something newer.
create function meta.settle_late(
  d_partition bigint[], d_subscription text[], d_part text[], d_tenant_id text[], d_kind text[], d_id text[],
  d_delivery_id uuid[], d_change_id uuid[], d_revision bigint[], d_attempts bigint[], d_status bigint[],
  d_detail text[], d_external_id text[], d_change json[], d_scan_seconds float8[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare moment timestamptz := clock_timestamp();
begin
  insert into meta.delivery_lane as t (subscription, part, tenant_id, kind, id, partition, external_id, due_at, unsure_at, moved_at)
  select distinct on (d.tenant_id, d.kind, d.id, d.subscription, d.part)
         d.subscription, d.part, d.tenant_id, d.kind, d.id, d.partition, case when d.part = '' then coalesce(d.external_id, '') else '' end,
         moment + interval '60 s', moment, moment
    from unnest(d_partition, d_subscription, d_part, d_tenant_id, d_kind, d_id, d_revision, d_external_id)
         d (partition, subscription, part, tenant_id, kind, id, revision, external_id)
   order by d.tenant_id, d.kind, d.id, d.subscription, d.part, d.external_id is null, d.revision
  on conflict (tenant_id, kind, id, subscription, part) do update
    set due_at = least(t.due_at, excluded.due_at), unsure_at = excluded.unsure_at, moved_at = excluded.moved_at,
        external_id = case when t.external_id = '' then excluded.external_id else t.external_id end;
  insert into meta.delivery as t
    (delivery_id, subscription, part, tenant_id, kind, id, change_id, revision, state, attempts, status, detail, external_id,
     change, scan_at, at, settled_at)
  select d.delivery_id, d.subscription, d.part, d.tenant_id, d.kind, d.id, d.change_id, d.revision, 'delivered', d.attempts,
         d.status, d.detail, d.external_id, case when d.scan_seconds is not null then d.change end,
         moment + make_interval(secs => d.scan_seconds), moment, moment
    from unnest(d_subscription, d_part, d_tenant_id, d_kind, d_id, d_delivery_id, d_change_id, d_revision, d_attempts, d_status,
                d_detail, d_external_id, d_change, d_scan_seconds)
         d (subscription, part, tenant_id, kind, id, delivery_id, change_id, revision, attempts, status,
            detail, external_id, change, scan_seconds)
   order by d.delivery_id
  on conflict (delivery_id) do update
    set state = 'delivered', status = excluded.status, detail = excluded.detail, settled_at = excluded.settled_at, claimed_at = null,
        external_id = coalesce(excluded.external_id, t.external_id), change_id = coalesce(t.change_id, excluded.change_id),
        attempts = greatest(t.attempts, excluded.attempts), scan_at = excluded.scan_at,
        change = case when excluded.scan_at is not null then coalesce(excluded.change, t.change) end
    where t.settled_at is null;
  -- delivered by both owners: one of the two is a double, to be found and folded
  update meta.delivery t
     set scan_at = coalesce(t.scan_at, moment + make_interval(secs => d.scan_seconds)), change = coalesce(t.change, d.change)
    from unnest(d_delivery_id, d_scan_seconds, d_change) d (delivery_id, scan_seconds, change)
   where d.scan_seconds is not null and t.delivery_id = d.delivery_id and t.settled_at <> moment;
end $$;

revoke execute on function
  meta.count_subscription_change(),
  meta.begin_deliveries(text, text, text, float8, bigint[], bigint[], bigint[], text[], text[], text[], boolean),
  meta.claim_deliveries(text, text, text, integer, bigint, text[], text[], text[], text[], text[], uuid[], uuid[], bigint[], bigint[], json[]),
  meta.settle_deliveries(text, text, text, float8, bigint[], bigint[], bigint[], bigint[], bigint[],
    bigint[], text[], text[], text[], text[], text[], uuid[], uuid[], bigint[], text[], bigint[], bigint[], text[], text[], json[],
    float8[], bigint[], boolean[],
    bigint[], text[], text[], text[], text[], text[], bigint[], text[], boolean[], bigint[], float8[], float8[], json[],
    bigint[], text[], text[], text[], bigint[], bigint[], meta.staged_dead_letter[]),
  meta.settle_late(bigint[], text[], text[], text[], text[], text[], uuid[], uuid[], bigint[], bigint[], bigint[], text[], text[],
    json[], float8[])
  from public;
grant execute on function
  meta.begin_deliveries(text, text, text, float8, bigint[], bigint[], bigint[], text[], text[], text[], boolean),
  meta.claim_deliveries(text, text, text, integer, bigint, text[], text[], text[], text[], text[], uuid[], uuid[], bigint[], bigint[], json[]),
  meta.settle_deliveries(text, text, text, float8, bigint[], bigint[], bigint[], bigint[], bigint[],
    bigint[], text[], text[], text[], text[], text[], uuid[], uuid[], bigint[], text[], bigint[], bigint[], text[], text[], json[],
    float8[], bigint[], boolean[],
    bigint[], text[], text[], text[], text[], text[], bigint[], text[], boolean[], bigint[], float8[], float8[], json[],
    bigint[], text[], text[], text[], bigint[], bigint[], meta.staged_dead_letter[]),
  meta.settle_late(bigint[], text[], text[], text[], text[], text[], uuid[], uuid[], bigint[], bigint[], bigint[], text[], text[],
    json[], float8[])
  to meta_consumer;

grant select, insert, update, delete on meta.subscription to meta_consumer;
grant select on meta.subscription_version, meta.lane_state to meta_consumer;
grant select, insert, update on meta.delivery, meta.delivery_lane, meta.change_seen to meta_consumer;
grant select, insert on meta.audit to meta_consumer;
grant insert, update on meta.ingest_offset to meta_consumer;
grant insert on meta.dead_letter to meta_consumer;
grant select on meta.subscription, meta.subscription_version, meta.delivery, meta.delivery_lane, meta.change_seen, meta.audit
  to meta_reader;
