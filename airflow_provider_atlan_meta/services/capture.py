"""Change capture as an operator sees it: apply it, and look whether changes are captured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from airflow_provider_atlan_meta.clients.connect import ConnectClient, ConnectConfig
from airflow_provider_atlan_meta.clients.postgres import PostgresConfig
from airflow_provider_atlan_meta.clients.postgres_capture import CaptureStore
from airflow_provider_atlan_meta.config.connections import POSTGRES_ADMIN
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.capture_health import CaptureHealth, Observation, judge
from airflow_provider_atlan_meta.core.connect_config import Difference, differences
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.connector import (
    CONNECTOR,
    OWED_SINCE,
    PUBLICATION,
    SLOT,
    ChangeConnector,
    profile,
)
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError

T = TypeVar("T")
Report = Callable[[str], None]
# Some heartbeats and what it takes to store an offset.
PROGRESS_SECONDS = 10.0
_POLL_SECONDS = 0.2
# What may pass by itself within that time.
_PASSING = ("no_progress", "no_tasks", "slot_inactive")
_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")


@dataclass(frozen=True, kw_only=True)
class CaptureConnections:
    """:param connect: extra ``database_password`` is the reference the connector is given.
    :param cdc: role meta_cdc.
    :param admin: a superuser; needed only while something is missing, and to emit again.
    """

    connect: ConnectionInfo
    cdc: ConnectionInfo
    admin: ConnectionInfo | None = None


@dataclass(frozen=True, kw_only=True)
class CaptureRequest:
    """:param seconds: how long to wait until it is healthy."""

    topic_prefix: str = "meta"
    partitions: int = 12
    replication: int = 3
    connector: str = CONNECTOR
    slot: str = SLOT
    publication: str = PUBLICATION
    seconds: float = 60.0

    @classmethod
    def from_settings(cls, settings: Settings, *, seconds: float = 60.0) -> CaptureRequest:
        return cls(
            topic_prefix=settings.text("topic_prefix"),
            partitions=settings.integer("topic_partitions"),
            replication=settings.integer("topic_replication"),
            connector=settings.text("capture_connector"),
            slot=settings.text("capture_slot"),
            seconds=seconds,
        )


@dataclass(frozen=True, kw_only=True)
class CaptureOutcome:
    """What ``apply`` did, or ``plan`` would have it do.

    :param changed: of the connector's configuration.
    :param prepared: SQL for a superuser.
    :param health: None for a plan.
    """

    connector: str
    changed: tuple[Difference, ...]
    prepared: tuple[str, ...]
    new_slot: bool
    health: CaptureHealth | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "connector": self.connector,
            "changed": [difference._asdict() for difference in self.changed],
            "prepared": list(self.prepared),
            "new_slot": self.new_slot,
            "health": None if self.health is None else health_document(self.health),
        }


def health_document(health: CaptureHealth) -> dict[str, Any]:
    """JSON-safe."""
    findings = [finding._asdict() for finding in health.findings]
    at = health.captured_at
    moment = None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
    return {**asdict(health), "findings": findings, "captured_at": moment}


class Capture:
    """The change connector of one deployment. The database is asked in short sessions.

    :param report: takes one short line about what goes on.
    """

    def __init__(
        self, connections: CaptureConnections, request: CaptureRequest, report: Report | None = None
    ) -> None:
        self._connections = connections
        self.request = request
        self.report = report or (lambda _text: None)
        self.client = ConnectClient(ConnectConfig.from_connection(connections.connect))

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    # ---- looking -----------------------------------------------------------------------------------------------------

    def observe(self) -> Observation:
        """One look at both; what does not answer is part of it."""
        name, seen = self.request.connector, Observation(at=time.monotonic())
        try:
            with self.store() as store:
                seen = replace(seen, slot=store.slot(self.request.slot))
        except TransientError as error:
            seen = replace(seen, store_error=str(error))
        try:
            offsets = [entry.offset or {} for entry in self.client.offsets(name)]
            config = self.client.config(name) or {}
            seen = replace(seen, connector=self.client.status(name), owed_since=config.get(OWED_SINCE, ""))
        except TransientError as error:
            return replace(seen, connect_error=str(error))
        if not offsets:
            return seen
        moment = offsets[0].get("ts_usec")
        return replace(
            seen,
            captured=max(int(offsets[0].get(key) or 0) for key in ("lsn", "lsn_proc", "lsn_commit")),
            captured_at=moment / 1e6 if moment else None,
        )

    def health(self, seconds: float = PROGRESS_SECONDS) -> CaptureHealth:
        """Looks until the slot was seen to move; at most so long."""
        return self._until(lambda health: not _may_pass(health), seconds)

    def _until(self, enough: Callable[[CaptureHealth], bool], seconds: float) -> CaptureHealth:
        first = self.observe()
        deadline = time.monotonic() + seconds
        health = judge(first)
        while not enough(health) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            now = self.observe()
            if first.slot is None or not first.slot.active:
                first = now  # a slot nobody reads says nothing about the one who does
            health = judge(now, first)
        return health

    # ---- applying ----------------------------------------------------------------------------------------------------

    def plan(self) -> CaptureOutcome:
        """What ``apply`` would do.

        :raises TerminalError: the slot is lost.
        """
        request = self.request
        with self.store() as store:
            missing = store.missing(self._connections.cdc.login, request.publication, request.slot)
        seen = self.observe()
        if seen.connect_error:
            raise TransientError(seen.connect_error)
        health = judge(seen)
        if health.is_lost:
            raise TerminalError(health.describe())
        return CaptureOutcome(
            connector=request.connector,
            changed=differences(self.client.config(request.connector), self.profile()),
            prepared=tuple(missing),
            new_slot=seen.slot is None,
        )

    def apply(self) -> CaptureOutcome:
        """Prepares the database, creates or changes the connector, starts it, waits until it is healthy."""
        outcome = self.plan()
        if outcome.prepared:
            self.report("preparing the database")
            self._prepare(outcome.prepared)
        if outcome.new_slot:
            self.report("making the replication slot")
            with self.store() as store:
                store.create_slot(self.request.slot)
        if outcome.changed:
            self.put(self.profile())
        self.start()
        return replace(outcome, health=self.await_healthy())

    def _prepare(self, statements: Sequence[str]) -> None:
        if self._connections.admin is None:
            raise ConfigurationError(
                f"{POSTGRES_ADMIN} is not defined; let a superuser run: {'; '.join(statements)}"
            )
        with CaptureStore(PostgresConfig.from_connection(self._connections.admin)) as admin:
            admin.run(statements)

    def put(self, config: dict[str, str]) -> None:
        """:raises ConfigurationError: Connect finds it wrong; tells what."""
        self.report("applying the connector")
        name = self.request.connector
        wrong = self.patiently(lambda: self.client.validate(name, config))
        if wrong:
            listed = "; ".join(f"{key}: {', '.join(errors)}" for key, errors in sorted(wrong.items()))
            raise ConfigurationError(f"Connect refuses the connector's configuration: {listed}")
        self.patiently(lambda: self.client.apply(name, config))

    def start(self) -> None:
        """What is stopped goes on, what has failed is tried again."""
        name = self.request.connector
        state = self.patiently(lambda: self.client.status(name))
        # right behind a change of its configuration a stopped one says UNASSIGNED for a moment
        if state is not None and state.state not in ("RUNNING", "FAILED"):
            self.patiently(lambda: self.client.resume(name))
        elif state is not None and "FAILED" in (state.state, *(task.state for task in state.tasks)):
            self.report("restarting what has failed")
            self.patiently(lambda: self.client.restart(name))

    def stop(self) -> None:
        """Returns when no task is left; does nothing where there is no connector."""
        name = self.request.connector
        if self.patiently(lambda: self.client.status(name)) is None:
            return
        self.report("stopping the connector")
        self.patiently(lambda: self.client.stop(name))
        deadline = time.monotonic() + self.request.seconds
        while (state := self.patiently(lambda: self.client.status(name))) is not None:
            if state.state == "STOPPED" and not state.tasks:
                return
            if time.monotonic() > deadline:
                raise TransientError(
                    f"connector {name} does not stop; its slot and position are as they were"
                )
            time.sleep(_POLL_SECONDS)

    def await_healthy(self) -> CaptureHealth:
        """:raises TransientError: not in time; tells what is found wrong.
        :raises TerminalError: the slot is lost.
        """
        self.report("waiting until changes are captured")
        health = self._until(lambda health: health.is_healthy or health.is_lost, self.request.seconds)
        if health.is_lost:
            raise TerminalError(health.describe())
        if not health.is_healthy:
            seconds, name = self.request.seconds, self.request.connector
            raise TransientError(f"{name} is not healthy after {seconds:.0f} s. {health.describe()}")
        return health

    # ---- connections -------------------------------------------------------------------------------------------------

    @contextmanager
    def store(self) -> Iterator[CaptureStore]:
        """A session as role meta_cdc."""
        with CaptureStore(PostgresConfig.from_connection(self._connections.cdc)) as store:
            yield store

    def patiently(self, call: Callable[[], T]) -> T:
        """Workers rebalance, and refuse for that while, whenever a connector comes or goes."""
        deadline = time.monotonic() + self.request.seconds
        while True:
            try:
                return call()
            except TransientError as error:
                if time.monotonic() > deadline:
                    raise
                time.sleep(min(error.retry_after or _POLL_SECONDS, 1.0))

    def profile(self) -> dict[str, str]:
        """The configuration this deployment's connector has to have."""
        request, cdc = self.request, PostgresConfig.from_connection(self._connections.cdc)
        return profile(
            ChangeConnector(
                host=cdc.host,
                port=cdc.port,
                user=cdc.user,
                database=cdc.database,
                password=_reference(self._connections.connect),
                tls={name: cdc.parameters[name] for name in _TLS if name in cdc.parameters},
                topic_prefix=request.topic_prefix,
                partitions=request.partitions,
                replication=request.replication,
                slot=request.slot,
                publication=request.publication,
            )
        )


def _may_pass(health: CaptureHealth) -> bool:
    serious = [finding for finding in health.findings if finding.severity != "warning"]
    return bool(serious) and all(finding.code in _PASSING for finding in serious)


def _reference(connect: ConnectionInfo) -> str:
    reference = str(connect.extra.get("database_password") or "")
    if not reference:
        raise ConfigurationError(
            f"connection {connect.conn_id!r} needs database_password in its extra: where the workers find the password "
            "of role meta_cdc, e.g. ${file:/etc/connect/meta.properties:password}"
        )
    return reference


def ensure_change_capture(
    connections: CaptureConnections, request: CaptureRequest, report: Report | None = None
) -> CaptureOutcome:
    """Changes of the store's rows reach the changes topic when this returns. Harmless to repeat.

    :raises ConfigurationError: something is missing that only a person can bring; the text says what.
    :raises TerminalError: the replication slot is lost: ``capture_recovery.recover_change_capture``.
    :raises TransientError: not healthy in time.
    """
    with Capture(connections, request, report) as capture:
        return capture.apply()
