"""The fake store of subscriptions and the real one keep one contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from contract.subscription_store import SubscriptionBench, SubscriptionStoreContract

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig
from airflow_provider_atlan_meta.clients.postgres_subscriptions import PostgresSubscriptions
from airflow_provider_atlan_meta.core.stored_subscriptions import AuditEntry
from airflow_provider_atlan_meta.sandbox.isolation import Database
from airflow_provider_atlan_meta.testing.memory_subscriptions import MemorySubscriptions


class MemoryBench:
    def __init__(self) -> None:
        self._store = MemorySubscriptions(actor="consumer 7")

    def store(self, actor: str = "consumer 7") -> MemorySubscriptions:
        return self._store

    def audit(self) -> list[AuditEntry]:
        return list(self._store.audit)

    def store_by_hand(self, name: str, *, tenant: str, match: Any, destination: Any) -> None:
        self._store.store_by_hand(name, tenant=tenant, match=match, destination=destination)

    def park(self, subscription: str, deliveries: int) -> None:
        self._store.waiting[subscription] = self._store.parked[subscription] = deliveries


class TestMemorySubscriptions(SubscriptionStoreContract):
    @pytest.fixture
    def bench(self) -> SubscriptionBench:
        return MemoryBench()


class PostgresBench:
    """The same database as a superuser sees it; emptied first."""

    def __init__(self, database: Database) -> None:
        self._config = PostgresConfig.from_connection(database.consumer)
        self._admin = psycopg.connect(database.dsn(database.admin), autocommit=True)
        self._admin.execute("truncate meta.subscription, meta.delivery, meta.delivery_lane, meta.audit")

    def store(self, actor: str = "consumer 7") -> PostgresSubscriptions:
        return PostgresSubscriptions(self._config, application_name=actor)

    def audit(self) -> list[AuditEntry]:
        rows = self._admin.execute(
            "select actor, action, object, tenant_id, before, after, reason from meta.audit order by number"
        )
        return [AuditEntry._make(row) for row in rows]

    def store_by_hand(self, name: str, *, tenant: str, match: Any, destination: Any) -> None:
        self._admin.execute(
            "insert into meta.subscription"
            " (name, tenant_id, match, destination, enabled, revision, applied_at, applied_by)"
            " values (%s, %s, %s, %s, true, 1, now(), 'a hand')",
            (name, tenant, json.dumps(match), json.dumps(destination)),
        )

    def park(self, subscription: str, deliveries: int) -> None:
        for number in range(deliveries + 1):
            state, settled_at = ("parked", None) if number < deliveries else ("delivered", "now")
            subject = ("acme", "incident", f"inc-{number}", subscription, "")
            self._admin.execute(
                "insert into meta.delivery"
                " (delivery_id, tenant_id, kind, id, subscription, part, change_id, revision, state, settled_at)"
                " values (%s, %s, %s, %s, %s, %s, %s, 1, %s, %s)",
                (uuid4(), *subject, uuid4(), state, settled_at),
            )
            self._admin.execute(
                "insert into meta.delivery_lane (tenant_id, kind, id, subscription, part, partition, is_parked)"
                " values (%s, %s, %s, %s, %s, 0, %s)",
                (*subject, state == "parked"),
            )

    def close(self) -> None:
        self._admin.close()


@pytest.mark.integration
class TestPostgresSubscriptions(SubscriptionStoreContract):
    @pytest.fixture
    def bench(self, database: Database) -> Iterator[SubscriptionBench]:
        bench = PostgresBench(database)
        yield bench
        bench.close()
