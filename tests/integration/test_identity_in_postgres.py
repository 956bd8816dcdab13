"""PostgreSQL makes the same keys as core/identity.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.sandbox.isolation import Database

pytestmark = pytest.mark.integration

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "identity.json").read_text()
)


def test_hash128_is_golden_in_postgresql(database: Database) -> None:
    with psycopg.connect(database.dsn(database.ingest)) as connection:
        for vector in VECTORS["hash128"]:
            row = connection.execute(
                "select meta.hash128(variadic %s::text[])", (vector["parts"],)
            ).fetchone()
            assert row == (UUID(vector["uuid"]),), vector["parts"]


def test_a_change_message_carries_the_change_id_of_its_row(database: Database) -> None:
    incident = "Zoë|😀"
    with psycopg.connect(database.dsn(database.admin), autocommit=True) as admin:
        admin.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", (database.name,))
        try:
            admin.execute(
                "insert into meta.incident (tenant_id, incident_id, status) values ('acme', %s, 'A')",
                (incident,),
            )
            admin.execute("update meta.incident set status = 'B'")
            messages = admin.execute(
                "select data from pg_logical_slot_peek_changes(%s, null, null) where data like 'message%%'",
                (database.name,),
            ).fetchall()
        finally:
            admin.execute("select pg_drop_replication_slot(%s)", (database.name,))

    outbox = [json.loads(data.split(" content:", 1)[1]) for (data,) in messages]
    assert [message["id"] for message in outbox] == [
        str(identity.change_id("acme", "incident", incident, 1, revision)) for revision in (1, 2)
    ]
