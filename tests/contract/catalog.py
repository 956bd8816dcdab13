"""What the Atlas sink relies on in every catalog: inherit, and give a ``bench`` fixture."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from airflow_provider_atlan_meta.clients.atlas import AtlasClient
from airflow_provider_atlan_meta.clients.atlas_config import AtlasConfig
from airflow_provider_atlan_meta.clients.atlas_entities import AtlasSink
from airflow_provider_atlan_meta.core.atlas_errors import Fault
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS
from airflow_provider_atlan_meta.core.stores import ENTITY, INCIDENT, Landing, RowRef, StateRow

DONE, LATER, REJECTED = Landing.DONE, Landing.LATER, Landing.REJECTED


class CatalogBench:
    """A catalog and a tenant of the test's own, so that tests may share a server."""

    def __init__(self, config: AtlasConfig) -> None:
        self.config = config
        self.tenant = f"t{uuid4().hex[:12]}"
        self.client = AtlasClient(config)
        self.sink = AtlasSink(self.client, read_rows=self.read, write_seconds=60)
        self.rows: dict[RowRef, StateRow] = {}

    def read(self, refs: Sequence[RowRef]) -> Iterable[StateRow]:
        return [self.rows[ref] for ref in refs if ref in self.rows]

    def table(self, called: str = "orders", revision: int = 1, **values: Any) -> StateRow:
        told = {
            "qualified_name": f"db.sales.{called}@prod",
            "type_name": "table",
            "name": called,
            "platform": "snowflake",
            "database_name": "db",
            "schema_name": "sales",
        }
        ref = RowRef(self.tenant, ENTITY, str(UUID(int=hash((self.tenant, called)) & (1 << 64) - 1)))
        row = self.rows[ref] = StateRow(ref, revision, told | values, 0)
        return row

    def incident(
        self, number: str = "1", revision: int = 1, entities: Sequence[StateRow] = (), **values: Any
    ) -> StateRow:
        told = dict.fromkeys(INCIDENT_FIELDS) | {"type": "anomaly", "title": "Too few rows"} | values
        told["entity_ids"] = [UUID(row.ref.id) for row in entities]
        return StateRow(RowRef(self.tenant, INCIDENT, f"i-{number}"), revision, told, 0)

    def write(self, *rows: StateRow) -> list[Landing]:
        return [landed.landing for landed in self.sink.write(rows)]

    def alert(self, number: str = "1") -> dict[str, Any]:
        found = self.client.entity("mc_alert", f"mc_alert://i-{number}@{self.tenant}")
        assert found is not None
        return found

    def dataset(self, name: str = "orders") -> dict[str, Any] | None:
        return self.client.entity("DataSet", f"db.sales.{name}@prod@{self.tenant}")

    def linked(self, number: str = "1") -> list[str]:
        """guids of the living entities an alert is linked to."""
        links = self.alert(number)["relationshipAttributes"]["affectedDatasets"]
        # real servers tell the whole reference, and of removed ones too
        told = [one if isinstance(one, dict) else {"guid": one} for one in links]
        return sorted(one["guid"] for one in told if one.get("relationshipStatus", "ACTIVE") == "ACTIVE")

    def mutated(self, *rows: StateRow) -> bool:
        """Writes by hand and asks whether anything changed."""
        from airflow_provider_atlan_meta.core.atlas import bulk_body

        entities = list(self.sink.entities(rows).values())
        answer = self.client.send("POST", "/entity/bulk", body=bulk_body(entities, self.config.dialect))
        assert answer.verdict is None
        return bool(answer.document.get("mutatedEntities"))


class CatalogContract:
    def test_types_are_made_once(self, bench: CatalogBench) -> None:
        bench.client.ensure_types()
        assert bench.client.ensure_types() is False
        assert "ours among them" in bench.client.describe()

    def test_types_grow_and_keep_what_others_added(self, bench: CatalogBench) -> None:
        name = f"mc_test_{uuid4().hex[:8]}"

        def client(*attributes: str) -> AtlasClient:
            kind = {
                "name": name,
                "superTypes": ["DataSet"],
                "attributeDefs": [
                    {"name": one, "typeName": "string", "isOptional": True, "cardinality": "SINGLE"}
                    for one in attributes
                ],
            }
            values = [{"ordinal": at, "value": one} for at, one in enumerate(attributes)]
            enum = {"name": f"{name}_enum", "elementDefs": values}
            types = {"entityDefs": [kind], "enumDefs": [enum]}
            return AtlasClient(replace(bench.config, dialect=replace(bench.config.dialect, types=types)))

        with client("one") as first, client("one", "two") as second, client("three") as third:
            assert [first.ensure_types(), second.ensure_types(), third.ensure_types()] == [True] * 3
            assert third.ensure_types() is False
            assert second.ensure_types() is False
            there = first.call("GET", f"/types/entitydef/name/{name}")
        assert {one["name"] for one in there["attributeDefs"]} == {"one", "two", "three"}

    def test_an_incident_and_its_entity_go_in_one_bulk(self, bench: CatalogBench) -> None:
        orders = bench.table(revision=3)
        landed = bench.sink.write([orders, bench.incident(revision=4, entities=[orders], status="FIXED")])
        assert [one.landing for one in landed] == [DONE, DONE]
        assert bench.alert()["attributes"]["revision"] == 4
        assert bench.alert()["attributes"]["status"] == "FIXED"
        assert bench.alert()["guid"] == landed[1].external_id
        assert bench.linked() == [landed[0].external_id]

    def test_an_incident_finds_an_entity_that_is_there(self, bench: CatalogBench) -> None:
        orders = bench.table()
        bench.write(orders)
        assert bench.write(bench.incident(entities=[orders])) == [DONE]
        assert len(bench.linked()) == 1

    def test_what_is_null_is_cleared(self, bench: CatalogBench) -> None:
        bench.write(bench.incident(owner="ada@example.com", severity="SEV-1", status="FIXED"))
        bench.write(bench.incident(revision=2))
        attributes = bench.alert()["attributes"]
        assert [attributes[name] for name in ("owner", "severity", "status", "revision")] == [
            *(None, None, None),
            2,
        ]

    def test_a_time_that_is_null_is_kept_as_0_and_taken_for_a_change(self, bench: CatalogBench) -> None:
        bench.client.ensure_types()
        told = {"qualifiedName": f"x@{bench.tenant}", "name": "x", "alertId": "x", "alertType": "x"}
        changes = []
        for resolved in (0, 0, None, None):
            one = {"typeName": "mc_alert", "guid": "-1", "attributes": told | {"resolvedAt": resolved}}
            answer = bench.client.send("POST", "/entity/bulk", body={"entities": [one]})
            changes.append(list(answer.document.get("mutatedEntities") or ()))
        assert changes == [["CREATE"], [], ["UPDATE"], ["UPDATE"]]
        found = bench.client.entity("mc_alert", f"x@{bench.tenant}")
        assert found is not None
        assert found["attributes"]["resolvedAt"] == 0

    def test_links_are_replaced_as_a_whole(self, bench: CatalogBench) -> None:
        one, two = bench.table("one"), bench.table("two")
        guids = {
            row.ref: landed.external_id
            for row, landed in zip([one, two], bench.sink.write([one, two]), strict=True)
        }
        bench.write(bench.incident(entities=[one]))
        bench.write(bench.incident(revision=2, entities=[two]))
        assert bench.linked() == [guids[two.ref]]
        bench.write(bench.incident(revision=3))
        assert bench.linked() == []

    def test_the_same_again_changes_nothing(self, bench: CatalogBench) -> None:
        rows = [bench.table(), bench.incident(entities=[bench.table()], status="FIXED", owner="ada")]
        bench.write(*rows)
        assert bench.mutated(*rows) is False
        assert bench.mutated(rows[0]._replace(revision=2)) is True

    def test_an_older_revision_is_not_refused(self, bench: CatalogBench) -> None:
        bench.write(bench.table(revision=5))
        bench.write(bench.table(revision=4))
        assert bench.sink.read_revisions([bench.table().ref]) == {bench.table().ref: 4}

    def test_a_reference_to_what_is_not_there_waits(self, bench: CatalogBench) -> None:
        absent = bench.table("absent")
        rows = [bench.incident("1"), bench.incident("2", entities=[absent]), bench.incident("3")]
        landed = bench.sink.write(rows)
        assert [one.landing for one in landed] == [DONE, LATER, DONE]
        assert landed[1].reason.startswith("ATLAS-404-00-00A")

    def test_a_bad_entity_lands_alone(self, bench: CatalogBench) -> None:
        rows = [bench.table(f"t{number}") for number in range(8)]
        rows[5] = bench.table("t5", name=None)
        landed = bench.sink.write(rows)
        assert [at for at, one in enumerate(landed) if one.landing is REJECTED] == [5]
        assert landed[5].reason.startswith("ATLAS-404-00-007")
        assert {one.landing for one in landed} == {DONE, REJECTED}

    def test_a_type_the_catalog_does_not_know_is_refused(self, bench: CatalogBench) -> None:
        (landed,) = bench.sink.write([bench.table(type_name="no_such_type")])
        assert (landed.landing, landed.reason[:16]) == (REJECTED, "ATLAS-400-00-014")

    @pytest.mark.parametrize(
        "attributes", [{"status": "SNOOZED"}, {"revision": "seven"}], ids=["enum", "number"]
    )
    def test_a_value_of_another_type_is_refused(
        self, bench: CatalogBench, attributes: dict[str, Any]
    ) -> None:
        bench.client.ensure_types()
        told = {"qualifiedName": f"x@{bench.tenant}", "name": "x", "alertId": "x", "alertType": "x"}
        body = {"entities": [{"typeName": "mc_alert", "guid": "-1", "attributes": told | attributes}]}
        answer = bench.client.send("POST", "/entity/bulk", body=body)
        assert answer.verdict is not None
        assert answer.verdict.fault is Fault.POISON

    def test_an_attribute_the_type_has_not_is_left_out(self, bench: CatalogBench) -> None:
        told = {"qualifiedName": f"x@{bench.tenant}", "name": "x", "nobody_knows": 1}
        body = {"entities": [{"typeName": "DataSet", "guid": "-1", "attributes": told}]}
        assert bench.client.send("POST", "/entity/bulk", body=body).verdict is None
        found = bench.client.entity("DataSet", f"x@{bench.tenant}")
        assert found is not None
        assert "nobody_knows" not in found["attributes"]

    def test_deletes_free_the_name(self, bench: CatalogBench) -> None:
        orders, alert = bench.table(), bench.incident()
        first, _ = bench.sink.write([orders, alert])
        gone = [orders._replace(values=None, revision=2), alert._replace(values=None, revision=2)]
        assert bench.write(*gone) == [DONE, DONE]
        assert bench.write(*gone) == [DONE, DONE]
        assert bench.sink.read_revisions([orders.ref, alert.ref]) == {}
        (again,) = bench.sink.write([orders._replace(revision=3)])
        assert again.landing is DONE
        assert again.external_id != first.external_id

    def test_other_peoples_custom_attributes_stay(self, bench: CatalogBench) -> None:
        name = f"db.sales.theirs@prod@{bench.tenant}"
        theirs = {"typeName": "DataSet", "guid": "-1", "attributes": {"qualifiedName": name, "name": "x"}}
        body = {"entities": [theirs | {"customAttributes": {"steward": "ada"}}]}
        assert bench.client.send("POST", "/entity/bulk", body=body).verdict is None
        row = bench.table("theirs", revision=7, type_name="DataSet")
        assert bench.write(row) == [DONE]
        found = bench.client.entity("DataSet", name)
        assert found is not None
        assert found["customAttributes"]["steward"] == "ada"
        assert bench.sink.read_revisions([row.ref]) == {row.ref: 7}

    def test_names_and_texts_are_kept_as_they_are(self, bench: CatalogBench) -> None:
        odd = 'a b/c?d=e&f;g%h+"i"\'ü😀'
        row = bench.table(odd, revision=9)
        assert bench.write(row, bench.incident(title=odd * 40)) == [DONE, DONE]
        assert bench.sink.read_revisions([row.ref]) == {row.ref: 9}
        found = bench.dataset(odd)
        assert found is not None
        assert found["attributes"]["name"] == odd
        assert bench.alert()["attributes"]["name"] == odd * 40

    def test_many_revisions_are_read_at_once(self, bench: CatalogBench) -> None:
        rows = [bench.table(f"many_{number}", revision=number) for number in range(120)]
        assert set(bench.write(*rows)) == {DONE}
        assert bench.sink.read_revisions([row.ref for row in rows]) == {row.ref: row.revision for row in rows}

    def test_two_writers_of_one_entitys_links_both_end_with_everything_written(
        self, bench: CatalogBench
    ) -> None:
        orders = bench.table()
        bench.write(orders)
        rows = [bench.incident(str(number), entities=[orders]) for number in range(40)]
        failures: list[BaseException] = []

        def write(left: list[StateRow]) -> None:
            try:
                with AtlasClient(bench.config) as client:
                    sink = AtlasSink(client, read_rows=bench.read, write_seconds=60)
                    deadline = time.monotonic() + 60
                    while left:
                        assert time.monotonic() < deadline
                        landed = {one.ref: one.landing for one in sink.write(left)}
                        assert set(landed.values()) <= {DONE, LATER}
                        left = [row for row in left if landed[row.ref] is not DONE]
            except BaseException as error:
                failures.append(error)

        writers = [threading.Thread(target=write, args=(rows[half::2],)) for half in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert failures == []
        assert bench.sink.read_revisions([row.ref for row in rows]) == {row.ref: 1 for row in rows}
        dataset = bench.dataset()
        assert dataset is not None
        assert len(dataset["relationshipAttributes"]["mcAlerts"]) == len(rows)

    def test_a_wrong_login_is_refused(self, bench: CatalogBench) -> None:
        with (
            AtlasClient(replace(bench.config, password="wrong")) as client,
            pytest.raises(ConfigurationError, match="login"),
        ):
            client.describe()
