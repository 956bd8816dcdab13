"""Bring schema ``meta`` to this version's revision, and say where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError

# One migration at a time, whoever runs it.
_ADVISORY_LOCK = 7_240_511


def migrate(admin: ConnectionInfo) -> str:
    """Runs what is missing, in one transaction per revision; a second run does nothing.

    :param admin: a superuser of the database (``atlan_meta_postgres_admin``).
    :return: the revision the schema is at now.
    """
    config = _config()
    with _connect(admin) as connection:
        connection.exec_driver_sql(f"select pg_advisory_lock({_ADVISORY_LOCK})")
        connection.exec_driver_sql("create schema if not exists meta")
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        # everybody checks at start whether the schema is the one it was written for
        connection.exec_driver_sql(
            "grant select on meta.schema_revision to meta_ingest, meta_consumer, meta_reader, meta_cdc"
        )
        connection.commit()
        return current_revision(connection)


def current(info: ConnectionInfo) -> str:
    """The revision the schema is at; empty when there is none."""
    with _connect(info) as connection:
        return current_revision(connection)


def head() -> str:
    """The revision this version of the code was written for."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def current_revision(connection: sqlalchemy.Connection) -> str:
    context = MigrationContext.configure(
        connection, opts={"version_table": "schema_revision", "version_table_schema": "meta"}
    )
    return context.get_current_revision() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("airflow_provider_atlan_meta.migrations")))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _connect(info: ConnectionInfo) -> Iterator[sqlalchemy.Connection]:
    url = sqlalchemy.URL.create(
        "postgresql+psycopg",
        username=info.login or None,
        password=info.password or None,
        host=info.host or None,
        port=info.port,
        database=info.schema or None,
        query={key: str(value) for key, value in info.extra.items()},
    )
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args={"connect_timeout": 3})
    try:
        with engine.connect() as connection:
            yield connection
    except sqlalchemy.exc.OperationalError as error:
        raise TransientError(f"PostgreSQL of {info.conn_id} does not answer: {error.orig}") from error
    except sqlalchemy.exc.ProgrammingError as error:
        if "permission denied" in str(error.orig) or "must be superuser" in str(error.orig):
            raise ConfigurationError(
                f"{info.conn_id} may not change schema meta ({error.orig}); db migrate needs a superuser"
            ) from error
        raise
    finally:
        engine.dispose()
