"""Change capture on real PostgreSQL, Kafka, Connect and Debezium: every change once, in order, whatever is killed."""

from __future__ import annotations

import contextlib
import json
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from integration.rows_by_hand import drop_slot, put, row_session
from integration.waiting import wait_until

from airflow_provider_atlan_meta.cli import main
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError
from airflow_provider_atlan_meta.sandbox.isolation import ChangeCapture, Database, Isolation
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.sandbox.postgres import admin_connection
from airflow_provider_atlan_meta.services import capture_recovery
from airflow_provider_atlan_meta.services.capture import Capture
from airflow_provider_atlan_meta.services.capture_recovery import recover_change_capture
from airflow_provider_atlan_meta.testing.changes_topic import (
    ChangesTopic,
    Record,
    changes_topic,
    newest_by_row,
    revisions_by_row,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Lane:
    """A database, its connector, and a session that changes rows."""

    store: Database
    capture: ChangeCapture
    session: Connection


@contextlib.contextmanager
def _lane(sandbox: Sandbox, isolation: Isolation) -> Iterator[Lane]:
    store = isolation.new_database()
    capture = isolation.new_capture(store, isolation.new_topics(4))
    capture.apply()
    with row_session(store) as session:
        yield Lane(store, capture, session)
    isolation.remove_capture(capture)


@pytest.fixture(scope="module")
def shared(connect: Sandbox, isolation: Isolation) -> Iterator[Lane]:
    """For tests that break nothing; each has rows of its own."""
    with _lane(connect, isolation) as made:
        yield made


@pytest.fixture
def lane(connect: Sandbox, isolation: Isolation) -> Iterator[Lane]:
    """For tests that break it."""
    with _lane(connect, isolation) as made:
        yield made


@contextlib.contextmanager
def _reader(lane: Lane) -> Iterator[ChangesTopic]:
    with changes_topic(lane.capture.bootstrap, lane.capture.topic) as reader:
        yield reader


@pytest.fixture
def shared_changes(shared: Lane) -> Iterator[ChangesTopic]:
    with _reader(shared) as reader:
        yield reader


@pytest.fixture
def changes(lane: Lane) -> Iterator[ChangesTopic]:
    with _reader(lane) as reader:
        yield reader


def of(records: list[Record], *rows: str) -> list[Record]:
    return [record for record in records if record.change["id"] in rows]


def rest_state(capture: ChangeCapture) -> tuple[str, list[str]]:
    """All that somebody knows who asks Connect only."""
    with Capture(capture.connections, capture.request) as made:
        status = made.client.status(capture.request.connector)
    assert status is not None
    return status.state, [task.state for task in status.tasks]


class Writer(threading.Thread):
    """Changes rows in turn at a steady rate, over outages of the database, until it is told to finish."""

    def __init__(self, store: Database, rows: int, rate: float) -> None:
        super().__init__()
        self._store, self._rate = store, rate
        self.rows = [f"inc-{number:03}" for number in range(rows)]
        self.written = 0
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(psycopg.OperationalError), row_session(self._store) as connection:
                self._write(connection)

    def _write(self, connection: Connection) -> None:
        due = time.monotonic()
        while not self._ending.is_set():
            put(connection, self.rows[self.written % len(self.rows)], f"S{self.written}")
            self.written += 1
            due += 1 / self._rate
            time.sleep(max(0.0, due - time.monotonic()))

    def go_on(self, changes: int) -> None:
        """Returns when so many more are committed."""
        at = self.written
        wait_until(lambda: self.written > at + changes)

    def finish(self) -> None:
        self._ending.set()
        self.join(30)


# ---- what a record is ------------------------------------------------------------------------------------------------


def test_a_change_is_a_record_with_its_row_s_key_and_the_trigger_s_text(
    shared: Lane, shared_changes: ChangesTopic
) -> None:
    shared.session.execute(
        "select pg_create_logical_replication_slot(%s, 'test_decoding')", [shared.store.name]
    )
    put(shared.session, "ünï|1", "A")
    put(shared.session, "ünï|1", "B")
    shared.session.execute("delete from meta.incident where incident_id = 'ünï|1'")
    rows = shared.session.execute(
        "select data from pg_logical_slot_peek_changes(%s, null, null)", [shared.store.name]
    ).fetchall()
    shared.session.execute("select pg_drop_replication_slot(%s)", [shared.store.name])
    written = [json.loads(data.split("content:", 1)[1]) for (data,) in rows if "prefix: outbox" in data]

    shared_changes.read_until(lambda records: len(of(records, "ünï|1")) >= 3)

    records = of(shared_changes.settle(), "ünï|1")
    assert [record.key.decode() for record in records] == ["acme|ünï|1"] * 3
    assert [record.value.decode() for record in records] == [message["payload"] for message in written]
    assert [record.headers["id"].decode() for record in records] == [
        record.change["change_id"] for record in records
    ]
    assert len({record.partition for record in records}) == 1
    assert [record.revision[1] for record in records] == [1, 2, 3]


def test_large_changes_pass_whole_or_thin(shared: Lane, shared_changes: ChangesTopic) -> None:
    shared.session.execute(
        "insert into meta.incident (tenant_id, incident_id, title) values ('acme', 'whole', %s), ('acme', 'thin', %s)",
        ['\U0001f600"\n' * 60_000, "x" * 3_000_000],
    )

    shared_changes.read_until(lambda records: len(of(records, "whole", "thin")) == 2)

    found = {record.change["id"]: record.change for record in shared_changes.records}
    assert len(found["whole"]["after"]["title"]) == 180_000
    assert (found["thin"]["truncated"], "after" in found["thin"]) == (True, False)


def test_heartbeats_and_messages_of_others_are_no_changes(shared: Lane, shared_changes: ChangesTopic) -> None:
    shared.session.execute("select pg_logical_emit_message(true, 'other', 'x')")
    put(shared.session, "behind", "A")

    shared_changes.read_until(lambda records: len(of(records, "behind")) == 1)

    assert all(record.key.startswith(b"acme|") for record in shared_changes.settle(3))


def test_a_change_is_received_within_milliseconds_of_its_commit(
    shared: Lane, shared_changes: ChangesTopic
) -> None:
    put(shared.session, "warm", "A")
    shared_changes.read_until(lambda records: len(of(records, "warm")) == 1)
    committed: dict[str, float] = {}
    due = time.monotonic()
    for number in range(100):
        put(shared.session, f"fast-{number}", "A")
        committed[f"fast-{number}"] = time.time()
        due += 0.05
        while time.monotonic() < due:
            shared_changes.poll()

    shared_changes.read_until(lambda records: len(of(records, *committed)) == 100)

    found = of(shared_changes.records, *committed)
    lags = sorted((record.received_at - committed[record.change["id"]]) * 1000 for record in found)
    p50, p99 = statistics.median(lags), lags[98]
    print(f"commit -> change received at 20/s: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    # the target is 40 ms on an idle machine; this holds on a busy one
    assert p50 < 150


def test_prometheus_reads_the_connector_s_metrics(shared: Lane, connect: Sandbox) -> None:
    import urllib.request

    port = json.loads((Path(connect.home.path) / "ports.json").read_text())["connect-metrics"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()

    assert "debezium_postgres_millisecondsbehindsource" in text
    assert (
        f'kafka_connect_source_task_metrics_source_record_write{{connector="{shared.capture.request.connector}"'
        in text
    )


# ---- applying --------------------------------------------------------------------------------------------------------


def test_applying_again_changes_nothing(shared: Lane) -> None:
    again = shared.capture.apply()

    assert (again.changed, again.prepared, again.new_slot) == ((), (), False)
    assert again.health is not None
    assert again.health.is_healthy


def test_nothing_connect_shows_holds_the_password(shared: Lane, connect: Sandbox) -> None:
    with Capture(shared.capture.connections, shared.capture.request) as made:
        raw = made.client._call("GET", "/connectors?expand=info&expand=status")

    assert shared.capture.connections.cdc.password not in json.dumps(raw)
    assert "${file:" in json.dumps(raw)


def test_a_sound_slot_is_not_recovered(shared: Lane) -> None:
    with pytest.raises(ConfigurationError, match="not lost"):
        recover_change_capture(shared.capture.connections, shared.capture.request)


def test_what_was_stopped_or_changed_by_hand_is_put_right(shared: Lane) -> None:
    name = shared.capture.request.connector
    with Capture(shared.capture.connections, shared.capture.request) as made:
        made.client.apply(name, {**made.profile(), "poll.interval.ms": "500"})
        # begun again behind the last commit, with nothing more to read, it must move on all the same
        put(shared.session, "last", "A")
        made.client.stop(name)
        wait_until(lambda: made.health(0).state == "stopped")

    outcome = shared.capture.apply()

    assert [(d.name, d.before, d.after) for d in outcome.changed] == [("poll.interval.ms", "500", "10")]
    assert rest_state(shared.capture) == ("RUNNING", ["RUNNING"])


def test_changes_between_a_new_slot_and_the_connector_s_first_start_are_captured(
    connect: Sandbox, isolation: Isolation
) -> None:
    store = isolation.new_database()
    made = isolation.new_capture(store, isolation.new_topics(4))
    with Capture(made.connections, made.request) as plan:
        plan._prepare(plan.plan().prepared)
        with plan.store() as database:
            database.create_slot(made.request.slot)
    with row_session(store) as session:
        put(session, "early", "A")
        session.execute("select pg_switch_wal()")

    made.apply()

    with changes_topic(made.bootstrap, made.topic) as reader:
        reader.read_until(lambda records: [r.revision for r in records] == [("early", 1)])
    isolation.remove_capture(made)


# ---- killed ----------------------------------------------------------------------------------------------------------


def test_connect_kafka_and_postgresql_killed_under_load_lose_and_double_nothing(
    lane: Lane, sandbox: Sandbox, changes: ChangesTopic
) -> None:
    writer = Writer(lane.store, rows=50, rate=100)
    writer.start()
    # Connect last: its worker may not come to itself after Kafka's kill, and a new one is the cure
    for victim in ("kafka", "postgres", "connect"):
        writer.go_on(300)
        sandbox.kill(victim)
        sandbox.start(victim)
    writer.go_on(200)
    writer.finish()

    with row_session(lane.store) as session:
        rows = dict(session.execute("select incident_id, revision from meta.incident").fetchall())
    changes.read_until(lambda records: len(records) >= sum(rows.values()), 90)
    told = revisions_by_row(changes.settle(3))
    assert told == {row: list(range(1, revision + 1)) for row, revision in rows.items()}
    with Capture(lane.capture.connections, lane.capture.request) as made:
        assert made.health(30).is_healthy


# ---- health: drills in which Connect says RUNNING --------------------------------------------------------------------


def test_a_database_that_is_away_is_told_while_connect_says_running(lane: Lane, sandbox: Sandbox) -> None:
    sandbox.stop("postgres")
    try:
        with Capture(lane.capture.connections, lane.capture.request) as made:
            assert rest_state(lane.capture)[0] == "RUNNING"
            health = made.health()
            assert health.state == "unhealthy"
            assert health.has("database_away")
    finally:
        sandbox.start("postgres")
    with Capture(lane.capture.connections, lane.capture.request) as made:
        assert made.await_healthy().is_healthy


def test_a_dropped_slot_is_lost_and_applying_refuses_to_begin_anew(lane: Lane, changes: ChangesTopic) -> None:
    put(lane.session, "inc-1", "A")
    changes.read_until(lambda records: len(records) == 1)
    drop_slot(lane.session, lane.capture.request.slot)

    with Capture(lane.capture.connections, lane.capture.request) as made:
        assert rest_state(lane.capture)[0] == "RUNNING"
        assert made.health().is_lost
    with pytest.raises(TerminalError, match=r"slot_dropped.*capture recover"):
        lane.capture.apply()


def test_a_slot_made_anew_behind_the_connector_s_back_is_lost(lane: Lane, changes: ChangesTopic) -> None:
    """It reads on as if nothing had happened, and what came between is in no topic."""
    put(lane.session, "inc-1", "A")
    changes.read_until(lambda records: len(records) == 1)
    with Capture(lane.capture.connections, lane.capture.request) as made:
        made.stop()
        drop_slot(lane.session, lane.capture.request.slot)
        put(lane.session, "inc-1", "B")
        with made.store() as database:
            database.create_slot(lane.capture.request.slot)
        made.start()

        wait_until(lambda: made.health(0).is_lost)
        assert made.health().has("slot_ahead")


def run_out_of_log(lane: Lane) -> None:
    """Writes until the lane's slot is lost; slots that are read, of others, come along."""
    behind = "select count(*) from pg_replication_slots where active and pg_current_wal_lsn() - restart_lsn > 300000000"
    query = "select wal_status from pg_replication_slots where slot_name = %s"
    while lane.session.execute(query, [lane.capture.request.slot]).fetchone() != ("lost",):
        for _ in range(12):  # 16 MB of log each
            lane.session.execute("select pg_logical_emit_message(false, 'x', 'y'), pg_switch_wal()")
        lane.session.execute("checkpoint")
        wait_until(lambda: lane.session.execute(behind).fetchone() == (0,))


def test_a_slot_that_ran_out_of_log_is_lost_while_connect_says_running_without_tasks(
    lane: Lane, changes: ChangesTopic
) -> None:
    put(lane.session, "inc-1", "A")
    changes.read_until(lambda records: len(records) == 1)
    with Capture(lane.capture.connections, lane.capture.request) as made:
        made.stop()
        run_out_of_log(lane)
        made.start()
        wait_until(lambda: rest_state(lane.capture) == ("RUNNING", []))

        health = made.health()

        assert health.is_lost
        assert health.has("slot_lost")
        put(lane.session, "inc-1", "B")
        recover_change_capture(lane.capture.connections, lane.capture.request)
        assert made.health().is_healthy
    changes.read_until(lambda records: newest_by_row(records)["inc-1"]["after"]["status"] == "B")


# ---- a lost slot -----------------------------------------------------------------------------------------------------


def test_a_slot_lost_under_load_is_recovered_by_the_documented_command(
    lane: Lane, changes: ChangesTopic, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No final state is missing, and nothing older comes after something newer."""
    for row in ("deleted", "again"):
        put(lane.session, row, "A")
    writer = Writer(lane.store, rows=40, rate=200)
    writer.start()
    changes.read_until(lambda records: len(records) > 200)
    drop_slot(lane.session, lane.capture.request.slot)
    lane.session.execute("delete from meta.incident where incident_id in ('deleted', 'again')")
    put(lane.session, "again", "B")
    put(lane.session, "only-in-the-gap", "A")
    writer.go_on(200)
    for name, value in lane.capture.environ.items():
        monkeypatch.setenv(name, value)

    assert main(["capture", "status"]) == 1
    assert "capture recover" in capsys.readouterr().out
    assert main(["capture", "recover", "--json"]) == 0

    writer.go_on(100)
    writer.finish()
    document = json.loads(capsys.readouterr().out)
    assert document["emitted"]["rows"]["incident"] >= 42
    assert document["emitted"]["deleted"]["incident"] == 1
    final = {
        row: (revision, status)
        for row, revision, status in lane.session.execute(
            "select incident_id, revision, status from meta.incident"
        )
    }
    changes.read_until(lambda records: _shown(records) == {**final, "deleted": (2, None)})
    _assert_in_order(changes.settle())
    assert main(["capture", "status"]) == 0


def _shown(records: list[Record]) -> dict[str, tuple[int, str | None]]:
    """What a reader shows in the end."""
    return {
        row: (change["revision"], (change["after"] or {}).get("status"))
        for row, change in newest_by_row(records).items()
    }


def _assert_in_order(records: list[Record]) -> None:
    """Of each row: a revision twice only where it was told again, and none after a newer one."""
    for row, revisions in revisions_by_row(records).items():
        assert revisions == sorted(revisions), row
    twice = [r.revision for r in records if not r.change.get("reemitted")]
    assert len(twice) == len(set(twice))


def test_an_interrupted_recovery_is_seen_and_goes_on(
    lane: Lane, changes: ChangesTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(lane.session, "inc-1", "A")
    changes.read_until(lambda records: len(records) == 1)
    drop_slot(lane.session, lane.capture.request.slot)
    put(lane.session, "inc-1", "B")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(capture_recovery, "reemit_changes", killed)
        with pytest.raises(KeyboardInterrupt):
            recover_change_capture(lane.capture.connections, lane.capture.request)
    with Capture(lane.capture.connections, lane.capture.request) as made:
        wait_until(lambda: {f.code for f in made.health(0).findings} == {"recovery_unfinished"})
    with pytest.raises(TerminalError, match="recovery_unfinished"):
        lane.capture.apply()

    outcome = recover_change_capture(lane.capture.connections, lane.capture.request)

    assert outcome.health.is_healthy
    changes.read_until(lambda records: newest_by_row(records)["inc-1"]["after"]["status"] == "B")
    assert lane.capture.apply().changed == ()


def test_a_sandbox_whose_slot_was_lost_comes_up_recovered(connect: Sandbox) -> None:
    connect.stop("connect")
    with admin_connection(connect.home, "postgres", "meta") as session:
        session.execute("select set_config('meta.tenants', 'acme', false)")
        session.execute("select pg_drop_replication_slot('meta_outbox')")
        session.execute("delete from meta.incident where incident_id = 'of-the-gap'")
        put(session, "of-the-gap", "A")
        wanted = session.execute(
            "select revision from meta.incident where incident_id = 'of-the-gap'"
        ).fetchone()

    connect.up(["connect"])

    with changes_topic(str(connect.fields()["kafka_bootstrap"]), "meta.changes.v1") as reader:
        reader.read_until(lambda records: newest_revision(records, "of-the-gap") == wanted)


def newest_revision(records: list[Record], row: str) -> tuple[int] | None:
    return max(((record.revision[1],) for record in of(records, row)), default=None)
