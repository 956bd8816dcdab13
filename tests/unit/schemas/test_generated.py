"""The committed schemas are those of the structs, and the golden records satisfy them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from airflow_provider_atlan_meta.schemas.generated import FOLDER, STRUCTS, schema_text

GOLDEN = Path(__file__).parents[2] / "fixtures" / "montecarlo" / "golden_records.json"


@pytest.mark.parametrize("file", STRUCTS)
def test_the_committed_schema_is_the_generated_one(file: str) -> None:
    assert (FOLDER / file).read_text() == schema_text(file), (
        "run python -m airflow_provider_atlan_meta.schemas.generated"
    )


def test_every_schema_file_belongs_to_a_struct() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == set(STRUCTS)


def test_golden_records_satisfy_the_schema() -> None:
    schema = json.loads((FOLDER / "metadata_event.v1.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for record in json.loads(GOLDEN.read_text())["records"]:
        validator.validate(json.loads(record["value"]))
