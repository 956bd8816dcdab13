"""The fake store of subscriptions and the real one keep one contract."""

from __future__ import annotations

from typing import Any

import pytest
from contract.subscription_store import SubscriptionBench, SubscriptionStoreContract

from airflow_provider_atlan_meta.core.stored_subscriptions import AuditEntry
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
        self._store.waiting[subscription] = deliveries


class TestMemorySubscriptions(SubscriptionStoreContract):
    @pytest.fixture
    def bench(self) -> SubscriptionBench:
        return MemoryBench()
