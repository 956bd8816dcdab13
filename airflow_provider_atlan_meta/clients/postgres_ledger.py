"""The ledger: leases and cursors in ``meta.ingest_offset``, on PostgreSQL's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import errors

from airflow_provider_atlan_meta.clients.postgres import PostgresSession, translate
from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.core.ports import ForeignLease, Lease, LeaseOwner, LogIdentity, Taken

_KNOW = """
insert into meta.ingest_offset (cluster_id, topic, partition, sink, next_offset, topic_id)
select %(cluster)s, %(topic)s, p, %(sink)s, o, %(topic_id)s
  from unnest(%(partitions)s::int[], %(offsets)s::bigint[]) k (p, o)
on conflict do nothing"""

# Ordered, so that two takers cannot lock each other out; materialized, so that the limit is one for all rows.
_TAKE = """
with free as materialized (
  select partition from meta.ingest_offset
   where cluster_id = %(cluster)s and topic = %(topic)s and sink = %(sink)s and topic_id = %(topic_id)s
     and partition = any (%(partitions)s::int[]) and (expires_at < clock_timestamp() or owner = %(owner)s)
   order by owner is distinct from %(owner)s, partition limit %(limit)s for update)
update meta.ingest_offset t
   set owner = %(owner)s, owner_label = %(label)s, epoch = epoch + 1, renewed_at = clock_timestamp(),
       expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
  from free
 where t.cluster_id = %(cluster)s and t.topic = %(topic)s and t.sink = %(sink)s and t.partition = free.partition
returning t.partition, t.next_offset, t.epoch"""

_LOOK = """
select partition, next_offset, owner_label, topic_id, owner is not distinct from %(owner)s,
       extract(epoch from greatest(expires_at - clock_timestamp(), interval '0'))::float8,
       extract(epoch from clock_timestamp() - moved_at)::float8
  from meta.ingest_offset
 where cluster_id = %(cluster)s and topic = %(topic)s and sink = %(sink)s and partition = any (%(partitions)s::int[])"""

_ELSEWHERE = """
select cluster_id from meta.ingest_offset
 where topic = %(topic)s and sink = %(sink)s and cluster_id <> %(cluster)s limit 1"""

_RENEW = """
update meta.ingest_offset t
   set renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
  from unnest(%(partitions)s::int[], %(epochs)s::bigint[]) l (partition, epoch)
 where t.cluster_id = %(cluster)s and t.topic = %(topic)s and t.sink = %(sink)s
   and t.partition = l.partition and t.epoch = l.epoch
returning t.partition"""

_RELEASE = """
update meta.ingest_offset t set expires_at = '-infinity'
  from unnest(%(partitions)s::int[], %(epochs)s::bigint[]) l (partition, epoch)
 where t.cluster_id = %(cluster)s and t.topic = %(topic)s and t.sink = %(sink)s
   and t.partition = l.partition and t.epoch = l.epoch"""

# The backend of an owner that is gone or stopped may still hold the row that its expired lease no longer covers.
_TERMINATE = """
select pg_terminate_backend(a.pid)
  from pg_stat_activity a join meta.ingest_offset o on a.application_name = 'atlan-meta ' || o.owner
 where o.cluster_id = %(cluster)s and o.topic = %(topic)s and o.sink = %(sink)s and o.expires_at < clock_timestamp()
   and a.pid <> pg_backend_pid() and a.usename = current_user"""


def application_name(owner: LeaseOwner) -> str:
    """How an owner's session is found when its lease has to be taken over."""
    return f"atlan-meta {owner.id}"


class PostgresLedger:
    """Implements ``core.ports.Ledger``; shares session and thread with what is written under the leases."""

    def __init__(
        self, session: PostgresSession, owner: LeaseOwner, *, sink: str, lease_seconds: float
    ) -> None:
        self._session = session
        self._owner = owner
        self._sink = sink
        self._lease_seconds = lease_seconds

    def take(self, log: LogIdentity, first_offsets: Mapping[int, int], limit: int) -> Taken:
        arguments = {
            **self._arguments(log),
            "topic_id": log.topic_id,
            "partitions": list(first_offsets),
            "offsets": list(first_offsets.values()),
            "label": self._owner.label,
            "limit": limit,
        }
        known = self._execute(_LOOK, arguments)
        self._check_topic(log, known)
        if not known:
            self._check_cluster(log)
        if len(known) < len(first_offsets):
            self._execute(_KNOW, arguments)
        leases = [Lease(*row) for row in self._take(arguments)]
        return Taken(sorted(leases), _foreign(self._execute(_LOOK, arguments)))

    def look(self, log: LogIdentity) -> tuple[dict[int, int], list[ForeignLease]]:
        rows = self._execute(_LOOK, {**self._arguments(log), "partitions": list(log.partitions)})
        self._check_topic(log, rows)
        return {row[0]: row[1] for row in rows}, _foreign(rows)

    def renew(self, log: LogIdentity, leases: Sequence[Lease]) -> set[int]:
        return {row[0] for row in self._execute(_RENEW, {**self._arguments(log), **_epochs(leases)})}

    def release(self, log: LogIdentity, leases: Sequence[Lease]) -> None:
        self._execute(_RELEASE, {**self._arguments(log), **_epochs(leases)})

    def _take(self, arguments: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        try:
            return self._raw(_TAKE, arguments)
        except errors.LockNotAvailable:
            self._execute(_TERMINATE, arguments)
            return self._execute(_TAKE, arguments)
        except psycopg.Error as error:
            raise translate(error, "PostgreSQL") from error

    def _check_topic(self, log: LogIdentity, rows: Sequence[tuple[Any, ...]]) -> None:
        for partition, next_offset, _, topic_id, *_ in rows:
            if topic_id != log.topic_id:
                raise TerminalError(
                    f"the ledger stands at offset {next_offset} of {log.topic}/{partition} with topic id {topic_id}, "
                    f"but the topic is now {log.topic_id}: it was deleted and created again. Nothing was read; "
                    "to go on with the new topic from its first record run `atlan-meta topics adopt`"
                )

    def _check_cluster(self, log: LogIdentity) -> None:
        """Another cluster's topic of this name would be read from its start, and old positions would hide it."""
        others = self._execute(_ELSEWHERE, self._arguments(log))
        if others:
            raise TerminalError(
                f"the ledger knows {log.topic} on Kafka cluster {others[0][0]}, but this is cluster {log.cluster_id}. "
                "Nothing was read; when the topic has moved for good run `atlan-meta topics adopt`"
            )

    def _arguments(self, log: LogIdentity) -> dict[str, Any]:
        return {
            "cluster": log.cluster_id,
            "topic": log.topic,
            "sink": self._sink,
            "owner": self._owner.id,
            "seconds": self._lease_seconds,
        }

    def _execute(self, query: str, arguments: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        try:
            return self._raw(query, arguments)
        except psycopg.Error as error:
            raise translate(error, "PostgreSQL") from error

    def _raw(self, query: str, arguments: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        cursor = self._session.connection.execute(query, arguments)
        return cursor.fetchall() if cursor.description else []


def _foreign(rows: Sequence[tuple[Any, ...]]) -> list[ForeignLease]:
    return sorted(
        ForeignLease(partition, next_offset, label, left, moved)
        for partition, next_offset, label, _, own, left, moved in rows
        if left > 0 and not own
    )


def _epochs(leases: Sequence[Lease]) -> dict[str, list[int]]:
    return {
        "partitions": [lease.partition for lease in leases],
        "epochs": [lease.epoch for lease in leases],
    }
