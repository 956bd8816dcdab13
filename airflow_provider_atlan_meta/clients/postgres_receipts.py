"""What people ask of deliveries and subscriptions: read from schema ``meta`` as role meta_reader.

Row-level security shows the tenants that the connection's options name (``-c meta.tenants=acme``), and no others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psycopg

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, connect, translate
from airflow_provider_atlan_meta.core.changes import COLUMNS
from airflow_provider_atlan_meta.core.deliveries import Subject
from airflow_provider_atlan_meta.core.receipts import (
    KnownRow,
    Readable,
    Receipt,
    ReceiptQuery,
    SubscriptionUse,
)
from airflow_provider_atlan_meta.core.stored_subscriptions import StoredSubscription

# meta_consumer's policies show every tenant
_READABLE = """
select not (rolsuper or rolbypassrls or rolname = 'meta_consumer'), coalesce(current_setting('meta.tenants', true), '')
  from pg_roles where rolname = current_user"""
_SUBSCRIPTIONS = """
with parked as (select subscription, count(*) from meta.delivery_lane where is_parked group by subscription)
select s.name, s.tenant_id, s.match::text, s.destination::text, s.enabled, s.revision,
       coalesce(s.disabled_reason, ''), s.applied_at, s.applied_by, s.disabled_at, coalesce(p.count, 0),
       (select d.settled_at from meta.delivery d
         where d.subscription = s.name and d.state = 'delivered' order by d.at desc limit 1)
  from meta.subscription s left join parked p on p.subscription = s.name order by s.name collate "C" """
# Every subscription that deliveries are known of, removed ones too: from one to the next in the index.
_NAMES = """
with recursive names (subscription) as (
  (select subscription from meta.delivery order by subscription limit 1)
  union all
  select (select d.subscription from meta.delivery d where d.subscription > n.subscription
           order by d.subscription limit 1)
    from names n where n.subscription is not null)"""
_ONE_NAME = "with names (subscription) as (select %(subscription)s::text)"
_COLUMNS = """
select d.delivery_id::text, d.at, d.settled_at, d.state, d.attempts, d.subscription, d.part, d.tenant_id, d.kind, d.id,
       coalesce(d.change_id::text, ''), d.revision, d.status, coalesce(d.detail, ''), d.folded,
       coalesce(d.external_id, '')"""
_NEWEST = "order by d.at desc, d.delivery_id limit %(limit)s"
_FEW = """{columns} from meta.delivery d where true{conditions} {newest}"""
# Each subscription's newest come from its index.
_MANY = """{names} {columns} from names n cross join lateral (
  select * from meta.delivery d where d.subscription = n.subscription{conditions} {newest}) d {newest}"""
_CONDITIONS = {
    "id": " and d.kind = %(kind)s and d.id = %(id)s",
    "change_id": " and d.change_id = %(change_id)s::uuid",
    "subscription": " and d.subscription = %(subscription)s",
    "state": " and d.state = %(state)s",
    "is_open": " and d.settled_at is null",
    "tenant": " and d.tenant_id = %(tenant)s",
}
# The main part's delivery_id follows from the two: no index of change_ids is needed.
_CHANGED = "\n".join(
    (
        _NAMES,
        "select tenant_id, kind, id, revision from meta.delivery where delivery_id = any (array(",
        "  select meta.hash128(%s, subscription) from names where subscription is not null)) limit 1",
    )
)
_CHANGES = """
select change::text from meta.delivery
 where tenant_id = %(tenant_id)s and kind = %(kind)s and id = %(id)s and change is not null
union all
select last::text from meta.delivery_lane
 where tenant_id = %(tenant_id)s and kind = %(kind)s and id = %(id)s and last is not null"""
_CHANGE_ID = (
    "meta.hash128(r.tenant_id, '{kind}', r.{id}::text, meta.incarnation()::text, r.revision::text)::text"
)
_ROW = """
select r.tenant_id, '{kind}', r.{id}::text, r.revision, {change_id}, to_json(r.changed_at) #>> '{{}}',
       json_build_object({columns})::text
  from meta.{kind} r where r.{id} = %s"""
_TOMBSTONE = """
select r.tenant_id, r.kind, r.id, r.revision,
       meta.hash128(r.tenant_id, r.kind, r.id, meta.incarnation()::text, r.revision::text)::text,
       to_json(r.deleted_at) #>> '{}', ''
  from meta.tombstone r where r.id = %s"""
_IDS = {"incident": "incident_id", "entity": "entity_id"}


class PostgresReceipts:
    """Implements ``core.receipts.ChangeArchive``, and tells of deliveries and subscriptions. A context manager."""

    def __init__(self, config: PostgresConfig) -> None:
        self._connection = connect(config, "atlan-meta reader")
        # times are spelled as the change triggers spell them
        self._rows("set timezone to 'UTC'")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def readable(self) -> Readable:
        ((is_limited, tenants),) = self._rows(_READABLE)
        return Readable(is_limited, tuple(name for name in tenants.split(",") if name))

    def subscriptions(self) -> list[tuple[StoredSubscription, SubscriptionUse]]:
        """By name; those of the tenants that may be seen, and of ``*``."""
        return [
            (
                StoredSubscription(name, tenant, json.loads(match), json.loads(destination), *rest[:3]),
                SubscriptionUse(*rest[3:]),
            )
            for name, tenant, match, destination, *rest in self._rows(_SUBSCRIPTIONS)
        ]

    def receipts(self, query: ReceiptQuery) -> list[Receipt]:
        """The newest first."""
        kind, identity = "incident", query.incident
        if query.change_id:
            found = self.changed(query.change_id)
            if found is None or (identity and found[0][1:] != (kind, identity)):
                return []
            _, kind, identity = found[0]
        asked = {
            **asdict(query),
            "kind": kind,
            "id": identity,
            "is_open": query.state in ("claimed", "parked"),
        }
        # of these states there are few, or one has to look at all
        shape = _FEW if identity or query.state not in (None, "delivered") else _MANY
        text = shape.format(
            names=_ONE_NAME if query.subscription else _NAMES,
            columns=_COLUMNS,
            conditions="".join(text for name, text in _CONDITIONS.items() if asked[name]),
            newest=_NEWEST,
        )
        rows = self._rows(text, asked)
        return [Receipt._make((*row[:7], Subject._make(row[7:10]), *row[10:])) for row in rows]

    def changed(self, change_id: str) -> tuple[Subject, int] | None:
        for *subject, revision in self._rows(_CHANGED, (change_id,)):
            return Subject(*subject), revision
        return None

    def rows(self, row_id: str) -> Sequence[KnownRow]:
        kinds = [kind for kind in _IDS if kind != "entity" or _is_uuid(row_id)]
        found = [row for kind in kinds for row in self._rows(_row_query(kind), (row_id,))]
        found += self._rows(_TOMBSTONE, (row_id,))
        newest: dict[Subject, KnownRow] = {}
        for tenant, kind, identity, revision, change_id, changed_at, columns in found:
            row = KnownRow(Subject(tenant, kind, identity), revision, change_id, changed_at, columns.encode())
            # a tombstone stays where a row was inserted again
            newest[row.subject] = max(newest.get(row.subject, row), row, key=lambda one: one.revision)
        return list(newest.values())

    def changes(self, subject: Subject) -> Sequence[bytes]:
        return [text.encode() for (text,) in self._rows(_CHANGES, subject._asdict())]

    def _rows(self, query: str, arguments: Any = None) -> list[tuple[Any, ...]]:
        try:
            cursor = self._connection.execute(query.encode(), arguments)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise translate(error, "PostgreSQL") from error


def _row_query(kind: str) -> str:
    columns = ", ".join(f"'{column}', r.{column}" for column in COLUMNS[kind])
    change_id = _CHANGE_ID.format(kind=kind, id=_IDS[kind])
    return _ROW.format(kind=kind, id=_IDS[kind], change_id=change_id, columns=columns)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
