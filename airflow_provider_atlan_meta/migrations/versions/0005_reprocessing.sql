-- Schema meta, fifth revision: what is reprocessed may keep quiet, and who asked for it is audited. Only adds: the version
-- before runs on it.

-- Longer than any transaction of ours may take (20 s): who waits longer than this is in somebody else's way.
set local lock_timeout = '25s';

set role meta_owner;

-- who writes it may not read it
create policy ingest on meta.audit for insert to meta_ingest with check (true);
grant insert on meta.audit to meta_ingest;
