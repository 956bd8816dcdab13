"""Changes that are held, and an audit of redrives.

Revision ID: 0005
"""

from __future__ import annotations

from importlib.resources import files

from alembic import op

from airflow_provider_atlan_meta.migrations.change_triggers import ENTITY, INCIDENT, change_triggers

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    sql = (files("airflow_provider_atlan_meta.migrations.versions") / "0005_reprocessing.sql").read_text()
    connection.exec_driver_sql(sql)
    for table in (INCIDENT, ENTITY):
        connection.exec_driver_sql(change_triggers(table))
    connection.exec_driver_sql("reset role")


def downgrade() -> None:
    """Nothing needs it: the version before runs on this revision."""
    raise NotImplementedError("the version before runs on revision 0005; go back without a downgrade")
