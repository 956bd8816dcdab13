"""Makes the schema files from the structs; a test holds the files to them.

``python -m airflow_provider_atlan_meta.schemas.generated`` writes them anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from airflow_provider_atlan_meta.core.changes import ChangeEvent
from airflow_provider_atlan_meta.core.events import MetadataEvent

FOLDER = Path(__file__).parent
STRUCTS: dict[str, type[msgspec.Struct]] = {
    "metadata_event.v1.json": MetadataEvent,
    "change_event.v1.json": ChangeEvent,
}


def schema_text(file: str) -> str:
    """What the file has to hold: JSON Schema 2020-12, keys in a fixed order."""
    struct = STRUCTS[file]
    (schema,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    definitions = dict(components)
    root: dict[str, Any] = definitions.pop(struct.__name__) if "$ref" in schema else schema
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:airflow-provider-atlan-meta:{file.removesuffix('.json')}",
        **root,
        **({"$defs": definitions} if definitions else {}),
    }
    return json.dumps(document, indent=2) + "\n"


def main() -> None:
    for file in STRUCTS:
        (FOLDER / file).write_text(schema_text(file))


if __name__ == "__main__":
    main()
