"""The sandbox's Apache Atlas: what it answered survives a crash, and Kafka hears of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests
from confluent_kafka import Consumer, TopicPartition
from integration.waiting import wait_until

from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox

pytestmark = pytest.mark.integration

SECONDS = 30


class Catalog(requests.Session):
    """Atlas's REST interface."""

    def __init__(self, url: str, user: str, password: str) -> None:
        super().__init__()
        self.trust_env = False
        self.auth = (user, password)
        self._url = f"{url}/api/atlas/v2"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.request(method, f"{self._url}{path}", timeout=SECONDS, **options)

    def create(self, *entities: dict[str, Any]) -> dict[str, str]:
        """Guids by the entities' own temporary ones."""
        answer = self.ask("POST", "/entity/bulk", json={"entities": entities})
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["guidAssignments"])

    def guid(self, name: str) -> str | None:
        """By the graph."""
        answer = self.ask("GET", f"/entity/uniqueAttribute/type/DataSet?attr:qualifiedName={name}")
        return str(answer.json()["entity"]["guid"]) if answer.status_code == 200 else None

    def found(self, prefix: str) -> set[str]:
        """By the index."""
        starts = {"attributeName": "qualifiedName", "operator": "startsWith", "attributeValue": prefix}
        body = {
            "typeName": "DataSet",
            "limit": 1000,
            "entityFilters": {"condition": "AND", "criterion": [starts]},
        }
        answer = self.ask("POST", "/search/basic", json=body)
        assert answer.status_code == 200, answer.text
        return {entity["attributes"]["qualifiedName"] for entity in answer.json().get("entities", ())}


def dataset(name: str, guid: str = "-1") -> dict[str, Any]:
    return {"typeName": "DataSet", "guid": guid, "attributes": {"qualifiedName": name, "name": name}}


@pytest.fixture(scope="module")
def box(sandbox: Sandbox) -> Iterator[Sandbox]:
    before = sandbox.is_running("atlas")
    sandbox.up(["atlas"])
    yield sandbox
    if not before:
        sandbox.stop("atlas")


@pytest.fixture
def catalog(box: Sandbox) -> Iterator[Catalog]:
    fields = box.fields()
    with Catalog(*(str(fields[name]) for name in ("atlas_url", "atlas_user", "atlas_password"))) as made:
        yield made


@pytest.fixture
def prefix() -> str:
    return f"t{uuid4().hex}"


def test_what_it_acknowledged_before_a_crash_is_in_the_graph_and_in_the_index(
    box: Sandbox, catalog: Catalog, prefix: str
) -> None:
    acknowledged: list[str] = []

    def write() -> None:
        for number in range(10_000):
            name = f"{prefix}-{number}"
            try:
                catalog.create(dataset(name))
            except requests.RequestException:
                return
            acknowledged.append(name)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: len(acknowledged) >= 10, SECONDS, "ten entities")
    finally:
        box.kill("atlas")
        writer.join()
    box.start("atlas")

    assert [name for name in acknowledged if catalog.guid(name) is None] == []
    assert set(acknowledged) - catalog.found(prefix) == set()


def test_types_made_after_a_crash_are_searched_by_their_attributes(
    box: Sandbox, catalog: Catalog, prefix: str
) -> None:
    box.kill("atlas")
    box.start("atlas")
    rows = {
        "name": "rows",
        "typeName": "long",
        "cardinality": "SINGLE",
        "isOptional": True,
        "isIndexable": True,
    }
    kind = {"name": prefix, "superTypes": ["DataSet"], "attributeDefs": [rows]}
    made = catalog.ask("POST", "/types/typedefs", json={"entityDefs": [kind]})
    assert made.status_code == 200, made.text
    attributes = {"qualifiedName": prefix, "name": prefix, "rows": 7}
    catalog.create({"typeName": prefix, "guid": "-1", "attributes": attributes})

    many = {"attributeName": "rows", "operator": "gte", "attributeValue": "3"}
    body = {"typeName": prefix, "entityFilters": {"condition": "AND", "criterion": [many]}}
    answer = catalog.ask("POST", "/search/basic", json=body).json()
    assert [entity["attributes"]["rows"] for entity in answer.get("entities", ())] == [7]


def test_a_process_is_the_lineage_between_its_ends(catalog: Catalog, prefix: str) -> None:
    ends = {
        "inputs": [{"guid": "-1", "typeName": "DataSet"}],
        "outputs": [{"guid": "-2", "typeName": "DataSet"}],
    }
    attributes = {"qualifiedName": f"{prefix}-p", "name": "p", **ends}
    process = {"typeName": "Process", "guid": "-3", "attributes": attributes}
    guids = catalog.create(dataset(f"{prefix}-a"), dataset(f"{prefix}-b", "-2"), process)

    relations = catalog.ask("GET", f"/lineage/{guids['-1']}").json()["relations"]

    ends_of = {(relation["fromEntityId"], relation["toEntityId"]) for relation in relations}
    assert ends_of == {(guids["-1"], guids["-3"]), (guids["-3"], guids["-2"])}


def test_kafka_is_told_of_an_entity(box: Sandbox, catalog: Catalog, prefix: str) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": box.fields()["kafka_bootstrap"],
            "group.id": prefix,
            "enable.auto.commit": False,
        }
    )
    try:
        _, high = consumer.get_watermark_offsets(TopicPartition("ATLAS_ENTITIES", 0), timeout=SECONDS)
        consumer.assign([TopicPartition("ATLAS_ENTITIES", 0, high)])
        guid = catalog.create(dataset(prefix))["-1"]
        message = consumer.poll(SECONDS)
        assert message is not None
        assert message.error() is None
        told = json.loads(message.value())["message"]
    finally:
        consumer.close()
    assert (told["operationType"], told["entity"]["guid"]) == ("ENTITY_CREATE", guid)
    assert told["entity"]["attributes"]["qualifiedName"] == prefix


def test_another_password_is_refused(box: Sandbox) -> None:
    with Catalog(str(box.fields()["atlas_url"]), "admin", "admin") as stranger:
        assert stranger.ask("GET", "/types/typedefs/headers").status_code == 401
