"""Subscriptions in ``meta.subscription``, as role meta_consumer; every change of one leaves a row in ``meta.audit``.

Whoever writes locks the table against other writers first, so that what is compared is what is replaced; readers go on.
A call is a connection of its own: they are rare, and any thread may make one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, connect, translate
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.routing import Subscription
from airflow_provider_atlan_meta.core.stored_subscriptions import (
    Applied,
    AuditEntry,
    Loaded,
    StoredSubscription,
    audit_entries,
    disabling,
    enabled_again,
    loaded,
    resuming,
    stored_destination,
    subscription_of,
)
from airflow_provider_atlan_meta.core.subscription_diff import SubscriptionDiff, described, diff_subscriptions

_log = logging.getLogger(__name__)
_Connection = psycopg.Connection[tuple[Any, ...]]

_LOCK = "lock table meta.subscription in share row exclusive mode"
_VERSION = "select version from meta.subscription_version"
# Version and rows of one snapshot; the version also where there is no row. Names in the order Python has.
_READ = """
select v.version, s.name, s.tenant_id, s.match::text, s.destination::text, s.enabled, s.revision,
       coalesce(s.disabled_reason, '')
  from meta.subscription_version v left join meta.subscription s on true
 order by s.name collate "C" """
_WRITE = """
insert into meta.subscription as s
  (name, tenant_id, match, destination, enabled, revision, disabled_at, applied_at, applied_by)
select w.name, w.tenant_id, w.match::json, w.destination::json, w.enabled, 1,
       case when not w.enabled then clock_timestamp() end, clock_timestamp(), %s
  from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::boolean[])
       w (name, tenant_id, match, destination, enabled)
on conflict (name) do update
   set tenant_id = excluded.tenant_id, match = excluded.match, destination = excluded.destination,
       enabled = excluded.enabled, revision = s.revision + 1,
       applied_at = excluded.applied_at, applied_by = excluded.applied_by,
       disabled_reason = case when not excluded.enabled then s.disabled_reason end,
       disabled_at = case when not excluded.enabled then coalesce(s.disabled_at, excluded.disabled_at) end"""
_REMOVE = "delete from meta.subscription where name = any (%s::text[])"
_WAITING = """
select subscription, count(*) from meta.delivery
 where subscription = any (%s::text[]) and settled_at is null group by subscription"""
_PARKED = """
select subscription, count(*) from meta.delivery_lane
 where subscription = any (%s::text[]) and is_parked group by subscription"""
# In the order in which the consumer locks lanes. Those of a disabled subscription, or of none, were due no more.
_RESUME = """
with parked as materialized (
  select tenant_id, kind, id, subscription, part from meta.delivery_lane
   where subscription = any (%s::text[]) and is_parked
   order by tenant_id, kind, id, subscription, part for no key update)
update meta.delivery_lane l set due_at = clock_timestamp() from parked p
 where (l.tenant_id, l.kind, l.id, l.subscription, l.part) = (p.tenant_id, p.kind, p.id, p.subscription, p.part)"""
_DISABLE = """
update meta.subscription set enabled = false, disabled_reason = %s, disabled_at = clock_timestamp()
 where name = %s"""
_AUDIT = """
insert into meta.audit (actor, action, object, tenant_id, before, after, reason)
values (%s, %s, %s, %s, %s, %s, %s)"""


class PostgresSubscriptions:
    """Implements ``core.stored_subscriptions.SubscriptionAdministration``.

    :param application_name: shown in pg_stat_activity, and as who disabled a subscription.
    """

    def __init__(self, config: PostgresConfig, *, application_name: str = "atlan-meta consumer") -> None:
        self._config = config
        self._application_name = application_name

    def load(self) -> tuple[int, tuple[Subscription, ...]]:
        """What cannot be used is left out: ``load_all`` tells of it, and so does the log."""
        found = self.load_all()
        for name, problem in found.unusable.items():
            _log.warning("subscription %s cannot be used and hears of nothing: %s", name, problem)
        return found.version, found.subscriptions

    def load_all(self) -> Loaded:
        with self._session() as connection:
            return loaded(*_read(connection))

    def disable(self, name: str, reason: str) -> None:
        with self._session() as connection, connection.transaction():
            connection.execute(_LOCK)
            _, rows = _read(connection)
            row = next((row for row in rows if row.name == name and row.enabled), None)
            if row is None:
                return
            connection.execute(_DISABLE, (reason, name))
            _audit(connection, [disabling(row, self._application_name, reason)])

    def apply(self, wanted: Sequence[Subscription], *, actor: str, dry_run: bool = False) -> Applied:
        """:param actor: who does it, for the audit."""
        with self._session() as connection, connection.transaction(force_rollback=dry_run):
            if not dry_run:
                connection.execute(_LOCK)
            version, rows = _read(connection)
            diff = diff_subscriptions(map(subscription_of, rows), wanted)
            abandoned = _counted(connection, _WAITING, [one.name for one in diff.removed])
            resumed = _counted(connection, _PARKED, resuming(diff))
            if not dry_run and not diff.is_empty:
                _write(connection, diff, actor)
                _audit(connection, audit_entries(diff, actor))
                if resumed:
                    connection.execute(_RESUME, (list(resumed),))
                ((version,),) = connection.execute(_VERSION).fetchall()
        return Applied(
            version=version,
            diff=diff,
            enabled_again=enabled_again(diff, rows),
            abandoned=abandoned,
            resumed=resumed,
            dry_run=dry_run,
        )

    @contextmanager
    def _session(self) -> Iterator[_Connection]:
        try:
            with connect(self._config, self._application_name) as connection:
                yield connection
        except errors.LockNotAvailable as error:
            raise TransientError(
                "somebody else is changing subscriptions or their lanes and has not finished; nothing was changed, "
                "run the same again"
            ) from error
        except psycopg.Error as error:
            raise translate(error, "PostgreSQL") from error


def _read(connection: _Connection) -> tuple[int, list[StoredSubscription]]:
    found = connection.execute(_READ).fetchall()
    rows = [
        StoredSubscription(name, tenant, json.loads(match), json.loads(destination), *rest)
        for _, name, tenant, match, destination, *rest in found
        if name is not None
    ]
    return found[0][0], rows


def _write(connection: _Connection, diff: SubscriptionDiff, actor: str) -> None:
    written = [*diff.added, *(one.after for one in diff.changed)]
    if written:
        columns = zip(*map(_columns, written), strict=True)
        connection.execute(_WRITE, (actor, *map(list, columns)))
    if diff.removed:
        connection.execute(_REMOVE, ([one.name for one in diff.removed],))


def _columns(one: Subscription) -> tuple[Any, ...]:
    match = described(one)["match"]
    return one.name, one.tenant, json.dumps(match), json.dumps(stored_destination(one)), one.enabled


def _counted(connection: _Connection, query: str, names: Sequence[str]) -> dict[str, int]:
    return dict(connection.execute(query.encode(), (list(names),)).fetchall()) if names else {}


def _audit(connection: _Connection, entries: Sequence[AuditEntry]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            _AUDIT,
            [(*entry[:4], _json(entry.before), _json(entry.after), entry.reason) for entry in entries],
        )


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)
