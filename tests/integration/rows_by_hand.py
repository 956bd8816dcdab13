"""Rows as an administrator changes them, and what he does to a replication slot."""

from __future__ import annotations

from typing import Any

import psycopg

from airflow_provider_atlan_meta.sandbox.isolation import Database

Connection = psycopg.Connection[Any]


def row_session(store: Database) -> Connection:
    """Sees tenant acme."""
    session = psycopg.connect(store.dsn(store.admin), autocommit=True)
    session.execute("select set_config('meta.tenants', 'acme', false)")
    return session


def put(session: Connection, incident: str, status: str, title: str | None = None) -> None:
    """Inserts the incident, or changes its status."""
    session.execute(
        "insert into meta.incident (tenant_id, incident_id, title, status) values ('acme', %s, %s, %s)"
        " on conflict (tenant_id, incident_id) do update set status = excluded.status",
        [incident, title, status],
    )


def put_titled(session: Connection, incident: str, status: str) -> None:
    """With a title, by which people find it at the receivers."""
    put(session, incident, status, f"incident {incident}")


def drop_slot(session: Connection, slot: str) -> None:
    """As somebody does it who wants his disk back, whoever reads it."""
    held = "select active_pid from pg_replication_slots where slot_name = %s"
    while (found := session.execute(held, [slot]).fetchone()) is not None:
        try:
            session.execute("select pg_terminate_backend(%s)", [found[0]])
            session.execute("select pg_drop_replication_slot(%s)", [slot])
        except psycopg.errors.ObjectInUse:
            continue
