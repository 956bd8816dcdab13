"""What a catalog is told of a row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_atlan_meta.core.atlas import (
    BatchSize,
    CatalogEntity,
    CatalogNaming,
    Target,
    apart,
    bulk_body,
    catalog_entity,
    linked_refs,
    newest,
    revision_of,
)
from airflow_provider_atlan_meta.core.atlas_dialects import ATLAN, ATLAS
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS
from airflow_provider_atlan_meta.core.stores import ENTITY, INCIDENT, RowRef, StateRow

ORDERS = UUID("00000000-0000-0000-0000-000000000001")
OPENED = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
NAMES = CatalogNaming()
ATLAN_NAMES = CatalogNaming(dialect=ATLAN, suffix="", incident_connection="default/monte-carlo/1700000100")
FIXTURES = Path(__file__).parents[2] / "fixtures" / "atlas"


def incident(number: str = "i-1", revision: int = 1, tenant: str = "acme", **values: Any) -> StateRow:
    told = dict.fromkeys(INCIDENT_FIELDS) | {"entity_ids": []} | values
    return StateRow(RowRef(tenant, INCIDENT, number), revision, told, 0)


def table(
    name: str = "orders", revision: int = 1, tenant: str = "acme", entity: UUID = ORDERS, **values: Any
) -> StateRow:
    told = {
        "qualified_name": f"analytics.sales.{name}@prod",
        "type_name": "table",
        "name": name,
        "platform": "snowflake",
        "database_name": "analytics",
        "schema_name": "sales",
    }
    return StateRow(RowRef(tenant, ENTITY, str(entity)), revision, told | values, 0)


def told(row: StateRow, *others: StateRow, naming: CatalogNaming = NAMES) -> CatalogEntity:
    entity = catalog_entity(row, naming, {other.ref: other for other in others})
    assert entity is not None
    return entity


def attributes(row: StateRow, naming: CatalogNaming = NAMES) -> dict[str, Any]:
    return dict(told(row, naming=naming).attributes or {})


# ---- names ---------------------------------------------------------------------------------------------------------


def test_the_same_incident_of_two_tenants_is_two_entities() -> None:
    assert told(incident(tenant="acme")).target == Target("mc_alert", "mc_alert://i-1@acme")
    assert told(incident(tenant="other")).target.value == "mc_alert://i-1@other"


def test_an_entity_keeps_its_mapped_name_behind_which_the_tenant_stands() -> None:
    assert told(table()).target == Target("mc_dataset", "analytics.sales.orders@prod@acme")


def test_a_suffix_of_ones_own_lets_entities_be_those_of_another_crawler() -> None:
    named = told(table(type_name="rdbms_table"), naming=CatalogNaming(suffix=""))
    assert named.target == Target("rdbms_table", "analytics.sales.orders@prod")


def test_a_suffix_that_names_what_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="tenant"):
        CatalogNaming(suffix="@{cluster}")


def test_atlan_takes_incidents_only_where_its_connection_is_named() -> None:
    assert catalog_entity(incident(), CatalogNaming(dialect=ATLAN, suffix=""), {}) is None
    assert told(incident(), naming=ATLAN_NAMES).target == Target(
        "MCIncident", "default/monte-carlo/1700000100/incident/i-1"
    )


def test_atlan_has_no_place_for_a_table_that_nobody_has_mapped() -> None:
    assert catalog_entity(table(qualified_name="mc:acc:sales.orders"), ATLAN_NAMES, {}) is None
    assert told(table(qualified_name="mc:acc:sales.orders")).target.type_name == "mc_dataset"


# ---- values --------------------------------------------------------------------------------------------------------


def test_an_incident_tells_all_its_fields_and_clears_what_it_has_not() -> None:
    row = incident(
        type="anomaly", title="Too few rows", status="FIXED", opened_at=OPENED, owner="ada@example.com"
    )
    assert attributes(row) == {
        "qualifiedName": "mc_alert://i-1@acme",
        "name": "Too few rows",
        "owner": "ada@example.com",
        "alertId": "i-1",
        "alertType": "anomaly",
        "severity": None,
        "priority": None,
        "status": "FIXED",
        "statusText": "FIXED",
        "source": None,
        "url": None,
        "openedAt": 1795597200000,
        "updatedAt": 0,
        "resolvedAt": 0,
        "tenant": "acme",
    }


def test_a_status_the_type_does_not_know_is_kept_as_text() -> None:
    told_of = attributes(incident(status="SNOOZED"))
    assert (told_of["status"], told_of["statusText"]) == (None, "SNOOZED")


def test_what_is_mandatory_in_the_catalog_is_never_empty() -> None:
    assert attributes(incident())["name"] == "i-1"
    assert attributes(incident())["alertType"] == "unknown"


def test_another_crawlers_entity_gets_its_name_and_our_revision_and_nothing_else() -> None:
    body = bulk_body([told(table(type_name="rdbms_table", revision=7))], ATLAS)
    (document,) = body["entities"]
    assert document["attributes"].keys() == {"qualifiedName", "name"}
    assert document["customAttributes"] == {"atlan_meta_revision": "7", "atlan_meta_tenant": "acme"}


def test_atlans_incident_has_the_shape_its_own_crawler_writes() -> None:
    sample = json.loads((FIXTURES / "atlan_mcincident.request.json").read_text())["entities"][0]
    orders = table(qualified_name="default/snowflake/1700000000/ANALYTICS/SALES/ORDERS")
    row = incident(type="ANOMALIES", title="Volume anomaly", priority="P2", entity_ids=[ORDERS])
    (document,) = bulk_body([told(row, orders, naming=ATLAN_NAMES)], ATLAN)["entities"]
    assert document["typeName"] == sample["typeName"]
    assert document["relationshipAttributes"] == sample["relationshipAttributes"]
    known = {*sample["attributes"], "mcIncidentSeverity"}
    assert document["attributes"].keys() <= known
    assert document["attributes"]["connectorName"] == "monte-carlo"


# ---- links ---------------------------------------------------------------------------------------------------------


def test_an_incident_names_its_entities_by_unique_attribute() -> None:
    (document,) = bulk_body([told(incident(entity_ids=[ORDERS]), table())], ATLAS)["entities"]
    assert document["relationshipAttributes"]["affectedDatasets"] == [
        {
            "typeName": "mc_dataset",
            "uniqueAttributes": {"qualifiedName": "analytics.sales.orders@prod@acme"},
            "relationshipType": "mc_alert_datasets",
        }
    ]


def test_what_stands_in_the_same_request_is_named_by_the_requests_own_guid() -> None:
    row = incident(entity_ids=[ORDERS])
    documents = bulk_body([told(table()), told(row, table())], ATLAS)["entities"]
    assert documents[0]["guid"] == "-1"
    assert documents[1]["relationshipAttributes"]["affectedDatasets"][0]["guid"] == "-1"


def test_an_entity_that_is_gone_is_not_linked() -> None:
    gone = table()._replace(values=None)
    assert told(incident(entity_ids=[ORDERS]), gone).links == ()
    assert told(incident(entity_ids=[ORDERS])).links == ()


def test_the_entities_to_read_are_named_once() -> None:
    rows = [incident("a", entity_ids=[ORDERS]), incident("b", entity_ids=[ORDERS]), table()]
    assert linked_refs(rows) == [table().ref]


# ---- deletes -------------------------------------------------------------------------------------------------------


def test_a_deleted_row_is_found_by_what_its_ref_says() -> None:
    gone = told(table()._replace(values=None, revision=5))
    assert (gone.target, gone.attributes) == (Target("mc_dataset", str(ORDERS), "entityId"), None)
    assert told(incident()._replace(values=None)).target.value == "mc_alert://i-1@acme"
    assert catalog_entity(table()._replace(values=None), ATLAN_NAMES, {}) is None


# ---- many rows -----------------------------------------------------------------------------------------------------


def test_of_several_revisions_the_newest_is_written_whatever_the_order() -> None:
    rows = [incident("a", 3), incident("b", 1), incident("a", 2), incident("b", 4)]
    assert [(row.ref.id, row.revision) for row in newest(rows)] == [("a", 3), ("b", 4)]


def test_two_rows_that_share_a_name_are_never_in_one_request() -> None:
    shared = CatalogNaming(suffix="")
    rows = [
        told(table(tenant=tenant, type_name="rdbms_table"), naming=shared) for tenant in ("acme", "other")
    ]
    assert apart([*rows, told(incident())]) == [[rows[0], told(incident())], [rows[1]]]


def test_equal_content_has_the_same_digest_whatever_the_revision() -> None:
    one = told(incident(entity_ids=[ORDERS]), table())
    assert told(incident(revision=9, entity_ids=[ORDERS]), table()).digest == one.digest
    assert told(incident(entity_ids=[ORDERS])).digest != one.digest
    assert told(incident(title="x", entity_ids=[ORDERS]), table()).digest != one.digest
    assert -(1 << 63) <= one.digest < 1 << 63


@pytest.mark.parametrize(
    ("document", "revision"),
    [
        ({"attributes": {"revision": 7}}, 7),
        ({"attributes": {}, "customAttributes": {"atlan_meta_revision": "8"}}, 8),
        ({"attributes": {"revision": 7}, "status": "DELETED"}, None),
        ({"attributes": {"revision": "seven"}}, None),
        ({"attributes": None}, None),
    ],
)
def test_an_entity_says_which_revision_it_is(document: dict[str, Any], revision: int | None) -> None:
    assert revision_of(document) == revision


def test_a_bulk_shrinks_by_halves_to_one_and_grows_to_the_largest() -> None:
    size = BatchSize(ATLAS)
    for _ in range(9):
        size.shrink()
    assert size.limit == 1
    for _ in range(44):
        size.succeed()
    assert size.limit == ATLAS.largest_batch


def test_times_are_milliseconds_whatever_their_zone() -> None:
    elsewhere = OPENED.astimezone(datetime.now().astimezone().tzinfo) + timedelta(microseconds=400)
    assert attributes(incident(opened_at=elsewhere))["openedAt"] == 1795597200000
