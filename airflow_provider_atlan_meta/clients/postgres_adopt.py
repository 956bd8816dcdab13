"""A ledger that goes on with another log: the topic was created again, or moved to another cluster.

Offsets of the old log mean nothing in the new one. So the cursors begin anew, no field of an incident keeps an old
position, and the old log's dead letters keep their origin under another name. Rows and revisions stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, connect, translate
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import LogIdentity
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS, OPENED_AT

# opened_at is the oldest record's: nothing of the new log may be older
_POSITIONS = [0 if index == OPENED_AT else -1 for index in range(len(INCIDENT_FIELDS))]

_OLD = """
select cluster_id, topic_id, partition, owner_label, extract(epoch from expires_at - clock_timestamp())::float8
  from meta.ingest_offset
 where topic = %(topic)s and sink = %(sink)s and (cluster_id, topic_id) <> (%(cluster)s, %(topic_id)s)
 order by partition for update"""
_RENAME = """
update meta.dead_letter d set topic = d.topic || '@' || o.topic_id from meta.ingest_offset o
 where (o.cluster_id, o.topic, o.partition, o.sink) = (d.cluster_id, d.topic, d.partition, d.sink)
   and d.topic = %(topic)s and d.sink = %(sink)s and (o.cluster_id, o.topic_id) <> (%(cluster)s, %(topic_id)s)"""
_FORGET = (
    "update meta.incident set positions = %(positions)s::bigint[], log_position = -1 where positions <> '{}'"
)
_BEGIN_ANEW = """
update meta.ingest_offset o
   set cluster_id = %(cluster)s, topic_id = %(topic_id)s, epoch = epoch + 1, expires_at = '-infinity', reach = 0,
       next_offset = coalesce((select k.o from unnest(%(partitions)s::int[], %(offsets)s::bigint[]) k (p, o)
                                where k.p = o.partition), 0)
 where topic = %(topic)s and sink = %(sink)s and (cluster_id, topic_id) <> (%(cluster)s, %(topic_id)s)"""


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """What changed, or would: cursors that begin anew, dead letters renamed, incidents that forgot positions."""

    partitions: int
    dead_letters: int
    incidents: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def adopt_log(
    admin: PostgresConfig, log: LogIdentity, first_offsets: Mapping[int, int], *, sink: str, dry_run: bool
) -> Adopted:
    """One transaction; a second call finds nothing to do.

    :param admin: a superuser: rows of every tenant are touched.
    :param first_offsets: where the new log begins, per partition.
    :raises TransientError: somebody still works on the old log; stop ingest and pause the DAG first.
    """
    arguments: dict[str, Any] = {
        "cluster": log.cluster_id,
        "topic": log.topic,
        "topic_id": log.topic_id,
        "sink": sink,
        "partitions": list(first_offsets),
        "offsets": list(first_offsets.values()),
        "positions": _POSITIONS,
    }
    with connect(admin, "atlan-meta topics adopt") as connection:
        try:
            with connection.transaction(force_rollback=dry_run):
                _refuse_live_owners(connection.execute(_OLD, arguments).fetchall(), log.topic)
                dead_letters = connection.execute(_RENAME, arguments).rowcount
                partitions = connection.execute(_BEGIN_ANEW, arguments).rowcount
                incidents = connection.execute(_FORGET, arguments).rowcount if partitions else 0
        except psycopg.Error as error:
            raise translate(error, "PostgreSQL") from error
    return Adopted(partitions=partitions, dead_letters=dead_letters, incidents=incidents)


def _refuse_live_owners(rows: list[tuple[Any, ...]], topic: str) -> None:
    live = sorted({label for *_, label, left in rows if left > 0})
    if live:
        raise TransientError(
            f"{', '.join(live)} still holds partitions of {topic}; stop ingest, pause the DAG and try again when the "
            "leases are over. Nothing was changed",
            retry_after=max(left for *_, left in rows),
        )
