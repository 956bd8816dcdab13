"""The real Cassandra and the real Atlas end where PostgreSQL is, whatever changed a row, and are told nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest

from airflow_provider_atlan_meta.clients.atlas import AtlasClient
from airflow_provider_atlan_meta.clients.atlas_config import AtlasConfig
from airflow_provider_atlan_meta.clients.atlas_entities import AtlasSink
from airflow_provider_atlan_meta.clients.cassandra import CassandraConfig, CassandraSession
from airflow_provider_atlan_meta.config.connections import ATLAS, CASSANDRA, Connections
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.core.stores import ENTITY, INCIDENT, RowRef
from airflow_provider_atlan_meta.sandbox.isolation import Database
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.services.follow import FollowOutcome, FollowRequest, follow_once
from tests.integration.rows_by_hand import row_session

pytestmark = pytest.mark.integration

ROWS = 60
Follows = Callable[[str], FollowOutcome]


@pytest.fixture(scope="module")
def servers(sandbox: Sandbox) -> Sandbox:
    sandbox.up(["cassandra", "atlas"])
    return sandbox


@pytest.fixture(scope="module")
def places(servers: Sandbox) -> dict[str, ConnectionInfo]:
    connections = Connections(environ=servers.variables())
    return {"cassandra": connections.get(CASSANDRA), "atlas": connections.get(ATLAS)}


@pytest.fixture
def session(database: Database) -> Iterator[Any]:
    """Of PostgreSQL, with incidents of one run and the tables they are about."""
    run = uuid4().hex[:8]
    with row_session(database) as session:
        session.execute(
            "truncate meta.incident, meta.entity, meta.tombstone, meta.projection, meta.projection_sweep"
        )
        session.execute(
            "insert into meta.entity (tenant_id, entity_id, qualified_name, type_name, name, platform, position,"
            " content_hash) select 'acme', gen_random_uuid(), %s || n || '@dev', 'table', 't' || n, 'montecarlo',"
            " gen_random_uuid(), n from generate_series(1, 20) n",
            [f"mc:{run}."],
        )
        session.execute(
            "insert into meta.incident (tenant_id, incident_id, type, title, status, opened_at, entity_ids)"
            " select 'acme', %s || n, 'freshness', 'late', 'ACKNOWLEDGED', now(),"
            " (select array_agg(entity_id) from (select entity_id from meta.entity limit 2) e)"
            " from generate_series(1, %s) n",
            [f"inc-{run}-", ROWS],
        )
        yield session


@pytest.fixture
def follows(database: Database, places: dict[str, ConnectionInfo]) -> Follows:
    """One bounded run."""

    def run(sink: str) -> FollowOutcome:
        owner = LeaseOwner(id=uuid4(), label="test")
        request = FollowRequest(sink=sink)
        return follow_once(postgres=database.ingest, store=places[sink], request=request, owner=owner)

    return run


def postgres(session: Any) -> dict[RowRef, int]:
    rows = session.execute(
        "select 'incident', incident_id, revision from meta.incident"
        " union all select 'entity', entity_id::text, revision from meta.entity"
    ).fetchall()
    return {RowRef("acme", kind, row_id): revision for kind, row_id, revision in rows}


def atlas(place: ConnectionInfo, refs: list[RowRef]) -> dict[RowRef, int]:
    client = AtlasClient(AtlasConfig.from_connection(place))
    with closing(AtlasSink(client, read_rows=lambda _: [])) as sink:
        return sink.read_revisions(refs)


def cassandra(place: ConnectionInfo, refs: list[RowRef]) -> dict[str, tuple[int, str]]:
    """Of every copy there is."""
    wanted = {ref.id for ref in refs}
    with CassandraSession(CassandraConfig.from_connection(place)) as reader:
        rows = reader.rows("select incident_id, revision, status from {keyspace}.incident_by_day")
    found = [(row.incident_id, (row.revision, row.status)) for row in rows if row.incident_id in wanted]
    assert len(found) == len(dict(found)), "a second copy was left behind"
    return dict(found)


def check(session: Any, places: dict[str, ConnectionInfo], gone: list[RowRef]) -> None:
    rows = postgres(session)
    assert atlas(places["atlas"], [*rows, *gone]) == rows
    incidents = [ref for ref in rows if ref.kind == INCIDENT]
    statuses = dict(session.execute("select incident_id, status from meta.incident").fetchall())
    assert cassandra(places["cassandra"], [*incidents, *gone]) == {
        ref.id: (rows[ref], statuses[ref.id]) for ref in incidents
    }


def test_both_stores_are_equal_to_postgresql_after_every_kind_of_change_and_hear_nothing_twice(
    session: Any, places: dict[str, ConnectionInfo], follows: Follows
) -> None:
    for sink in places:
        assert follows(sink).written == ROWS + 20
    check(session, places, [])

    session.execute("update meta.incident set status = 'FIXED' where incident_id like '%1'")
    session.execute(
        "update meta.incident set opened_at = opened_at - interval '3 days' where incident_id like '%2'"
    )
    session.execute("update meta.entity set name = 'renamed' where name = 't3'")
    deleted = session.execute(
        "delete from meta.incident where incident_id like '%3' returning incident_id"
    ).fetchall()
    gone = [RowRef("acme", INCIDENT, row_id) for (row_id,) in deleted]
    changed = session.execute("select count(*) from meta.incident where revision > 1").fetchone()[0]

    for sink in places:
        outcome = follows(sink)
        assert (outcome.written, outcome.rejected, outcome.waiting) == (changed + 1 + len(gone), 0, 0)
    check(session, places, gone)
    assert [follows(sink).written for sink in places] == [0, 0]


@pytest.mark.parametrize("sink", ["cassandra", "atlas"])
def test_a_store_that_was_away_is_equal_again_and_the_other_never_waited(
    servers: Sandbox, session: Any, places: dict[str, ConnectionInfo], follows: Follows, sink: str
) -> None:
    other = next(name for name in places if name != sink)
    for name in places:
        follows(name)
    servers.kill(sink)
    try:
        session.execute("update meta.incident set status = 'FIXED'")
        with pytest.raises(TransientError):
            follows(sink)
        assert follows(other).written == ROWS
    finally:
        servers.start(sink)

    assert follows(sink).written == ROWS
    check(session, places, [])
    assert {ref.kind for ref in postgres(session)} == {INCIDENT, ENTITY}
