"""Subscriptions and receipts on real PostgreSQL: who sees what, and two who apply at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from airflow_provider_atlan_meta.cli import main
from airflow_provider_atlan_meta.clients.postgres import PostgresConfig
from airflow_provider_atlan_meta.clients.postgres_receipts import PostgresReceipts
from airflow_provider_atlan_meta.clients.postgres_subscriptions import PostgresSubscriptions
from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.deliveries import Subject
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.receipts import Readable, ReceiptQuery
from airflow_provider_atlan_meta.core.routing import DestinationSpec, Subscription
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]
CHANGE = UUID("2daa61d7-4c1b-41cf-cd23-72b9ab38b48b")


@pytest.fixture
def db(isolation: Isolation) -> Database:
    return isolation.new_database()


@pytest.fixture
def admin(db: Database) -> Iterator[Connection]:
    with psycopg.connect(db.dsn(db.admin), autocommit=True) as connection:
        yield connection


def subscription(name: str, tenant: str = "acme", channel: str = "C1") -> Subscription:
    return Subscription(
        name=name,
        tenant=tenant,
        match=Pattern({"kind": ["incident"]}),
        destination=DestinationSpec(type="slack", conn_id="slack", options={"channel": channel}),
    )


def store(db: Database) -> PostgresSubscriptions:
    return PostgresSubscriptions(PostgresConfig.from_connection(db.consumer))


def receipts(db: Database, tenants: str = "acme") -> PostgresReceipts:
    reader = PostgresConfig.from_connection(db.reader)
    options = {"options": f"-c meta.tenants={tenants}"} if tenants else {}
    return PostgresReceipts(replace(reader, parameters=options))


def add_delivery(admin: Connection, **fields: Any) -> UUID:
    row = {
        **{"tenant_id": "acme", "subscription": "a", "part": "", "kind": "incident", "id": "inc-1"},
        **{"change_id": uuid4(), "revision": 1, "state": "delivered"},
        **fields,
    }
    lane = f"{row['subscription']}.{row['part']}" if row["part"] else str(row["subscription"])
    row["delivery_id"] = delivery_id = identity.delivery_id(str(row["change_id"]), lane)
    names, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    admin.execute(f"insert into meta.delivery ({names}) values ({places})".encode(), row)
    return delivery_id


# ---- apply -----------------------------------------------------------------------------------------------------------


def wait_until_both_wait(admin: Connection) -> None:
    deadline = time.monotonic() + 10
    waiting = "select count(*) from pg_locks where not granted and relation = 'meta.subscription'::regclass"
    while admin.execute(waiting).fetchone() != (2,):
        assert time.monotonic() < deadline, "two applies that wait for the table: not within 10 s"
        time.sleep(0.01)


def test_two_who_apply_at_once_come_one_after_the_other(db: Database, admin: Connection) -> None:
    """Each is compared with what the one before it has left: no change is lost between them, or made twice."""
    store(db).apply([subscription("both"), subscription("gone")], actor="dana")
    files = {
        actor: [subscription("both", channel=actor), subscription(f"of-{actor}")] for actor in ("eve", "finn")
    }

    with ThreadPoolExecutor(2) as threads, psycopg.connect(db.dsn(db.admin)) as blocking:
        blocking.execute("lock table meta.subscription in share row exclusive mode")
        applying = [threads.submit(store(db).apply, wanted, actor=actor) for actor, wanted in files.items()]
        wait_until_both_wait(admin)
        blocking.commit()
        applied = sorted((one.result(20) for one in applying), key=lambda one: one.version)

    _, found = store(db).load()
    assert {one.name: one.revision for one in found} == {found[0].name: 3, found[1].name: 1}
    assert [one.name for one in applied[1].diff.removed] == [applied[0].diff.added[0].name]
    audited = admin.execute(
        "select before #>> '{destination,channel}', after #>> '{destination,channel}' from meta.audit"
        " where object = 'both' order by number"
    ).fetchall()
    (_, first), (second, third), (fourth, _) = audited
    assert (first, third) == (second, fourth)


def test_who_waits_too_long_for_another_is_told_so_and_changes_nothing(db: Database) -> None:
    hasty = replace(
        PostgresConfig.from_connection(db.consumer), parameters={"options": "-c lock_timeout=50ms"}
    )

    with psycopg.connect(db.dsn(db.admin)) as blocking:
        blocking.execute("lock table meta.subscription in share row exclusive mode")
        with pytest.raises(
            TransientError, match=r"somebody else is changing subscriptions.*run the same again"
        ):
            PostgresSubscriptions(hasty).apply([subscription("a")], actor="dana")

    assert store(db).load()[1] == ()


def test_one_that_cannot_be_used_is_in_the_log(
    db: Database, admin: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    admin.execute(
        "insert into meta.subscription (name, tenant_id, match, destination)"
        """ values ('m', 'acme', '{"severity": [{"like": 1}]}', '{"type": "slack", "conn_id": "slack"}')"""
    )

    assert store(db).load()[1] == ()

    assert "subscription m cannot be used and hears of nothing: match.severity[0].like" in caplog.text


def test_a_second_apply_of_a_thousand_writes_only_what_changed(db: Database) -> None:
    many = [subscription(f"s{number:04}") for number in range(1000)]
    store(db).apply(many, actor="dana")

    applied = store(db).apply([subscription("s0000", channel="C2"), *many[1:]], actor="dana")

    assert [one.after.name for one in applied.diff.changed] == ["s0000"]
    assert sum(one.revision for one in store(db).load()[1]) == 1001


def test_lanes_of_a_subscription_that_was_disabled_are_due_again_once_it_is_not(
    db: Database, admin: Connection
) -> None:
    """The consumer does not ask again for lanes that it cannot work on."""
    for name, is_parked in (("inc-1", True), ("inc-2", False)):
        admin.execute(
            "insert into meta.delivery_lane (tenant_id, kind, id, subscription, part, partition, is_parked)"
            " values ('acme', 'incident', %s, 'a', '', 0, %s)",
            [name, is_parked],
        )
    store(db).apply([subscription("a")], actor="dana")
    admin.execute("update meta.delivery_lane set due_at = null")
    store(db).disable("a", "the receiver answered 410")

    assert store(db).apply([subscription("a")], actor="dana").resumed == {"a": 1}

    due = admin.execute(
        "select id, due_at <= clock_timestamp() from meta.delivery_lane order by id"
    ).fetchall()
    assert due == [("inc-1", True), ("inc-2", None)]


# ---- who sees what ---------------------------------------------------------------------------------------------------


def test_a_reader_sees_subscriptions_and_receipts_of_its_tenants(db: Database, admin: Connection) -> None:
    store(db).apply(
        [subscription("a"), subscription("every", "*"), subscription("g", "globex")], actor="dana"
    )
    own = add_delivery(admin)
    add_delivery(admin, tenant_id="globex", subscription="g")

    with receipts(db) as reader:
        assert reader.readable() == Readable(True, ("acme",))
        assert [row.name for row, _ in reader.subscriptions()] == ["a", "every"]
        assert [one.delivery_id for one in reader.receipts(ReceiptQuery())] == [str(own)]
    with receipts(db, "") as nobody:
        assert nobody.readable() == Readable(True, ())
        assert nobody.receipts(ReceiptQuery()) == []
        assert nobody.readable().hint.startswith("; this connection sees no tenant")


def test_receipts_are_found_by_what_is_asked_newest_first(db: Database, admin: Connection) -> None:
    first = add_delivery(admin, at="2026-11-25T01:00:00Z", change_id=CHANGE, state="parked", attempts=3)
    second = add_delivery(
        *(admin,),
        **{"at": "2026-11-25T02:00:00Z", "change_id": CHANGE, "subscription": "b", "part": "thread"},
        **{"status": 200, "settled_at": "2026-11-25T02:00:01Z"},
    )
    third = add_delivery(admin, at="2026-11-25T03:00:00Z", kind="entity", subscription="c")

    with receipts(db) as reader:

        def found(**asked: Any) -> list[UUID]:
            return [UUID(one.delivery_id) for one in reader.receipts(ReceiptQuery(**asked))]

        assert found() == [third, second, first]
        assert found(limit=1) == [third]
        assert found(change_id=str(CHANGE)) == [second, first]
        assert found(incident="inc-1") == [second, first]
        assert found(incident="inc-2") == []
        assert found(change_id=str(CHANGE), incident="inc-2") == []
        assert found(change_id=str(uuid4())) == []
        assert found(subscription="b") == [second]
        assert found(state="parked") == [first]
        assert found(tenant="globex") == []
        assert found(change_id=str(CHANGE), state="delivered") == [second]
        one = reader.receipts(ReceiptQuery(subscription="b"))[0]
    assert (one.part, one.status, one.subject) == ("thread", 200, Subject("acme", "incident", "inc-1"))
    assert json.loads(json.dumps(one.to_dict()))["settled_at"] == "2026-11-25T02:00:01+00:00"


# ---- changes found again ---------------------------------------------------------------------------------------------


def test_a_row_is_read_as_its_trigger_told_it(db: Database, admin: Connection) -> None:
    """Same columns, same spelling, same change_id: what is explained is what would be routed."""
    admin.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", [db.name])
    try:
        entity = uuid4()
        admin.execute(
            "insert into meta.incident (tenant_id, incident_id, title, opened_at, entity_ids)"
            " values ('acme', 'inc-1', 'Größe \"x\"', '2026-11-24T23:30:32.77Z', array[%s])",
            [entity],
        )
        admin.execute(
            "insert into meta.entity"
            " (tenant_id, entity_id, qualified_name, type_name, platform, position, content_hash)"
            " values ('acme', %s, 'mc:a:b', 'table', 'montecarlo', %s, 1)",
            [entity, entity],
        )
        rows = admin.execute(
            "select data from pg_logical_slot_peek_changes(%s, null, null) where data like 'message%%'",
            [db.name],
        )
        told = [json.loads(json.loads(data.split("content:", 1)[1])["payload"]) for (data,) in rows]
    finally:
        admin.execute("select pg_drop_replication_slot(%s)", [db.name])

    with receipts(db) as reader:
        read = [reader.rows(one["id"])[0] for one in told]

    assert len(told) == 2
    for row, change in zip(read, told, strict=True):
        assert json.loads(row.columns) == change["after"]
        assert (row.change_id, row.revision) == (change["change_id"], change["revision"])
        assert row.changed_at == change["changed_at"]


def test_a_deleted_row_is_its_tombstone_until_it_is_inserted_again(db: Database, admin: Connection) -> None:
    insert = "insert into meta.incident (tenant_id, incident_id) values ('acme', 'inc-1')"
    admin.execute(insert)
    admin.execute("delete from meta.incident")

    with receipts(db) as reader:
        (gone,) = reader.rows("inc-1")
        admin.execute(insert)
        (there,) = reader.rows("inc-1")

    assert (gone.revision, gone.columns) == (2, b"")
    assert there.revision == 3
    assert there.columns


# ---- the command line ------------------------------------------------------------------------------------------------


def test_from_file_to_receipt(
    db: Database,
    admin: Connection,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in db.environ.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "subscriptions.yaml"
    file.write_text(
        "subscriptions:\n"
        "  - {name: a, tenant: acme, match: {severity: SEV-1}, destination: {type: slack, channel: C0123456789}}\n"
    )

    def told(*arguments: str) -> Any:
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert [one["name"] for one in told("subscription", "apply", "-f", str(file))["added"]] == ["a"]
    add_delivery(admin, change_id=CHANGE, settled_at="2026-11-25T02:00:01Z")
    admin.execute(
        "insert into meta.incident (tenant_id, incident_id, severity) values ('acme', 'inc-1', 'SEV-1')"
    )
    (listed,) = told("subscription", "list")
    assert (listed["state"], listed["last_delivery"]) == ("enabled", "2026-11-25T02:00:01+00:00")
    assert [one["change_id"] for one in told("deliveries", "--incident", "inc-1")] == [str(CHANGE)]
    for event in ("inc-1", str(CHANGE)):
        explained = told("subscription", "explain", "--event", event)
        assert [one["outcome"] for one in explained["subscriptions"]] == ["match"]
        assert explained["change"]["op"] == "created"
    file.write_text("subscriptions: []\n")
    assert told("subscription", "apply", "-f", str(file))["removed"] == ["a"]
