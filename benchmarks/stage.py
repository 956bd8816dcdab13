"""The servers benchmarks run on, and a writer's seat at the store."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresStore
from airflow_provider_atlan_meta.clients.postgres_ledger import PostgresLedger, application_name
from airflow_provider_atlan_meta.core.ports import Commit, Lease, LeaseOwner, LogIdentity
from airflow_provider_atlan_meta.sandbox.home import HOME_VARIABLE
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from benchmarks.corpus import TENANTS

SINK = "postgres"
_LEASE_SECONDS = 600.0
_DAY_MS = 86_400_000


@contextmanager
def servers(members: Sequence[str]) -> Iterator[Sandbox]:
    """A running sandbox: the one ``ATLAN_META_SANDBOX_HOME`` names, which stays, or a temporary one."""
    kept = os.environ.get(HOME_VARIABLE)
    if kept:
        sandbox = Sandbox(kept)
        sandbox.up(members)
        yield sandbox
        return
    with tempfile.TemporaryDirectory(prefix="atlan-meta-bench-") as folder:
        sandbox = Sandbox(f"{folder}/sandbox")
        try:
            sandbox.up(members)
            yield sandbox
        finally:
            sandbox.down(purge=True)


@contextmanager
def isolation(members: Sequence[str]) -> Iterator[Isolation]:
    # Airflow, once imported for a peer, has alembic tell of every migration
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with servers(members) as sandbox, Isolation(sandbox) as made:
        yield made


def today_ms() -> int:
    """Midnight UTC: events from here on lie in a day's own partition, as live ones do."""
    return int(time.time() * 1000) // _DAY_MS * _DAY_MS


def superuser(database: Database) -> psycopg.Connection[Any]:
    return psycopg.connect(database.dsn(database.admin), autocommit=True)


class Seat:
    """A store with the lease of partition 0 of a log that is not there: the write path without Kafka.

    :param partition: None: only the store, no lease.
    :ivar backend: pid of the PostgreSQL process that works for it.
    """

    lease: Lease

    def __init__(self, database: Database, partition: int | None = 0) -> None:
        self.log = LogIdentity(cluster_id="bench", topic="meta.events.v1", topic_id="bench", partitions=(0,))
        owner = LeaseOwner(id=uuid4(), label="bench")
        config = PostgresConfig.from_connection(database.ingest)
        self.store = PostgresStore(config, application_name=application_name(owner))
        self._ledger = PostgresLedger(self.store, owner, sink=SINK, lease_seconds=_LEASE_SECONDS)
        if partition is not None:
            self.lease = self._ledger.take(self.log, {partition: 0}, 1).leases[0]
        self.backend = self.store.connection.info.backend_pid

    def commit_to(self, end: int) -> Commit:
        """The cursor's next step; the lease stands behind it once it is written."""
        lease, log = self.lease, self.log
        self.lease = lease._replace(next_offset=end)
        return Commit(
            log.cluster_id,
            log.topic,
            lease.partition,
            SINK,
            lease.epoch,
            lease.next_offset,
            end,
            _LEASE_SECONDS,
        )

    def release(self) -> None:
        """The next seat may have the lease at once."""
        self._ledger.release(self.log, [self.lease])

    def close(self) -> None:
        self.store.close()


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = 30.0) -> None:
    """:raises RuntimeError: it did not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s until {what}")
        time.sleep(0.02)


def reader_options() -> str:
    """libpq options for a session that may see the corpus."""
    return f"-c meta.tenants={','.join(TENANTS)}"
