"""The stores that follow PostgreSQL, wired: once for a bounded run, for ever beside the ingest service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresSession
from airflow_provider_atlan_meta.clients.postgres_ledger import PostgresLedger, application_name
from airflow_provider_atlan_meta.clients.postgres_projection import PostgresProjection
from airflow_provider_atlan_meta.config.connections import ATLAS, CASSANDRA
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.core.stores import RowRef, StateRow, StateSink
from airflow_provider_atlan_meta.pipeline.follow import Follow, FollowLimits, FollowOutcome, FollowPolicy
from airflow_provider_atlan_meta.pipeline.wakes import ThreadWake
from airflow_provider_atlan_meta.services.following import FollowingService

__all__ = ["SINKS", "FollowOutcome", "FollowRequest", "FollowService", "Followers", "follow_once"]

# a follower that cannot work says so and tries again: whoever cures it need not restart ingest
_HOPELESS_SECONDS = 60.0

ReadRows = Callable[[Sequence[RowRef]], list[StateRow]]


@dataclass(frozen=True)
class _Sink:
    """:param make: from its connection, and a way to read rows it needs besides those it is told."""

    conn_id: str
    batch_rows: int
    make: Callable[[ConnectionInfo, ReadRows], StateSink]


def _cassandra(info: ConnectionInfo, _: ReadRows) -> StateSink:
    # the driver takes half a second to import: only where there is a Cassandra
    from airflow_provider_atlan_meta.clients.cassandra import CassandraConfig
    from airflow_provider_atlan_meta.clients.cassandra_sinks import CassandraStateSink

    return CassandraStateSink(CassandraConfig.from_connection(info))


def _atlas(info: ConnectionInfo, read_rows: ReadRows) -> StateSink:
    from airflow_provider_atlan_meta.clients.atlas import AtlasClient
    from airflow_provider_atlan_meta.clients.atlas_config import AtlasConfig
    from airflow_provider_atlan_meta.clients.atlas_entities import AtlasSink

    return AtlasSink(AtlasClient(AtlasConfig.from_connection(info)), read_rows=read_rows)


SINKS: Mapping[str, _Sink] = {
    "cassandra": _Sink(CASSANDRA, 500, _cassandra),
    "atlas": _Sink(ATLAS, 100, _atlas),
}


@dataclass(frozen=True, kw_only=True)
class FollowRequest:
    """One bounded run of one store. :param sink: a key of SINKS."""

    sink: str
    max_rows: int = 10_000
    max_seconds: float = 60.0
    lease_seconds: float = 30.0


def follow_once(
    *,
    postgres: ConnectionInfo,
    store: ConnectionInfo,
    request: FollowRequest,
    owner: LeaseOwner,
    told: Callable[[FollowOutcome], None] | None = None,
) -> FollowOutcome:
    """Brings one store to where PostgreSQL is. It may be killed at any moment, be repeated, and run beside others.

    :param told: hears of every batch, as it happens.
    :raises TransientError: repeat the call; ``retry_after`` says when, if it is known.
    :raises TerminalError: repeating does not help; the text names the cure.
    """
    lane = _Lane(request.sink, postgres, store, owner, request.lease_seconds, told or (lambda _: None))
    with lane.engine() as engine:
        return engine.drain(FollowLimits(max_rows=request.max_rows, max_seconds=request.max_seconds))


class FollowService(FollowingService[Follow]):
    """One store follows until told to stop. :param wake: set after commits."""

    def __init__(
        self,
        sink: str,
        *,
        postgres: ConnectionInfo,
        store: ConnectionInfo,
        owner: LeaseOwner,
        lease_seconds: float = 30.0,
        wake: ThreadWake | None = None,
        told: Callable[[FollowOutcome], None] | None = None,
        on_trouble: Callable[[TransientError, float], None] | None = None,
    ) -> None:
        lane = _Lane(sink, postgres, store, owner, lease_seconds, told or (lambda _: None))
        super().__init__(
            lane.engine, lambda engine, stopped: engine.follow(stopped, wake or ThreadWake()), on_trouble
        )


class Telling(Protocol):
    """Who hears what the followers do. Called from their threads."""

    def followed(self, outcome: FollowOutcome) -> None: ...

    def follow_trouble(self, sink: str, error: Exception, wait_seconds: float) -> None: ...


class Followers:
    """Every store that has a connection follows, on a thread each, while the context is open.

    :param stores: sink -> its connection. :param owner: makes an owner; each follower has its own: a session of one
        that has to be ended must not be another's.
    """

    def __init__(
        self,
        stores: Mapping[str, ConnectionInfo],
        *,
        postgres: ConnectionInfo,
        owner: Callable[[str], LeaseOwner],
        lease_seconds: float,
        telling: Telling,
    ) -> None:
        self._telling = telling
        self._stopped = threading.Event()
        self._wakes = {sink: ThreadWake() for sink in stores}
        self._services = {
            sink: FollowService(
                sink,
                postgres=postgres,
                store=store,
                owner=owner(f"follow-{sink}"),
                lease_seconds=lease_seconds,
                wake=self._wakes[sink],
                told=telling.followed,
                on_trouble=lambda error, wait, sink=sink: telling.follow_trouble(sink, error, wait),  # type: ignore[misc]
            )
            for sink, store in stores.items()
        }
        self._threads = [
            threading.Thread(target=self._run, args=(sink,), name=f"follow-{sink}", daemon=True)
            for sink in self._services
        ]

    def wake(self) -> None:
        """Rows were committed."""
        for wake in self._wakes.values():
            wake.set()

    def __enter__(self) -> Followers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for service in self._services.values():
            service.stop()
        self.wake()
        for thread in self._threads:
            thread.join()

    def _run(self, sink: str) -> None:
        while not self._stopped.is_set():
            try:
                self._services[sink].run()
            except TerminalError as error:
                self._telling.follow_trouble(sink, error, _HOPELESS_SECONDS)
                self._stopped.wait(_HOPELESS_SECONDS)


@dataclass(frozen=True)
class _Lane:
    """What one engine is built from, every time anew."""

    sink: str
    postgres: ConnectionInfo
    store: ConnectionInfo
    owner: LeaseOwner
    lease_seconds: float
    told: Callable[[FollowOutcome], None]

    @contextmanager
    def engine(self) -> Iterator[Follow]:
        kind = SINKS.get(self.sink)
        if kind is None:
            raise ConfigurationError(
                f"no store {self.sink!r} follows PostgreSQL; there are {', '.join(SINKS)}"
            )
        session = PostgresSession(
            PostgresConfig.from_connection(self.postgres), application_name=application_name(self.owner)
        )
        projection = PostgresProjection(session, sink=self.sink)
        try:
            sink = kind.make(
                self.store, lambda refs: [row for row, _ in projection.read(refs) if row.values is not None]
            )
            try:
                yield Follow(
                    sink=sink,
                    projection=projection,
                    leases=PostgresLedger(
                        session, self.owner, sink=self.sink, lease_seconds=self.lease_seconds
                    ),
                    owner=self.owner,
                    policy=FollowPolicy(batch_rows=kind.batch_rows, lease_seconds=self.lease_seconds),
                    told=self.told,
                )
            finally:
                sink.close()
        finally:
            session.close()
