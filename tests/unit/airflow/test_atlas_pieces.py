"""AtlasEntityOperator, AtlasEntitySensor and AtlasEntityTrigger on a catalog over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from contract.catalog_server import serving

from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError, TerminalError
from airflow_provider_atlan_meta.operators.atlas import AtlasEntityOperator
from airflow_provider_atlan_meta.sensors.atlas import AtlasEntitySensor
from airflow_provider_atlan_meta.testing.atlas_server import FakeAtlas
from airflow_provider_atlan_meta.triggers.atlas_entity import AtlasEntityTrigger

ORDERS: dict[str, Any] = {"typeName": "DataSet", "attributes": {"qualifiedName": "orders", "name": "n"}}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAtlas]:
    made = FakeAtlas()
    with serving(made) as url:
        connection = {"conn_type": "atlan_meta_atlas", "host": url, "login": "admin", "password": "admin"}
        monkeypatch.setenv("AIRFLOW_CONN_ATLAN_META_ATLAS_DEFAULT", json.dumps(connection))
        yield made


def write(*entities: dict[str, Any]) -> dict[str, str]:
    return AtlasEntityOperator(task_id="write", entities=entities).execute({})  # type: ignore[typeddict-item]


def sensor(**fields: Any) -> AtlasEntitySensor:
    given = {"type_name": "DataSet", "qualified_name": "orders"} | fields
    return AtlasEntitySensor(task_id="wait", **given)


def first_event(trigger: AtlasEntityTrigger) -> Any:
    async def look() -> Any:
        async with asyncio.timeout(20):
            async for event in trigger.run():
                return event.payload

    return asyncio.run(look())


# ---- operator ------------------------------------------------------------------------------------------------------


def test_entities_are_written_and_named_by_guid(fake: FakeAtlas) -> None:
    guids = write(ORDERS)
    stored = fake.entity("orders")
    assert stored is not None
    assert guids == {"orders": stored["guid"]}
    assert write(ORDERS) == guids
    assert len(fake.store.notifications) == 1


def test_lineage_is_written_between_entities_of_one_task(fake: FakeAtlas) -> None:
    guids = write(ORDERS, {"typeName": "Process", "attributes": {"qualifiedName": "p", "name": "p"}})
    assert guids.keys() == {"orders", "p"}


def test_one_that_is_refused_leaves_nothing_behind(fake: FakeAtlas) -> None:
    with pytest.raises(RejectedError, match="ATLAS-404-00-007"):
        write(ORDERS, {"typeName": "DataSet", "attributes": {"qualifiedName": "nameless"}})
    assert fake.entity("orders") is None


def test_what_the_catalog_cannot_be_told_is_refused_before(fake: FakeAtlas) -> None:
    with pytest.raises(ConfigurationError, match="write 1 to 100"):
        write(*[ORDERS] * 101)
    with pytest.raises(ConfigurationError, match="qualifiedName"):
        write({"typeName": "DataSet", "attributes": {}})
    assert fake.calls == []


# ---- sensor --------------------------------------------------------------------------------------------------------


def test_an_entity_that_is_there_is_found_without_deferring(fake: FakeAtlas) -> None:
    guids = write(ORDERS)
    assert sensor(attributes={"name": "n"}).execute({}) == guids["orders"]  # type: ignore[typeddict-item]


def test_one_that_is_not_there_defers_to_the_trigger(fake: FakeAtlas) -> None:
    with pytest.raises(TaskDeferred) as caught:
        sensor(timeout=60).execute({})  # type: ignore[typeddict-item]
    assert isinstance(caught.value.trigger, AtlasEntityTrigger)
    assert caught.value.timeout is not None
    assert caught.value.timeout.total_seconds() == 60


def test_the_triggers_event_is_the_guid_or_the_end() -> None:
    context: Any = {}
    assert sensor().execute_complete(context, {"guid": "g"}) == "g"
    with pytest.raises(TerminalError, match="no such login"):
        sensor().execute_complete(context, {"error": "no such login"})


def test_a_deleted_entity_and_other_values_are_waited_out(fake: FakeAtlas) -> None:
    write(ORDERS)
    context: Any = {}
    assert sensor(attributes={"name": "other"}, deferrable=False).poke(context).is_done is False
    fake.store.delete("DataSet", "qualifiedName", "orders")
    assert sensor(deferrable=False).poke(context).is_done is False


def test_a_catalog_that_is_away_is_looked_at_again(fake: FakeAtlas) -> None:
    fake.script("status", status=503)
    context: Any = {}
    assert sensor(deferrable=False).poke(context).is_done is False


# ---- trigger -------------------------------------------------------------------------------------------------------


def trigger(**fields: Any) -> AtlasEntityTrigger:
    given = {"type_name": "DataSet", "qualified_name": "orders", "poll_seconds": 0.01} | fields
    return AtlasEntityTrigger(**given)


def test_the_trigger_survives_storage_and_arguments_of_another_version() -> None:
    path, kwargs = trigger(attributes={"name": "n"}).serialize()
    assert path.endswith(".AtlasEntityTrigger")
    again = AtlasEntityTrigger(**json.loads(json.dumps(kwargs)), of_tomorrow=1)
    assert again.serialize() == (path, kwargs)


def test_the_trigger_waits_through_outages_for_the_entity(fake: FakeAtlas) -> None:
    guids = write(ORDERS)
    fake.script("status", status=503)
    fake.script("status", status=404, code="ATLAS-404-00-009")
    assert first_event(trigger()) == {"guid": guids["orders"]}


def test_the_trigger_ends_where_looking_on_is_of_no_use(fake: FakeAtlas) -> None:
    fake.script("status", status=403, code="ATLAS-403-00-001")
    assert "may not" in first_event(trigger())["error"]
    assert "nobody_knows" in first_event(trigger(atlas_conn_id="nobody_knows"))["error"]
