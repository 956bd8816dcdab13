"""Schema ``meta`` on real PostgreSQL: who may see what, and what a change of a row leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from airflow_provider_atlan_meta.clients import postgres
from airflow_provider_atlan_meta.clients.postgres import SCHEMA_REVISION, PostgresConfig, PostgresStore
from airflow_provider_atlan_meta.clients.postgres_rows import COMPOSITES
from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.migrations import runner
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]


@pytest.fixture
def db(isolation: Isolation) -> Database:
    return isolation.new_database()


def session(db: Database, role: str, tenants: str | None = None) -> Connection:
    connection = psycopg.connect(db.dsn(getattr(db, role)), autocommit=True)
    if tenants is not None:
        connection.execute("select set_config('meta.tenants', %s, false)", [tenants])
    return connection


@pytest.fixture
def admin(db: Database) -> Iterator[Connection]:
    with session(db, "admin", "acme,globex") as connection:
        yield connection


@pytest.fixture
def messages(db: Database, admin: Connection) -> Iterator[Any]:
    """The payloads of the change messages since the test began."""
    admin.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", [db.name])

    def read() -> list[dict[str, Any]]:
        rows = admin.execute(
            "select data from pg_logical_slot_peek_changes(%s, null, null) where data like 'message%%'",
            [db.name],
        )
        return [json.loads(json.loads(data.split("content:", 1)[1])["payload"]) for (data,) in rows]

    yield read
    admin.execute("select pg_drop_replication_slot(%s)", [db.name])


def add_incident(
    connection: Connection, incident: str = "inc-1", tenant: str = "acme", **values: Any
) -> None:
    values = {"tenant_id": tenant, "incident_id": incident, **values}
    columns, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    connection.execute(f"insert into meta.incident ({columns}) values ({marks})", list(values.values()))


def add_event(connection: Connection, tenant: str = "acme", moment: datetime | None = None) -> UUID:
    at = moment or datetime.now(UTC)
    key = UUID(bytes=identity.event_key(uuid4().bytes, int(at.timestamp() * 1000)))
    connection.execute(
        "insert into meta.event (event_key, tenant_id, event_id, source, type, subject, received_at, payload)"
        " values (%s, %s, %s, 's', 't', 'inc-1', %s, '{}')",
        [key, tenant, uuid4(), at],
    )
    return key


def test_migrating_again_changes_nothing(db: Database, admin: Connection) -> None:
    before = admin.execute("select count(*), max(oid) from pg_class").fetchone()

    assert runner.migrate(db.admin) == runner.head() == runner.current(db.reader)
    assert admin.execute("select count(*), max(oid) from pg_class").fetchone() == before


@pytest.mark.parametrize("role", ["ingest", "consumer", "reader"])
def test_the_roles_we_log_in_as_bow_to_row_level_security(db: Database, role: str) -> None:
    with session(db, role) as connection:
        row = connection.execute(
            "select rolsuper, rolbypassrls from pg_roles where rolname = current_user"
        ).fetchone()

    assert row == (False, False)


def test_a_reader_sees_its_tenants_and_nobody_else_s(db: Database, admin: Connection) -> None:
    for tenant in ("acme", "globex"):
        add_incident(admin, tenant=tenant)
        add_event(admin, tenant)

    with session(db, "reader") as nobody, session(db, "reader", "acme") as acme:
        assert nobody.execute(
            "select rolsuper or rolbypassrls from pg_roles where rolname = current_user"
        ).fetchone() == (False,)
        for table in ("event", "incident"):
            assert nobody.execute(f"select count(*) from meta.{table}").fetchone() == (0,)
            assert acme.execute(f"select tenant_id from meta.{table}").fetchall() == [("acme",)]


def test_a_partition_read_by_its_own_name_is_closed(db: Database, admin: Connection) -> None:
    add_event(admin)
    name = admin.execute("select tableoid::regclass::text from meta.event").fetchone()
    assert name is not None

    with session(db, "reader", "acme") as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(f"select * from {name[0]}")
    admin.execute(f"grant select on {name[0]} to meta_reader")
    with session(db, "reader", "acme") as reader:
        assert reader.execute(f"select count(*) from {name[0]}").fetchone() == (0,)


def test_ingest_cannot_write_for_a_tenant_it_did_not_name(db: Database) -> None:
    with session(db, "ingest", "acme") as ingest, pytest.raises(psycopg.errors.InsufficientPrivilege):
        add_incident(ingest, tenant="globex")


def test_nobody_but_the_triggers_writes_change_messages(db: Database) -> None:
    with session(db, "ingest", "acme") as ingest, pytest.raises(psycopg.errors.InsufficientPrivilege):
        ingest.execute("select pg_logical_emit_message(true, 'outbox', 'forged')")


def test_only_an_effective_change_makes_a_revision_and_a_message(admin: Connection, messages: Any) -> None:
    add_incident(admin, status="ACKNOWLEDGED")

    admin.execute("update meta.incident set status = 'ACKNOWLEDGED', log_position = 7")
    admin.execute("update meta.incident set status = 'FIXED', owner = 'dana@example.com'")

    created, updated = messages()
    assert (created["op"], created["revision"], created["before"]) == ("created", 1, None)
    assert (updated["op"], updated["revision"]) == ("updated", 2)
    assert updated["changed"] == ["status", "owner"]
    assert updated["before"] == {"status": "ACKNOWLEDGED", "owner": None}
    assert updated["after"]["status"] == "FIXED"
    assert updated["change_id"] == str(identity.change_id("acme", "incident", "inc-1", 1, 2))


def test_a_revision_set_by_hand_is_put_back(admin: Connection) -> None:
    add_incident(admin)

    admin.execute("update meta.incident set revision = 99, owner = 'x'")

    assert admin.execute("select revision from meta.incident").fetchone() == (2,)


def test_a_row_deleted_and_inserted_again_goes_on_from_its_tombstone(
    admin: Connection, messages: Any
) -> None:
    add_incident(admin)
    admin.execute("update meta.incident set owner = 'x'")
    admin.execute("delete from meta.incident")

    add_incident(admin)

    assert admin.execute("select kind, id, revision from meta.tombstone").fetchall() == [
        ("incident", "inc-1", 3)
    ]
    told = messages()
    assert [(m["op"], m["revision"]) for m in told] == [
        ("created", 1),
        ("updated", 2),
        ("deleted", 3),
        ("created", 4),
    ]
    assert [m["change_id"] for m in told] == [
        str(identity.change_id("acme", "incident", "inc-1", 1, m["revision"])) for m in told
    ]


def test_a_superuser_without_tenants_meets_the_tombstone_too(db: Database) -> None:
    with session(db, "admin") as admin:
        add_incident(admin)
        admin.execute("delete from meta.incident")
        add_incident(admin)

        assert admin.execute("select revision from meta.incident").fetchone() == (3,)


def test_a_change_above_512_kib_is_sent_thin(admin: Connection, messages: Any) -> None:
    add_incident(admin, title="x" * 600_000)

    (thin,) = messages()

    assert (thin["truncated"], thin["revision"], "after" in thin) == (True, 1, False)


def test_hostile_text_stays_text(admin: Connection, messages: Any) -> None:
    hostile = '"},"op":"deleted\n\u202e\\u0000'

    add_incident(admin, incident=hostile, title=hostile)

    (message,) = messages()
    assert (message["op"], message["id"], message["after"]["title"]) == ("created", hostile, hostile)


@pytest.mark.parametrize("parts", [("",), ("a", "bc"), ("ab", "c"), ("acme", "ünïcode \U0001f600", "3")])
def test_postgresql_and_python_hash_alike(admin: Connection, parts: tuple[str, ...]) -> None:
    row = admin.execute("select meta.hash128(variadic %s::text[])", [list(parts)]).fetchone()

    assert row == (UUID(bytes=identity.hash_bytes(128, *parts)),)


def test_the_packed_rows_have_the_columns_of_the_catalog(admin: Connection) -> None:
    for name, columns in COMPOSITES.items():
        rows = admin.execute(
            "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = %s::regclass and attnum > 0"
            " order by attnum",
            [f"meta.{name}"],
        ).fetchall()

        catalog = [row[0].replace("timestamp with time zone", "timestamptz") for row in rows]
        assert catalog == list(columns), name


def test_days_ahead_have_their_partitions_and_what_has_none_goes_to_the_default(admin: Connection) -> None:
    soon, far = datetime.now(UTC) + timedelta(days=6), datetime.now(UTC) + timedelta(days=400)
    add_event(admin, moment=soon)
    add_event(admin, moment=far)

    names = [
        row[0] for row in admin.execute("select tableoid::regclass::text from meta.event order by event_key")
    ]
    assert names == [f"meta.event_{soon:%Y%m%d}", "meta.event_default"]


def test_making_days_waits_for_nobody_and_comes_back_later(db: Database, admin: Connection) -> None:
    with session(db, "ingest", "acme") as ingest, session(db, "ingest") as other:
        day = "2031-05-05"
        with ingest.transaction():
            # a writer in the default partition is in the way of an attach
            add_event(ingest, moment=datetime(2031, 6, 1, tzinfo=UTC))
            assert other.execute("select meta.ensure_event_day(%s)", [day]).fetchone() == (False,)
        assert other.execute("select meta.ensure_event_day(%s)", [day]).fetchone() == (True,)
        assert other.execute("select meta.ensure_event_day(%s)", [day]).fetchone() == (False,)


def test_a_schema_this_version_was_not_written_for_is_refused_with_the_cure(
    db: Database, admin: Connection
) -> None:
    admin.execute("update meta.schema_revision set version_num = '0007'")

    with pytest.raises(ConfigurationError, match="db migrate"):
        PostgresStore(PostgresConfig.from_connection(db.ingest)).ensure_event_days()


def test_the_code_needs_the_revision_that_its_migrations_end_at() -> None:
    assert f"{SCHEMA_REVISION:04}" == runner.head()


@pytest.mark.parametrize("role", ["ingest", "consumer"])
def test_sessions_end_what_holds_locks_before_a_lease_does(db: Database, role: str) -> None:
    with session(db, role) as ingest:
        limits = {
            name: ingest.execute(f"show {name}").fetchone()
            for name in ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
        }
        limits["transaction_timeout"] = ingest.execute("show transaction_timeout").fetchone()

    assert limits == {
        "idle_in_transaction_session_timeout": ("10s",),
        "lock_timeout": ("5s",),
        "statement_timeout": ("15s",),
        "transaction_timeout": ("20s",),
    }


# ---- the consumer's half -------------------------------------------------------------------------------------------

_TENANT_TABLES = ("subscription", "delivery", "delivery_lane", "change_seen", "audit")


def fill(connection: Connection, tenant: str) -> None:
    """A row of each tenant table."""
    for statement in (
        "insert into meta.subscription (name, tenant_id, match, destination)"
        " values ('s-' || %(tenant)s, %(tenant)s, '{}', '{}')",
        "insert into meta.delivery (delivery_id, tenant_id, subscription, part, kind, id, revision, state)"
        " values (gen_random_uuid(), %(tenant)s, 's', '', 'incident', 'inc-1', 1, 'parked')",
        "insert into meta.delivery_lane (subscription, part, tenant_id, kind, id, partition)"
        " values ('s', '', %(tenant)s, 'incident', 'inc-1', 0)",
        "insert into meta.change_seen (tenant_id, kind, id, revision) values (%(tenant)s, 'incident', 'inc-1', 1)",
        "insert into meta.audit (actor, action, object, tenant_id) values ('a', 'apply', 's', %(tenant)s)",
    ):
        connection.execute(statement.encode(), {"tenant": tenant})


def test_every_tenant_table_forces_row_level_security(admin: Connection) -> None:
    rows = admin.execute(
        "select c.relname, c.relrowsecurity and c.relforcerowsecurity from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'"
        " where c.relnamespace = 'meta'::regnamespace and c.relkind in ('r', 'p')"
    ).fetchall()

    assert {name for name, forced in rows if not forced} == set()
    assert set(_TENANT_TABLES) <= {name for name, _ in rows}


@pytest.mark.parametrize("table", _TENANT_TABLES)
def test_deliveries_of_another_tenant_are_not_seen(db: Database, admin: Connection, table: str) -> None:
    for tenant in ("acme", "globex"):
        fill(admin, tenant)

    with session(db, "reader") as nobody, session(db, "reader", "acme") as acme:
        assert nobody.execute(f"select count(*) from meta.{table}").fetchone() == (0,)
        assert acme.execute(f"select distinct tenant_id from meta.{table}").fetchall() == [("acme",)]


def test_subscriptions_of_every_tenant_are_everybody_s_to_see(db: Database, admin: Connection) -> None:
    fill(admin, "*")

    with session(db, "reader", "acme") as acme:
        for table, seen in (("subscription", 1), ("audit", 1), ("delivery", 0)):
            assert acme.execute(f"select count(*) from meta.{table}").fetchone() == (seen,)


def test_the_consumer_sees_and_writes_deliveries_of_every_tenant(db: Database) -> None:
    with session(db, "consumer") as consumer:
        for tenant in ("acme", "globex", "*"):
            fill(consumer, tenant)
        for table in _TENANT_TABLES:
            assert consumer.execute(f"select count(*) from meta.{table}").fetchone() == (3,)


@pytest.mark.parametrize(
    "statement",
    [
        "insert into meta.incident (tenant_id, incident_id) values ('acme', 'forged')",
        "update meta.entity set name = 'forged'",
        "insert into meta.event (event_key, tenant_id, event_id, source, type, subject, received_at, payload)"
        " values (gen_random_uuid(), 'acme', gen_random_uuid(), 's', 't', 'x', now(), '{}')",
        "delete from meta.delivery",
        "delete from meta.delivery_lane",
        "update meta.audit set actor = 'somebody else'",
        "delete from meta.audit",
        "update meta.subscription_version set version = 0",
        "delete from meta.ingest_offset",
        "update meta.dead_letter set published_at = now()",
        "insert into meta.ingest_offset (cluster_id, topic, partition, sink, next_offset, topic_id)"
        " values ('c', 't', 0, 'postgres', 0, 'i')",
        "insert into meta.dead_letter"
        ' (cluster_id, topic, partition, "offset", sink, tenant_id, headers, stage, reason, fingerprint)'
        " values ('c', 't', 0, 0, 'postgres', 'acme', '[]', 's', 'r', 'f')",
        "select pg_logical_emit_message(true, 'outbox', 'forged')",
    ],
)
def test_the_consumer_can_do_no_more_than_it_needs(db: Database, statement: str) -> None:
    with session(db, "consumer", "acme") as consumer, pytest.raises(psycopg.errors.InsufficientPrivilege):
        consumer.execute(statement.encode())


@pytest.mark.parametrize("table", [*_TENANT_TABLES, "subscription_version", "lane_state"])
def test_ingest_has_nothing_to_do_with_deliveries(db: Database, table: str) -> None:
    with session(db, "ingest", "acme") as ingest, pytest.raises(psycopg.errors.InsufficientPrivilege):
        ingest.execute(f"select * from meta.{table}")


@pytest.mark.parametrize("table", [*_TENANT_TABLES, "subscription_version", "ingest_offset"])
def test_readers_change_nothing_of_the_consumer_s(db: Database, admin: Connection, table: str) -> None:
    fill(admin, "acme")
    with session(db, "reader", "acme") as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(f"delete from meta.{table}")


def test_ingest_and_consumer_move_their_own_cursors_only(db: Database, admin: Connection) -> None:
    for sink in ("postgres", "consumer"):
        admin.execute(
            "insert into meta.ingest_offset (cluster_id, topic, partition, sink, next_offset, topic_id)"
            " values ('c', 't', 0, %s, 0, 'i')",
            [sink],
        )

    for role, own in (("ingest", "postgres"), ("consumer", "consumer")):
        with session(db, role) as connection:
            connection.execute("update meta.ingest_offset set next_offset = next_offset + 1")
            moved = connection.execute("select sink from meta.ingest_offset where next_offset = 1").fetchall()
            assert own in {sink for (sink,) in moved}
    assert admin.execute("select next_offset from meta.ingest_offset").fetchall() == [(1,), (1,)]


def test_dead_letters_of_the_consumer_are_published_by_ingest(db: Database) -> None:
    with session(db, "consumer") as consumer:
        consumer.execute(
            "insert into meta.dead_letter"
            ' (cluster_id, topic, partition, "offset", sink, headers, stage, reason, fingerprint)'
            " values ('c', 't', 0, 7, 'consumer', '[]', 'propagate', 'why', 'f00d')"
        )
    store = PostgresStore(PostgresConfig.from_connection(db.ingest))
    (letter,) = store.unpublished(10)

    store.mark_published([letter])

    assert (letter.sink, letter.offset) == ("consumer", 7)
    assert store.unpublished(10) == []
    store.close()


def test_every_change_of_subscriptions_counts_their_version(db: Database, admin: Connection) -> None:
    def version() -> int:
        row = admin.execute("select version from meta.subscription_version").fetchone()
        assert row is not None
        return int(row[0])

    seen = [version()]
    with session(db, "consumer") as consumer:
        for statement in (
            "insert into meta.subscription (name, tenant_id, match, destination) values ('s', 'acme', '{}', '{}')",
            "update meta.subscription set enabled = false",
            "delete from meta.subscription",
        ):
            consumer.execute(statement.encode())
            seen.append(version())

    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    "query",
    [
        "select * from unnest(array['acme'], array['incident'], array['inc-1']) s (tenant_id, kind, id)"
        " join meta.lane_state l on l.tenant_id = s.tenant_id and l.kind = s.kind and l.id = s.id",
        "select * from meta.delivery d join meta.lane_state l on l.tenant_id = d.tenant_id and l.kind = d.kind"
        " and l.id = d.id and l.subscription = d.subscription and l.part = d.part"
        " where d.scan_at <= now() order by d.scan_at limit 10",
        "update meta.delivery t set scan_at = null from unnest(array[gen_random_uuid()]) d (delivery_id)"
        " where t.delivery_id = d.delivery_id",
    ],
)
def test_what_the_consumer_asks_while_tables_are_empty_does_not_read_all_of_them_later(
    db: Database, query: str
) -> None:
    with session(db, "consumer") as consumer:
        plan = "\n".join(line for (line,) in consumer.execute(b"explain " + query.encode()).fetchall())

    assert "Seq Scan" not in plan
    assert "Hash Join" not in plan


def test_rows_are_read_as_the_triggers_spell_them(db: Database, admin: Connection, messages: Any) -> None:
    add_incident(
        admin,
        title="Zoë \\u0000",
        opened_at=datetime(2026, 11, 24, 23, 30, 32, 772000, UTC),
        entity_ids=[uuid4()],
    )
    entity = uuid4()
    admin.execute(
        "insert into meta.entity (tenant_id, entity_id, qualified_name, type_name, platform, position, content_hash)"
        " values ('acme', %s, 'q', 'table', 'p', %s, 1)",
        [entity, uuid4()],
    )
    arguments = [["acme"] * 2, ["incident", "entity"], ["inc-1", str(entity)]]

    with session(db, "consumer") as consumer:
        consumer.execute("set timezone = 'Asia/Kolkata'")
        rows = consumer.execute(
            "select kind, columns from meta.read_changed_rows('acme', %s, %s, %s)", arguments
        ).fetchall()
        others = consumer.execute(
            "select * from meta.read_changed_rows('globex', %s, %s, %s)", arguments
        ).fetchall()

    with session(db, "ingest") as ingest:
        assert ingest.execute("show timezone").fetchone() == ("UTC",)
    told = {message["kind"]: message["after"] for message in messages()}
    assert set(told) == {"incident", "entity"}
    assert {kind: json.loads(columns) for kind, columns in rows} == {
        "entity": told["entity"],
        "incident": {**told["incident"], "opened_at": "2026-11-24T23:30:32.772+00:00"},
    }
    assert others == []


# ---- upgrade -------------------------------------------------------------------------------------------------------


def test_an_upgrade_keeps_rows_cursors_and_leases_and_the_version_before_runs_on_it(
    isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = at_revision(isolation, "0001", monkeypatch)
    owner = uuid4()
    with session(db, "admin", "acme") as admin:
        add_incident(admin, title="kept")
        admin.execute(
            "insert into meta.ingest_offset (cluster_id, topic, partition, sink, next_offset, topic_id, owner, epoch)"
            " values ('c', 't', 0, 'postgres', 12, 'i', %s, 3)",
            [owner],
        )
        # what an earlier 0001 did: a delete bore the revision of the change before it
        admin.execute(
            "create or replace function meta.bury() returns trigger language plpgsql security definer"
            " set search_path = pg_catalog, pg_temp as $$ begin"
            " insert into meta.tombstone (tenant_id, kind, id, revision)"
            " values (old.tenant_id, tg_table_name, to_jsonb(old) ->> tg_argv[0], old.revision); return null; end $$"
        )

    assert runner.migrate(db.admin) == runner.head()

    with session(db, "admin", "acme") as admin:
        assert admin.execute("select title, revision from meta.incident").fetchall() == [("kept", 1)]
        assert admin.execute(
            "select next_offset, owner, epoch, reach, write_epoch, write_number from meta.ingest_offset"
        ).fetchall() == [(12, owner, 3, 0, 0, 0)]
        admin.execute("delete from meta.incident")
        assert admin.execute("select revision from meta.tombstone").fetchall() == [(2,)]
    monkeypatch.setattr(postgres, "SCHEMA_REVISION", int(runner.head()) - 1)
    before = PostgresStore(PostgresConfig.from_connection(db.ingest))
    before.ensure_event_days()
    before.close()


def at_revision(isolation: Isolation, revision: str, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database as an earlier version migrated it."""
    db, upgrade = isolation.new_database(), runner.command.upgrade
    with session(db, "admin") as admin:
        admin.execute("drop schema meta cascade")
    with monkeypatch.context() as patch:
        patch.setattr(runner.command, "upgrade", lambda config, _: upgrade(config, revision))
        assert runner.migrate(db.admin) == revision
    return db


def test_an_upgrade_that_would_wait_for_somebody_s_transaction_gives_up_and_changes_nothing(
    isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = at_revision(isolation, "0001", monkeypatch)
    sql = (files("airflow_provider_atlan_meta.migrations.versions") / "0002_delivery.sql").read_text()
    with session(db, "admin") as holder, session(db, "admin") as admin, holder.transaction():
        holder.execute("lock table meta.ingest_offset in access share mode")
        with pytest.raises(psycopg.errors.LockNotAvailable), admin.transaction():
            admin.execute(sql.replace("'25s'", "'100ms'").encode())
    assert runner.migrate(db.admin) == runner.head()
