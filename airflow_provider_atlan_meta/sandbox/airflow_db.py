"""Airflow's own PostgreSQL. The store may be stopped or killed in a test; Airflow must not notice."""

from __future__ import annotations

from airflow_provider_atlan_meta.sandbox.home import Home
from airflow_provider_atlan_meta.sandbox.postgres import admin_connection, create_database, postgres_server
from airflow_provider_atlan_meta.sandbox.server import Offer, Site

NAME = "airflow-db"
_ROLE = _DATABASE = "airflow"


def _finish(site: Site) -> None:
    from psycopg import sql

    with admin_connection(site.home, NAME, "postgres") as connection:
        if connection.execute("select 1 from pg_roles where rolname = %s", [_ROLE]).fetchone() is None:
            password = site.home.secret(NAME).encode()
            scram = connection.pgconn.encrypt_password(password, _ROLE.encode(), b"scram-sha-256").decode()
            statement = sql.SQL("create role {} login password {}")
            connection.execute(statement.format(sql.Identifier(_ROLE), sql.Literal(scram)))
        create_database(connection, _DATABASE, owner=_ROLE)


def sqlalchemy_url(home: Home) -> str:
    """For ``[database] sql_alchemy_conn``."""
    return f"postgresql+psycopg2://{_ROLE}:{home.secret(NAME)}@127.0.0.1:{home.port(NAME)}/{_DATABASE}"


SERVER = postgres_server(
    NAME, summary="PostgreSQL 18, Airflow's own metadata", finish=_finish, offer=lambda _home: Offer()
)
