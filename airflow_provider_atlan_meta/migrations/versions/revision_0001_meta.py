"""Schema meta: events, incidents, entities, ledger, dead letters; roles, row level security, change messages.

Revision ID: 0001
"""

from __future__ import annotations

from importlib.resources import files

from alembic import op

from airflow_provider_atlan_meta.migrations.change_triggers import ENTITY, INCIDENT, change_triggers

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    sql = (files("airflow_provider_atlan_meta.migrations.versions") / "0001_meta.sql").read_text()
    connection.exec_driver_sql(sql)
    for table in (INCIDENT, ENTITY):
        connection.exec_driver_sql(change_triggers(table))
    connection.exec_driver_sql("reset role")


def downgrade() -> None:
    """There is nothing below the first revision; dropping the schema is the operator's own decision."""
    raise NotImplementedError("drop schema meta by hand if you mean it")
