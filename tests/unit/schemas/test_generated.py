"""The committed schemas are those of the structs, and the golden records satisfy them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from airflow_provider_atlan_meta.schemas.generated import FOLDER, STRUCTS, schema_text

FIXTURES = Path(__file__).parents[2] / "fixtures"
GOLDEN = {
    "metadata_event.v1.json": FIXTURES / "montecarlo" / "golden_records.json",
    "change_event.v1.json": FIXTURES / "changes" / "golden_records.json",
}


@pytest.mark.parametrize("file", STRUCTS)
def test_the_committed_schema_is_the_generated_one(file: str) -> None:
    assert (FOLDER / file).read_text() == schema_text(file), (
        "run python -m airflow_provider_atlan_meta.schemas.generated"
    )


def test_every_schema_file_belongs_to_a_struct() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == set(STRUCTS)


@pytest.mark.parametrize("file", GOLDEN)
def test_golden_records_satisfy_the_schema(file: str) -> None:
    validator = jsonschema.Draft202012Validator(json.loads((FOLDER / file).read_text()))
    for record in json.loads(GOLDEN[file].read_text())["records"]:
        validator.validate(json.loads(record["value"]))
