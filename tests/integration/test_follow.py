"""Stores follow a real PostgreSQL: whatever changed a row reaches them, and one that is away delays nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.core.stores import INCIDENT, Landing, RowRef, StateRow
from airflow_provider_atlan_meta.sandbox.isolation import Database
from airflow_provider_atlan_meta.services import follow
from airflow_provider_atlan_meta.services.follow import Followers, FollowOutcome, FollowRequest, follow_once
from airflow_provider_atlan_meta.services.ingest import service_owner
from airflow_provider_atlan_meta.testing.memory_sink import MemoryStateSink
from tests.integration.rows_by_hand import put, row_session
from tests.integration.waiting import wait_until

pytestmark = pytest.mark.integration

NOWHERE = ConnectionInfo(conn_id="store", conn_type="generic")
ROWS = 1500


class Stores:
    """A store in memory in the place of each real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sinks = {name: MemoryStateSink(name) for name in follow.SINKS}
        made = {
            name: replace(kind, make=lambda *_, name=name: self.sinks[name])
            for name, kind in follow.SINKS.items()
        }
        monkeypatch.setattr(follow, "SINKS", made)


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    return Stores(monkeypatch)


@pytest.fixture
def session(database: Database) -> Iterator[Any]:
    with row_session(database) as session:
        session.execute(
            "truncate meta.incident, meta.entity, meta.tombstone, meta.projection, meta.projection_sweep"
        )
        yield session


def run(database: Database, sink: str = "atlas", **limits: Any) -> FollowOutcome:
    owner = LeaseOwner(id=uuid4(), label="dag/run/follow#1", task="dag/run/follow")
    request = FollowRequest(sink=sink, **limits)
    return follow_once(postgres=database.ingest, store=NOWHERE, request=request, owner=owner)


def titles(session: Any) -> dict[str, tuple[int, str | None]]:
    rows = session.execute("select incident_id, revision, status from meta.incident").fetchall()
    return {row[0]: row[1:] for row in rows}


def stored(sink: MemoryStateSink) -> dict[str, tuple[int, str | None]]:
    return {
        ref.id: (row.revision, row.values["status"])
        for ref, row in list(sink.rows.items())
        if ref.kind == INCIDENT and row.values is not None
    }


def test_one_run_brings_a_store_to_where_postgresql_is(
    database: Database, session: Any, stores: Stores
) -> None:
    session.execute(
        "insert into meta.incident (tenant_id, incident_id, status)"
        " select 't' || n %% 3, 'inc-' || n, 'FIXED' from generate_series(1, %s) n",
        [ROWS],
    )
    sink = stores.sinks["atlas"]

    parts = [run(database, max_rows=500) for _ in range(2)]
    rest = run(database)

    assert [part.is_complete for part in (*parts, rest)] == [False, False, True]
    assert sum(part.written for part in (*parts, rest)) == ROWS == len(sink.writes)
    assert stored(sink) == titles(session)

    session.execute("update meta.incident set status = 'EXPECTED' where incident_id in ('inc-1', 'inc-2')")
    session.execute("delete from meta.incident where incident_id = 'inc-3'")
    again = run(database)

    assert (again.written, again.is_complete) == (3, True)
    assert stored(sink) == titles(session)
    assert run(database).rows == 0


def test_a_row_that_changes_while_it_is_written_is_written_again(
    database: Database, session: Any, stores: Stores
) -> None:
    put(session, "inc-1", "FIXED")
    sink = stores.sinks["atlas"]

    def meanwhile(row: StateRow) -> None:
        if row.revision == 1:
            put(session, "inc-1", "EXPECTED")

    sink.told = meanwhile

    assert run(database).written == 1
    assert [row.revision for row in sink.writes] == [1, 2]
    assert run(database).rows == 0


def test_a_poisoned_row_alone_is_a_dead_letter(database: Database, session: Any, stores: Stores) -> None:
    for number in range(3):
        put(session, f"inc-{number}", "FIXED")
    stores.sinks["atlas"].answers.extend([Landing.DONE, Landing.REJECTED])

    outcome = run(database)

    assert (outcome.written, outcome.rejected) == (2, 1)
    rows = session.execute(
        "select topic, sink, stage, reason, tenant_id, convert_from(value, 'UTF8')::json ->> 'id'"
        " from meta.dead_letter where sink = 'atlas'"
    ).fetchall()
    assert rows == [("meta.incident", "atlas", "project", "scripted", "acme", "inc-1")]


def test_a_store_that_is_away_keeps_a_run_from_pretending(
    database: Database, session: Any, stores: Stores
) -> None:
    put(session, "inc-1", "FIXED")
    stores.sinks["atlas"].is_up = False
    with pytest.raises(TransientError):
        run(database)

    stores.sinks["atlas"].is_up = True

    assert run(database).written == 1


def test_an_unknown_store_is_refused(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="cassandra, atlas"):
        run(database, "neo4j")


class Telling:
    """:ivar done: rows so far, by sink. :ivar troubles: of which sinks."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.troubles: list[str] = []

    def followed(self, outcome: FollowOutcome) -> None:
        self.done[outcome.sink] = self.done.get(outcome.sink, 0) + outcome.written

    def follow_trouble(self, sink: str, error: Exception, wait_seconds: float) -> None:
        self.troubles.append(sink)


def test_stores_follow_beside_each_other_and_one_that_is_away_delays_only_itself(
    database: Database, session: Any, stores: Stores
) -> None:
    telling = Telling()
    cassandra, atlas = stores.sinks["cassandra"], stores.sinks["atlas"]
    atlas.is_up = False
    with Followers(
        dict.fromkeys(stores.sinks, NOWHERE),
        postgres=database.ingest,
        owner=service_owner,
        lease_seconds=30.0,
        telling=telling,
    ) as followers:
        for number in range(5):
            put(session, f"inc-{number}", "FIXED")
            followers.wake()
            wait_until(lambda: stored(cassandra) == titles(session), what="Cassandra equals PostgreSQL")
        assert stored(atlas) == {}
        assert set(telling.troubles) <= {"atlas"}
        wait_until(lambda: telling.troubles, what="somebody hears that Atlas is away")

        atlas.is_up = True
        wait_until(lambda: stored(atlas) == titles(session), what="Atlas equals PostgreSQL")

    assert not [one.name for one in threading.enumerate() if one.name.startswith("follow-")]
    assert (
        session.execute(
            "select sink from meta.ingest_offset where topic = 'meta.projection' and expires_at > now()"
        ).fetchall()
        == []
    )


def test_a_follower_that_cannot_work_stops_nobody(
    database: Database, session: Any, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling = Telling()

    def refuse(*_: object) -> None:
        raise TerminalError("no permission")

    monkeypatch.setitem(follow.SINKS, "atlas", replace(follow.SINKS["atlas"], make=refuse))  # type: ignore[arg-type]
    with Followers(
        dict.fromkeys(stores.sinks, NOWHERE),
        postgres=database.ingest,
        owner=service_owner,
        lease_seconds=30.0,
        telling=telling,
    ):
        put(session, "inc-1", "FIXED")
        ref = RowRef("acme", INCIDENT, "inc-1")
        wait_until(lambda: ref in stores.sinks["cassandra"].rows)
        wait_until(lambda: telling.troubles == ["atlas"])
