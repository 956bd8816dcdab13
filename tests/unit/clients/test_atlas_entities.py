"""Rows into a catalog that refuses, breaks, is slow, or answers nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import httpx
import pytest

from airflow_provider_atlan_meta.clients.atlas import AtlasClient
from airflow_provider_atlan_meta.clients.atlas_config import AtlasConfig
from airflow_provider_atlan_meta.clients.atlas_entities import AtlasSink
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS
from airflow_provider_atlan_meta.core.stores import (
    ENTITY,
    INCIDENT,
    Landed,
    Landing,
    RowRef,
    StateRow,
    StateSink,
)
from airflow_provider_atlan_meta.testing.atlas_server import FakeAtlas, transport
from airflow_provider_atlan_meta.testing.atlas_store import Refused

SPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def table(number: int = 1, revision: int = 1, **values: Any) -> StateRow:
    name = f"orders_{number}"
    told = {
        "qualified_name": f"db.sales.{name}@prod",
        "type_name": "table",
        "name": name,
        "platform": "snowflake",
        "database_name": "db",
        "schema_name": "sales",
    }
    return StateRow(RowRef("acme", ENTITY, str(uuid5(SPACE, name))), revision, told | values, 0)


def incident(
    number: int = 1, revision: int = 1, entities: Sequence[StateRow] = (), **values: Any
) -> StateRow:
    told = dict.fromkeys(INCIDENT_FIELDS) | {"type": "anomaly", "title": f"t{number}"} | values
    told["entity_ids"] = [UUID(row.ref.id) for row in entities]
    return StateRow(RowRef("acme", INCIDENT, f"i-{number}"), revision, told, 0)


class Bench:
    """A sink, its catalog, and PostgreSQL's rows."""

    def __init__(self, fields: dict[str, Any] | None = None, path: str = "/api/atlas/v2") -> None:
        self.fake = FakeAtlas(path)
        self.now = 0.0
        self.rows: dict[RowRef, StateRow] = {}
        info = ConnectionInfo(
            conn_id="c", host="http://atlas-0", login="admin", password="admin", extra=fields or {}
        )
        client = AtlasClient(AtlasConfig.from_connection(info), transport(self.fake))
        self.sink = AtlasSink(client, read_rows=self.read, clock=lambda: self.now)

    def read(self, refs: Sequence[RowRef]) -> Iterable[StateRow]:
        return [self.rows[ref] for ref in refs if ref in self.rows]

    def write(self, *rows: StateRow) -> list[Landed]:
        self.rows |= {row.ref: row for row in rows}
        return self.sink.write(rows)

    def landings(self, *rows: StateRow) -> list[Landing]:
        return [landed.landing for landed in self.write(*rows)]

    def stored(self, number: int) -> dict[str, Any] | None:
        return self.fake.entity(f"db.sales.orders_{number}@prod@acme")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def tables(count: int) -> list[StateRow]:
    return [table(number) for number in range(count)]


DONE, LATER, REJECTED, UNKNOWN = Landing.DONE, Landing.LATER, Landing.REJECTED, Landing.UNKNOWN


# ---- what lands ----------------------------------------------------------------------------------------------------


def test_it_is_a_sink(bench: Bench) -> None:
    sink: StateSink = bench.sink
    assert sink.name == "atlas"


def test_rows_land_with_their_revision_and_the_catalogs_guid(bench: Bench) -> None:
    orders = table()
    landed = bench.write(orders, incident(revision=4, entities=[orders]))
    assert [one.landing for one in landed] == [DONE, DONE]
    alert = bench.fake.entity("mc_alert://i-1@acme")
    dataset = bench.stored(1)
    assert alert is not None
    assert dataset is not None
    assert (alert["attributes"]["revision"], alert["guid"]) == (4, landed[1].external_id)
    assert alert["relationshipAttributes"]["affectedDatasets"] == [dataset["guid"]]


def test_an_incidents_entities_are_looked_up_among_the_rows(bench: Bench) -> None:
    bench.write(table())
    assert bench.landings(incident(entities=[table()])) == [DONE]
    alert = bench.fake.entity("mc_alert://i-1@acme")
    assert alert is not None
    assert len(alert["relationshipAttributes"]["affectedDatasets"]) == 1


def test_an_incident_whose_entity_is_not_in_the_catalog_waits_and_the_rest_goes_on(bench: Bench) -> None:
    absent = table(9)
    bench.rows[absent.ref] = absent
    landed = bench.write(incident(1), incident(2, entities=[absent]), incident(3))
    assert [one.landing for one in landed] == [DONE, LATER, DONE]
    assert landed[1].reason == "ATLAS-404-00-00A: an entity it refers to is not in the catalog yet"


def test_a_backlog_without_its_entities_costs_few_calls_and_waits(bench: Bench) -> None:
    absent = tables(40)
    bench.rows |= {row.ref: row for row in absent}
    bench.write(table(999))
    bench.fake.calls.clear()
    landed = bench.write(*(incident(number, entities=[row]) for number, row in enumerate(absent)))
    assert {(one.landing, one.retry_after) for one in landed} == {(LATER, None)}
    assert len(bench.fake.calls) <= 2
    assert set(bench.landings(*(incident(n, entities=[row]) for n, row in enumerate(absent)), *absent)) == {
        DONE
    }


def test_an_entity_that_somebody_else_deleted_is_noticed(bench: Bench) -> None:
    bench.write(table(), incident(1, entities=[table()]))
    bench.fake.store.delete("mc_dataset", "qualifiedName", "db.sales.orders_1@prod@acme")
    assert bench.landings(incident(2, entities=[table()]), incident(3)) == [LATER, DONE]
    assert bench.landings(table(revision=2), incident(2, entities=[table()])) == [DONE, DONE]


def test_the_same_rows_again_change_nothing(bench: Bench) -> None:
    rows = [table(), incident(entities=[table()], opened_at=datetime(2026, 11, 25, tzinfo=UTC))]
    bench.write(*rows)
    told = len(bench.fake.store.notifications)
    assert bench.landings(*rows) == [DONE, DONE]
    assert len(bench.fake.store.notifications) == told


def test_of_two_revisions_in_one_call_the_newest_is_written_once(bench: Bench) -> None:
    landed = bench.write(table(revision=3), table(revision=2))
    assert [(one.revision, one.landing) for one in landed] == [(3, DONE), (2, DONE)]
    assert bench.fake.bulks == [1]
    stored = bench.stored(1)
    assert stored is not None
    assert stored["attributes"]["revision"] == 3


def test_a_deleted_row_is_deleted_there_and_once_more_is_nothing(bench: Bench) -> None:
    bench.write(table(), incident())
    gone = [table()._replace(values=None), incident()._replace(values=None)]
    assert bench.landings(*gone) == [DONE, DONE]
    assert bench.stored(1) is None
    assert bench.fake.entity("mc_alert://i-1@acme") is None
    assert bench.landings(*gone) == [DONE, DONE]


def test_what_a_catalog_has_no_place_for_is_done() -> None:
    bench = Bench({"dialect": "atlan"}, "/api/meta")
    landed = bench.write(incident(), table(qualified_name="mc:acc:x.y"))
    assert [one.landing for one in landed] == [DONE, DONE]
    assert bench.fake.calls == []


def test_other_peoples_custom_attributes_stay() -> None:
    bench = Bench({"name_suffix": ""})
    theirs = {"guid": "-1", "typeName": "rdbms_table", "attributes": {"qualifiedName": "q", "name": "n"}}
    bench.fake.store.write({"entities": [theirs | {"customAttributes": {"steward": "ada"}}]})
    bench.write(table(qualified_name="q", type_name="rdbms_table", revision=5))
    stored = bench.fake.entity("q")
    assert stored is not None
    assert stored["customAttributes"] == {
        "steward": "ada",
        "atlan_meta_revision": "5",
        "atlan_meta_tenant": "acme",
    }


# ---- one bad entity ------------------------------------------------------------------------------------------------


def test_a_poisoned_entity_lands_alone_in_the_dead_letters(bench: Bench) -> None:
    bench.fake.store.poison["orders_37@"] = Refused(404, "ATLAS-404-00-007", "mandatory value of orders_37")
    landed = bench.write(*tables(50))
    rejected = [one for one in landed if one.landing is REJECTED]
    assert [one.ref for one in rejected] == [table(37).ref]
    assert rejected[0].reason.startswith("ATLAS-404-00-007: ")
    assert "orders_37" not in rejected[0].reason
    assert [one.landing for one in landed].count(DONE) == 49
    assert len(bench.fake.bulks) <= 13


def test_an_entity_that_breaks_the_server_waits_and_the_rest_lands(bench: Bench) -> None:
    bench.fake.store.poison["orders_0@"] = Refused(
        500, "ATLAS-500-00-001", "internal", "NullPointerException"
    )
    landed = bench.write(*tables(50))
    assert [one.landing for one in landed] == [LATER, *[DONE] * 49]


def test_two_poisons_are_both_found(bench: Bench) -> None:
    for number in (3, 4):
        bench.fake.store.poison[f"orders_{number}@"] = Refused(400, "ATLAS-400-00-014", "")
    landings = bench.landings(*tables(20))
    assert [at for at, one in enumerate(landings) if one is REJECTED] == [3, 4]
    assert landings.count(DONE) == 18


# ---- size ----------------------------------------------------------------------------------------------------------


def test_bulks_shrink_to_what_the_server_takes_and_grow_again(bench: Bench) -> None:
    bench.fake.largest_bulk = 20
    assert set(bench.landings(*tables(100))) == {DONE}
    assert bench.sink.batch_size <= 22
    bench.fake.largest_bulk = 10_000
    for _ in range(20):
        bench.write(*tables(200))
    assert bench.sink.batch_size == 100
    assert max(bench.fake.bulks) == 100


def test_an_entity_too_large_for_the_server_is_set_aside(bench: Bench) -> None:
    bench.fake.largest_bulk = 0
    assert bench.landings(*tables(2)) == [REJECTED, REJECTED]


def test_two_writers_that_met_try_with_halves(bench: Bench) -> None:
    bench.fake.script(
        "status", status=500, code="ATLAS-500-00-001", cause="o.j.PermanentLockingException", path="bulk"
    )
    assert set(bench.landings(*tables(50))) == {DONE}
    assert bench.fake.bulks == [50, 25, 25]


# ---- away ----------------------------------------------------------------------------------------------------------


def test_an_unanswered_bulk_is_unknown_and_nothing_is_sent_after_it(bench: Bench) -> None:
    bench.write(table(999))
    bench.fake.script("cut", path="bulk")
    landings = bench.landings(*tables(120))
    assert landings[:50] == [UNKNOWN] * 50
    assert landings[50:] == [LATER] * 70
    assert len(bench.fake.bulks) == 2
    assert bench.sink.batch_size == 25
    assert set(bench.landings(*tables(120))) == {DONE}


def test_a_delayed_effect_of_an_older_revision_is_seen_in_the_revision(bench: Bench) -> None:
    bench.write(table(revision=1))
    bench.fake.script("delay", path="bulk")
    assert bench.landings(table(revision=2, name="late")) == [UNKNOWN]
    assert bench.landings(table(revision=3, name="new")) == [DONE]
    bench.fake.settle()
    assert bench.sink.read_revisions([table().ref]) == {table().ref: 2}


@pytest.mark.parametrize("status", [502, 503, 504, 429])
def test_a_catalog_that_is_away_raises_when_nothing_was_written(bench: Bench, status: int) -> None:
    bench.write(table(999))
    bench.fake.script("status", status=status, times=99, headers={"retry-after": "3"})
    with pytest.raises(TransientError) as caught:
        bench.write(*tables(200))
    assert caught.value.retry_after == 3.0
    assert len(bench.fake.bulks) == 2


def test_a_catalog_that_goes_away_leaves_the_rest_for_later(bench: Bench) -> None:
    bench.write(table(999))
    bench.fake.script("status", status=503, skip=1, path="bulk")
    landings = bench.landings(*tables(120))
    assert landings[:50] == [DONE] * 50
    assert landings[50:] == [LATER] * 70


def test_a_server_that_breaks_on_everything_is_not_asked_on(bench: Bench) -> None:
    bench.write(table(999))
    bench.fake.script("status", status=500, times=9999)
    with pytest.raises(TransientError, match="HTTP 500"):
        bench.write(*tables(100))
    assert len(bench.fake.bulks) <= 11


def test_a_slow_catalog_ends_the_call_in_time(bench: Bench) -> None:
    bench.write(table(999))
    original = bench.fake.answer

    def slow(*args: Any) -> Any:
        bench.now += 6
        return original(*args)

    bench.fake.answer = slow  # type: ignore[method-assign]
    landed = bench.write(*tables(200))
    landings = [one.landing for one in landed]
    assert landings.count(DONE) == 50
    assert {one.retry_after for one in landed if one.landing is LATER} == {0}
    assert bench.fake.bulks == [1, 50]


def test_an_unreachable_catalog_raises() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    config = AtlasConfig.from_connection(ConnectionInfo(conn_id="c", host="http://atlas"))
    sink = AtlasSink(AtlasClient(config, httpx.MockTransport(refuse)), read_rows=lambda _: [])
    with pytest.raises(TransientError, match="no catalog at"):
        sink.write([table()])


def test_a_login_without_rights_stops_everything(bench: Bench) -> None:
    bench.write(table(999))
    bench.fake.script("status", status=403, code="ATLAS-403-00-001")
    with pytest.raises(TerminalError, match="may not"):
        bench.write(*tables(3))


# ---- reading -------------------------------------------------------------------------------------------------------


def test_revisions_are_read_in_few_calls(bench: Bench) -> None:
    rows = [*tables(150), incident(1, 7), incident(2, 8)]
    bench.write(*rows)
    bench.fake.calls.clear()
    absent = RowRef("acme", INCIDENT, "nobody")
    found = bench.sink.read_revisions([*(row.ref for row in rows), absent])
    assert found == {row.ref: row.revision for row in rows}
    assert len(bench.fake.calls) <= 5


def test_a_row_that_is_deleted_here_and_not_there_is_found(bench: Bench) -> None:
    bench.write(table(1, 6))
    bench.rows.clear()
    assert bench.sink.read_revisions([table(1).ref]) == {table(1).ref: 6}


def test_the_digest_tells_whether_a_write_would_say_anything_new(bench: Bench) -> None:
    before = bench.sink.entities([table(revision=1)])
    after = bench.sink.entities([table(revision=2)])
    assert before[table().ref].digest == after[table().ref].digest
