"""Subscriptions, the ledger of deliveries, and what the role meta_consumer may do.

Triggers and functions that are made from columns are made again: an earlier 0001 let a delete bear the revision of the
change before it.

Revision ID: 0002
"""

from __future__ import annotations

from importlib.resources import files

from alembic import op

from airflow_provider_atlan_meta.migrations.change_triggers import (
    ENTITY,
    INCIDENT,
    change_triggers,
    read_changed_rows,
)

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    sql = (files("airflow_provider_atlan_meta.migrations.versions") / "0002_delivery.sql").read_text()
    connection.exec_driver_sql(sql)
    for table in (INCIDENT, ENTITY):
        connection.exec_driver_sql(change_triggers(table))
    connection.exec_driver_sql(read_changed_rows(INCIDENT, ENTITY))
    connection.exec_driver_sql("reset role")


def downgrade() -> None:
    """Nothing needs it: the version before runs on this revision."""
    raise NotImplementedError("the version before runs on revision 0002; go back without a downgrade")
