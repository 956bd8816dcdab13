"""Where the stores that follow PostgreSQL stand, and what finds the rows they lack.

Revision ID: 0003
"""

from __future__ import annotations

from importlib.resources import files

from alembic import op

from airflow_provider_atlan_meta.migrations.change_triggers import ENTITY, INCIDENT
from airflow_provider_atlan_meta.migrations.projected_rows import read_projected

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    sql = (files("airflow_provider_atlan_meta.migrations.versions") / "0003_projection.sql").read_text()
    connection.exec_driver_sql(sql)
    connection.exec_driver_sql(read_projected(INCIDENT, ENTITY))
    connection.exec_driver_sql("reset role")


def downgrade() -> None:
    """Nothing needs it: the version before runs on this revision."""
    raise NotImplementedError("the version before runs on revision 0003; go back without a downgrade")
