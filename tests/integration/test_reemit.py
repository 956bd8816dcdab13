"""Changes told again say what the triggers said, once per row, in the order of its revisions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from airflow_provider_atlan_meta.cli import main
from airflow_provider_atlan_meta.clients.postgres import PostgresConfig
from airflow_provider_atlan_meta.clients.postgres_capture import CaptureStore
from airflow_provider_atlan_meta.core.changes import decode_change
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation
from airflow_provider_atlan_meta.services.reemit import MARGIN, ReemitOutcome, ReemitRequest, reemit_changes

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]
Messages = Callable[[], list[dict[str, Any]]]
ENTITY = "0e0e0e0e-0000-0000-0000-000000000001"


@pytest.fixture
def db(isolation: Isolation) -> Database:
    return isolation.new_database()


@pytest.fixture
def admin(db: Database) -> Iterator[Connection]:
    with psycopg.connect(db.dsn(db.admin), autocommit=True) as connection:
        connection.execute("select set_config('meta.tenants', 'acme,globex', false)")
        # as the role that ingests has it: the triggers spell times in the session's zone
        connection.execute("set timezone = 'UTC'")
        yield connection


@pytest.fixture
def slot(db: Database, admin: Connection) -> Iterator[str]:
    """A slot nobody reads, as while Debezium is away."""
    name = f"{db.name}_capture"
    admin.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
    yield name
    admin.execute("select pg_drop_replication_slot(%s)", [name])


@pytest.fixture
def messages(db: Database, admin: Connection) -> Iterator[Messages]:
    """The contents of the messages since the last call."""
    admin.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", [db.name])

    def read() -> list[dict[str, Any]]:
        rows = admin.execute(
            "select data from pg_logical_slot_get_changes(%s, null, null) where data like 'message%%'",
            [db.name],
        )
        return [json.loads(data.split("content:", 1)[1]) for (data,) in rows]

    yield read
    admin.execute("select pg_drop_replication_slot(%s)", [db.name])


def add_incident(connection: Connection, incident: str, tenant: str = "acme", **values: Any) -> None:
    values = {"tenant_id": tenant, "incident_id": incident, **values}
    columns, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    connection.execute(f"insert into meta.incident ({columns}) values ({marks})", list(values.values()))


def add_entity(connection: Connection) -> None:
    connection.execute(
        "insert into meta.entity (tenant_id, entity_id, qualified_name, type_name, platform, position, content_hash)"
        " values ('globex', %s, 'mc:a:b.c', 'table', 'montecarlo', %s, 1)",
        [ENTITY, ENTITY],
    )


def reemit(db: Database, slot: str, **options: Any) -> ReemitOutcome:
    options.setdefault("since", datetime.now(UTC))
    return reemit_changes(db.admin, ReemitRequest(slot=slot, **options))


def payload(message: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(message["payload"]))


def test_every_field_is_the_live_one_s_but_what_changed(
    db: Database, admin: Connection, slot: str, messages: Messages
) -> None:
    add_incident(admin, "inc-1", title='"ünï\n\u202e', status="A", opened_at=datetime.now(UTC))
    admin.execute("update meta.incident set status = 'B'")
    add_entity(admin)
    live = {payload(m)["id"]: m for m in messages()}

    outcome = reemit(db, slot)

    assert (outcome.rows, outcome.deleted) == ({"incident": 1, "entity": 1}, {"incident": 0, "entity": 0})
    told = {payload(m)["id"]: m for m in messages()}
    assert set(told) == {"inc-1", ENTITY}
    for row, message in told.items():
        again, before = payload(message), payload(live[row])
        assert {**message, "payload": ""} == {**live[row], "payload": ""}
        assert again.pop("reemitted") is True
        assert (again.pop("changed"), again.pop("before")) == (None, None)
        assert again == {name: before[name] for name in again}
        assert set(before) - set(again) == {"changed", "before"}
    assert payload(told["inc-1"])["op"] == "updated"
    assert payload(told[ENTITY])["op"] == "created"


def test_a_reader_decodes_what_is_told_again(
    db: Database, admin: Connection, slot: str, messages: Messages
) -> None:
    add_incident(admin, "inc-1", status="A")
    add_incident(admin, "gone")
    admin.execute("delete from meta.incident where incident_id = 'gone'")
    messages()

    reemit(db, slot)

    kept, gone = [decode_change(message["payload"].encode()) for message in messages()]
    assert (kept.op, kept.after and kept.after["status"]) == ("created", "A")
    assert (gone.op, gone.revision, gone.after) == ("deleted", 2, None)


def test_what_is_deleted_is_told_unless_it_is_there_again(
    db: Database, admin: Connection, slot: str, messages: Messages
) -> None:
    for name in ("gone", "again"):
        add_incident(admin, name)
    admin.execute("delete from meta.incident")
    add_incident(admin, "again", status="B")
    live = {(payload(m)["id"], payload(m)["revision"]): payload(m) for m in messages()}

    outcome = reemit(db, slot)

    told = [payload(m) for m in messages()]
    assert [(m["op"], m["id"], m["revision"]) for m in told] == [
        ("updated", "again", 3),
        ("deleted", "gone", 2),
    ]
    assert all(live[m["id"], m["revision"]]["change_id"] == m["change_id"] for m in told)
    assert outcome.total == 2


def test_only_what_changed_since_is_told_with_a_margin(
    db: Database, admin: Connection, slot: str, messages: Messages
) -> None:
    for name in ("old", "new"):
        add_incident(admin, name)
    admin.execute("delete from meta.incident where incident_id = 'x'")
    admin.execute(
        "update meta.incident set changed_at = now() - interval '20 minutes' where incident_id = 'old'"
    )
    messages()

    outcome = reemit(db, slot, since=datetime.now(UTC) + MARGIN - timedelta(minutes=1))

    assert [payload(m)["id"] for m in messages()] == ["new"]
    assert outcome.since < datetime.now(UTC)


def test_pages_of_any_size_tell_every_row_once_in_key_order(
    db: Database, admin: Connection, slot: str, messages: Messages
) -> None:
    names = [f"inc-{number:02}" for number in range(11)]
    for name in names:
        add_incident(admin, name, tenant="acme" if name < "inc-06" else "globex")
    add_entity(admin)
    messages()

    for rows in (1, 4, 500):
        assert reemit(db, slot, page_rows=rows).rows == {"incident": 11, "entity": 1}
        assert [payload(m)["id"] for m in messages()] == [*names, ENTITY]


def test_a_page_is_one_transaction(db: Database, admin: Connection, slot: str) -> None:
    for number in range(5):
        add_incident(admin, f"inc-{number}")
    admin.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", [db.name])
    try:
        reemit(db, slot, page_rows=2)
        rows = admin.execute(
            "select data from pg_logical_slot_peek_changes(%s, null, null)", [db.name]
        ).fetchall()
    finally:
        admin.execute("select pg_drop_replication_slot(%s)", [db.name])
    kinds = [data.split()[0].rstrip(":") for (data,) in rows]
    assert "".join(kind[0] for kind in kinds).count("BmmC") == 2


def test_a_row_above_512_kib_is_told_thin(
    db: Database, admin: Connection, slot: str, messages: Messages
) -> None:
    add_incident(admin, "inc-1", title="x" * 600_000)
    messages()

    reemit(db, slot)

    (thin,) = [payload(m) for m in messages()]
    assert (thin["truncated"], thin["reemitted"], "after" in thin) == (True, True, False)


def test_a_dry_run_counts_and_tells_nothing(
    db: Database, admin: Connection, slot: str, messages: Messages
) -> None:
    add_incident(admin, "inc-1")
    add_incident(admin, "inc-2")
    admin.execute("delete from meta.incident where incident_id = 'inc-2'")
    messages()

    outcome = reemit(db, slot, dry_run=True)

    assert (outcome.rows["incident"], outcome.deleted["incident"]) == (1, 1)
    assert messages() == []


def test_a_row_somebody_changes_is_waited_for_and_told_as_it_then_is(
    db: Database, admin: Connection, slot: str, messages: Messages
) -> None:
    add_incident(admin, "inc-1", status="A")
    with psycopg.connect(db.dsn(db.admin)) as writer:
        writer.execute("update meta.incident set status = 'B'")
        telling = threading.Thread(target=reemit, args=(db, slot))
        telling.start()
        waits = "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"
        while admin.execute(waits, [db.name]).fetchone() != (1,):
            assert telling.is_alive()
    telling.join(30)

    told = [payload(m) for m in messages()]
    assert [(m["revision"], m.get("reemitted", False)) for m in told] == [(1, False), (2, False), (2, True)]
    assert told[-1]["after"]["status"] == "B"


def test_a_change_waits_until_the_row_is_told(
    db: Database, admin: Connection, slot: str, messages: Messages
) -> None:
    """Else the older state could come behind the newer one."""
    add_incident(admin, "inc-1", status="A")
    config = PostgresConfig.from_connection(db.admin)
    with CaptureStore(config) as store:
        telling = store._connection
        with telling.transaction():
            store.reemit(
                "incident", datetime(2000, 1, 1, tzinfo=UTC), deleted=False, after=("", ""), limit=500
            )
            with pytest.raises(psycopg.errors.LockNotAvailable):
                admin.execute("set lock_timeout = '50ms'; update meta.incident set status = 'B'")
    admin.execute("update meta.incident set status = 'B'")

    assert [(payload(m)["revision"], "reemitted" in payload(m)) for m in messages()] == [
        (1, False),
        (1, True),
        (2, False),
    ]


def test_without_a_slot_nothing_is_told(db: Database, admin: Connection, messages: Messages) -> None:
    add_incident(admin, "inc-1")
    messages()

    with pytest.raises(ConfigurationError, match=r"is not there: nobody would hear.*capture recover"):
        reemit(db, f"{db.name}_nobody")

    assert messages() == []


def test_a_slot_of_another_database_is_not_ours(db: Database, slot: str, isolation: Isolation) -> None:
    other = isolation.new_database()

    with pytest.raises(ConfigurationError, match=f"belongs to database '{db.name}'"):
        reemit(other, slot)


def test_a_login_that_cannot_see_every_row_is_refused(db: Database, slot: str) -> None:
    with pytest.raises(ConfigurationError, match="needs a superuser"):
        reemit_changes(db.reader, ReemitRequest(since=datetime.now(UTC), slot=slot))


def test_the_command_says_what_it_did(
    db: Database,
    admin: Connection,
    slot: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_incident(admin, "inc-1")
    for name, value in {**db.environ, "AIRFLOW__ATLAN_META__CAPTURE_SLOT": slot}.items():
        monkeypatch.setenv(name, value)

    assert main(["db", "reemit", "--since", "2026-01-01T00:00:00Z", "--json"]) == 0

    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["since"] == "2025-12-31T23:50:00+00:00"
    assert (document["rows"]["incident"], document["dry_run"]) == (1, False)
    assert "1 incident rows emitted again" in said.err
    assert main(["db", "reemit", "--since", "2026-01-01T00:00:00Z", "--dry-run"]) == 0
    assert "would emit again what changed since 2025-12-31T23:50:00+00:00: 1 incident rows" in (
        capsys.readouterr().out
    )
