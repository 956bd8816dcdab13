"""``core.alert_poll.PolledRows`` on PostgreSQL, as role meta_ingest."""

from __future__ import annotations

import psycopg

from airflow_provider_atlan_meta.clients.postgres import PostgresStore, translate

# Any of the old ones: an id that Monte Carlo does not know stays unconfirmed, and must not stand before the others.
_UNCONFIRMED = """
select incident_id from meta.incident
 where tenant_id = %(tenant)s and source = 'montecarlo' and unconfirmed
 order by changed_at > clock_timestamp() - interval '1 day' desc, random() limit %(limit)s"""


class PostgresPolledRows(PostgresStore):
    """Not thread-safe."""

    def unconfirmed(self, tenant: str, limit: int) -> list[str]:
        connection = self.connection
        try:
            with connection.transaction():
                connection.execute("select set_config('meta.tenants', %s, true)", (tenant,))
                found = connection.execute(_UNCONFIRMED, {"tenant": tenant, "limit": limit}).fetchall()
        except psycopg.Error as error:
            raise translate(error, "PostgreSQL") from error
        return [row[0] for row in found]
