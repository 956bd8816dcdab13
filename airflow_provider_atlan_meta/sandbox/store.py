"""The store: PostgreSQL with schema ``meta``, its roles and their passwords."""

from __future__ import annotations

from urllib.parse import quote

from airflow_provider_atlan_meta.config.connections import (
    POSTGRES,
    POSTGRES_ADMIN,
    POSTGRES_CDC,
    POSTGRES_CONSUMER,
    POSTGRES_READER,
)
from airflow_provider_atlan_meta.sandbox.home import Home
from airflow_provider_atlan_meta.sandbox.postgres import (
    SUPERUSER,
    admin_connection,
    create_database,
    postgres_server,
)
from airflow_provider_atlan_meta.sandbox.server import Offer, Site, missing_modules, project_command, run_step

NAME = "postgres"
DATABASE = "meta"
CDC_ROLE = "meta_cdc"
_ROLES = {
    POSTGRES: "meta_ingest",
    POSTGRES_CONSUMER: "meta_consumer",
    POSTGRES_READER: "meta_reader",
    POSTGRES_CDC: CDC_ROLE,
}


def _finish(site: Site) -> None:
    with admin_connection(site.home, NAME, "postgres") as connection:
        create_database(connection, DATABASE)
    if missing_modules("airflow_provider_atlan_meta.cli.db") is None:
        site.report("migrating schema meta")
        run_step(site, project_command("db", "migrate"), what="atlan-meta db migrate", name=NAME)
    _set_passwords(site.home)


def _set_passwords(home: Home) -> None:
    """Roles belong to the cluster, so this holds for every database in it."""
    from psycopg import sql

    with admin_connection(home, NAME, DATABASE) as connection:
        there = {name for (name,) in connection.execute("select rolname from pg_roles").fetchall()}
        for role in _ROLES.values():
            if role in there:
                # hashed here, so that no statement and no server log ever holds it
                password = home.secret(f"{NAME}-{role}").encode()
                scram = connection.pgconn.encrypt_password(password, role.encode(), b"scram-sha-256").decode()
                statement = sql.SQL("alter role {} login password {}")
                connection.execute(statement.format(sql.Identifier(role), sql.Literal(scram)))


def connections(home: Home, database: str = DATABASE) -> dict[str, dict[str, object]]:
    """The store's connections by id, for ``database``; the reader's sees the sandbox's tenants."""
    logins = {**_ROLES, POSTGRES_ADMIN: SUPERUSER}
    made: dict[str, dict[str, object]] = {
        conn_id: {
            "conn_type": "postgres",
            "host": "127.0.0.1",
            "port": home.port(NAME),
            "login": login,
            "password": home.secret(f"{NAME}-{login}"),
            "schema": database,
        }
        for conn_id, login in logins.items()
    }
    made[POSTGRES_READER]["extra"] = {"options": _seeing_tenants(home)}
    return made


def _seeing_tenants(home: Home) -> str:
    return f"-c meta.tenants={','.join(tenant.id for tenant in home.tenants)}"


def reader_dsn(home: Home, database: str = DATABASE) -> str:
    """For people and tests: role meta_reader, seeing the sandbox's tenants."""
    role = _ROLES[POSTGRES_READER]
    options = quote(_seeing_tenants(home))
    password = quote(home.secret(f"{NAME}-{role}"), safe="")
    return f"postgresql://{role}:{password}@127.0.0.1:{home.port(NAME)}/{database}?options={options}"


def _offer(home: Home) -> Offer:
    return Offer(fields={"postgres_dsn": reader_dsn(home)}, connections=connections(home))


SERVER = postgres_server(NAME, summary="PostgreSQL 18, the store: schema meta", finish=_finish, offer=_offer)
