"""Our types: the proposal they began as, and how they grow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_atlan_meta.core.atlas_types import SECTIONS, TYPES, missing, names
from airflow_provider_atlan_meta.core.errors import TerminalError

PROPOSED = json.loads((Path(__file__).parents[2] / "fixtures/atlas/typedefs.request.json").read_text())


def there(types: Any = TYPES) -> dict[tuple[str, str], Any]:
    return {
        (section, entry["name"]): json.loads(json.dumps(entry))
        for section in SECTIONS
        for entry in types.get(section, ())
    }


def test_every_proposed_type_and_attribute_is_there() -> None:
    ours = there()
    for key, proposed in there(PROPOSED).items():
        attributes = {entry["name"]: entry["typeName"] for entry in ours[key].get("attributeDefs", ())}
        for entry in proposed.get("attributeDefs", ()):
            assert attributes[entry["name"]] == entry["typeName"]


def test_what_the_revision_stands_in_reaches_notifications() -> None:
    for name in ("mc_alert", "mc_dataset"):
        attributes = {entry["name"]: entry for entry in there()["entityDefs", name]["attributeDefs"]}
        assert attributes["revision"]["includeInNotification"] is True


def test_an_empty_catalog_gets_everything_and_a_full_one_nothing() -> None:
    changes = missing(TYPES, {})
    assert [(section, entry["name"]) for section in SECTIONS for entry in changes.create[section]] == list(
        names(TYPES)
    )
    assert missing(TYPES, there()).is_empty


def test_types_of_an_earlier_version_grow_and_lose_nothing() -> None:
    old = there(PROPOSED)
    old["entityDefs", "mc_alert"]["attributeDefs"].append({"name": "theirs", "typeName": "string"})
    old["enumDefs", "mc_alert_status"]["elementDefs"] = [
        {"ordinal": 3, "value": "FIXED"},
        {"ordinal": 7, "value": "ODD"},
    ]
    changes = missing(TYPES, old)
    assert [entry["name"] for entry in changes.create["entityDefs"]] == ["mc_dataset"]
    (grown,) = changes.update["entityDefs"]
    attributes = {entry["name"]: entry for entry in grown["attributeDefs"]}
    assert {"theirs", "revision", "url"} <= attributes.keys()
    (enum,) = changes.update["enumDefs"]
    assert enum["elementDefs"][:2] == [{"ordinal": 3, "value": "FIXED"}, {"ordinal": 7, "value": "ODD"}]
    assert {entry["value"] for entry in enum["elementDefs"]} >= {"NO_STATUS", "EXPECTED"}
    assert len({entry["ordinal"] for entry in enum["elementDefs"]}) == len(enum["elementDefs"])


def test_what_is_added_to_an_existing_type_is_optional() -> None:
    old = there()
    old["entityDefs", "mc_dataset"]["attributeDefs"] = []
    (grown,) = missing(TYPES, old).update["entityDefs"]
    assert all(entry["isOptional"] for entry in grown["attributeDefs"])


def test_an_attribute_of_another_type_stops_everything() -> None:
    old = there()
    old["entityDefs", "mc_alert"]["attributeDefs"][-1]["typeName"] = "string"
    with pytest.raises(TerminalError, match="mc_alert has attribute revision as string, long is needed"):
        missing(TYPES, old)
