"""How the tables of a source are called in the catalog.

Revision ID: 0004
"""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    sql = (files("airflow_provider_atlan_meta.migrations.versions") / "0004_mapping.sql").read_text()
    connection.exec_driver_sql(sql)
    connection.exec_driver_sql("reset role")


def downgrade() -> None:
    """Nothing needs it: the version before runs on this revision."""
    raise NotImplementedError("the version before runs on revision 0004; go back without a downgrade")
