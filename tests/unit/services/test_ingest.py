"""The engine wired up: one bounded call, and a service that outlives what a retry cures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    ConfigurationError,
    RejectedError,
    TerminalError,
    TransientError,
)
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange
from airflow_provider_atlan_meta.services import ingest, mappings
from airflow_provider_atlan_meta.services.ingest import (
    IngestRequest,
    IngestService,
    Listener,
    ingest_once,
    service_owner,
)
from airflow_provider_atlan_meta.testing.memory import MemoryLane, MemoryLedger, MemoryLog, MemoryStore
from airflow_provider_atlan_meta.testing.memory_mappings import MemoryMappings
from airflow_provider_atlan_meta.testing.records import webhook_record

KAFKA = ConnectionInfo(conn_id="k", conn_type="kafka", extra={"bootstrap.servers": "127.0.0.1:1"})
POSTGRES = ConnectionInfo(conn_id="p", conn_type="postgres", host="127.0.0.1", port=1, schema="db")


class Wiring:
    """A lane in memory in the places of Kafka and PostgreSQL, and what was made of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lane = MemoryLane(partitions=2)
        self.logs: list[MemoryLog] = []
        self.stores: list[MemoryStore] = []
        self.published: list[str] = []
        self.publishing: Callable[[], int] = lambda: 0
        self.on_log: Callable[[MemoryLog], object] = lambda _: None
        monkeypatch.setattr(ingest, "KafkaLog", self._log)
        monkeypatch.setattr(ingest, "PostgresStore", self._store)
        monkeypatch.setattr(ingest, "PostgresLedger", self._ledger)
        monkeypatch.setattr(mappings, "PostgresMappings", lambda _: MemoryMappings())
        monkeypatch.setattr(ingest, "publish_dead_letters", self._publish)

    def _log(self, config: object, topic: str, *, to_end: bool) -> MemoryLog:
        assert to_end, "without ends no cursor passes a transaction's marker"
        log = MemoryLog(self.lane.topic, clock=self.lane.clock)
        self.on_log(log)
        self.logs.append(log)
        return log

    def _store(self, config: object, *, application_name: str) -> MemoryStore:
        self.stores.append(MemoryStore(self.lane.database))
        return self.stores[-1]

    def _ledger(self, store: object, owner: LeaseOwner, *, sink: str, lease_seconds: float) -> MemoryLedger:
        assert store is self.stores[-1]
        return self.lane.ledger(owner, lease_seconds=lease_seconds)

    def _publish(self, outbox: object, sender: object, topic: str) -> int:
        self.published.append(topic)
        return self.publishing()

    def assert_all_closed(self) -> None:
        assert self.logs
        assert all(log.is_closed for log in self.logs)
        assert all(store.is_closed for store in self.stores)

    def once(self, **request: Any) -> ingest.IngestOutcome:
        request.setdefault("topic", "meta.events.v1")
        return ingest_once(
            kafka=KAFKA, postgres=POSTGRES, request=IngestRequest(**request), owner=service_owner("test")
        )

    def service(self, **arguments: Any) -> IngestService:
        settings = Settings({"AIRFLOW_HOME": "/nowhere", **arguments.pop("environ", {})})
        return IngestService(
            kafka=KAFKA, postgres=POSTGRES, settings=settings, owner=service_owner("test"), **arguments
        )


@pytest.fixture
def wiring(monkeypatch: pytest.MonkeyPatch) -> Wiring:
    return Wiring(monkeypatch)


# ---- one bounded call --------------------------------------------------------------------------------------


def test_one_call_stores_what_is_there_and_closes_what_it_opened(wiring: Wiring) -> None:
    wiring.lane.publish(0, "inc-1")
    wiring.lane.publish(1, "inc-2")

    assert wiring.once().records == 2
    wiring.assert_all_closed()


def test_a_dry_run_takes_no_lease(wiring: Wiring) -> None:
    wiring.lane.publish(0, "inc-1")

    outcome = wiring.once(dry_run=True)

    assert (outcome.records, outcome.dry_run, wiring.lane.database.ledger) == (1, True, {})


def test_a_failed_call_closes_what_it_opened(wiring: Wiring) -> None:
    wiring.lane.database.is_up = False

    with pytest.raises(TransientError):
        wiring.once()

    wiring.assert_all_closed()


@pytest.mark.parametrize(
    ("request_fields", "text"),
    [
        ({"batch_records": 0}, "batch_records = 0"),
        ({"batch_records": 1001}, "one statement of 1 to 1000 records"),
        ({"lease_seconds": 0.0}, "lease_seconds = 0.0 must be positive"),
        ({"max_records": 0}, "max_records = 0"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_anything_is_opened(
    wiring: Wiring, request_fields: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        wiring.once(**request_fields)

    assert wiring.logs == []


def test_dead_letters_are_published_after_the_commit_that_made_them(wiring: Wiring) -> None:
    wiring.lane.topic.append(0, webhook_record()._replace(value=None))

    wiring.once(dead_letter_topic="meta.dead-letter.v1")

    assert wiring.published == ["meta.dead-letter.v1"]


@pytest.mark.parametrize("error", [TransientError("Kafka away"), RejectedError("too large")], ids=repr)
def test_dead_letters_that_cannot_be_published_stop_nobody_and_are_tried_again(
    wiring: Wiring, error: Exception
) -> None:
    def refuse() -> int:
        raise error

    wiring.publishing = refuse
    wiring.lane.topic.append(0, webhook_record()._replace(value=None))
    wiring.lane.publish(0, "inc-1")
    wiring.lane.publish(1, "inc-2")

    outcome = wiring.once(dead_letter_topic="meta.dead-letter.v1")

    assert (outcome.records, outcome.rejected, len(wiring.published)) == (3, 1, 2)


# ---- the service -------------------------------------------------------------------------------------------


def test_the_service_stores_what_comes_until_it_is_stopped(wiring: Wiring) -> None:
    wiring.lane.publish(0, "inc-1")
    seen: list[tuple[bool, tuple[int, ...]]] = []

    def batch(part: PartitionRange) -> None:
        seen.append((service.is_ready, service.owned))
        service.stop()

    service = wiring.service(listener=Listener(batch=batch))
    service.run()

    assert seen == [(True, (0, 1))]
    assert (service.is_ready, service.owned) == (False, ())
    assert wiring.lane.cursors() == {0: 1, 1: 0}
    wiring.assert_all_closed()


def test_trouble_is_told_waited_out_and_survived(wiring: Wiring) -> None:
    waits: list[float] = []
    errors = [TransientError("away"), TransientError("busy", retry_after=0.001), TransientError("away")]

    def fail_first(log: MemoryLog) -> None:
        if errors:
            log.fail_next(errors.pop(0))

    def trouble(error: TransientError, wait: float) -> None:
        waits.append(wait)
        service._stop.wait = lambda timeout=None: False  # type: ignore[method-assign]

    wiring.on_log = fail_first
    wiring.lane.publish(0, "inc-1")
    service = wiring.service(listener=Listener(batch=lambda _: service.stop()), on_trouble=trouble)
    service.run()

    assert wiring.lane.cursors()[0] == 1
    assert len(waits) == 3
    assert waits[1] == 0.001, "what the other side asked for"
    assert all(0 < wait <= 5 for wait in waits)
    wiring.assert_all_closed()


def test_a_cause_no_retry_cures_ends_the_service(wiring: Wiring) -> None:
    wiring.lane.publish(0, "inc-1")
    wiring.once()
    wiring.lane.topic.append(0, webhook_record())
    wiring.lane.topic.delete_before(0, 2)

    with pytest.raises(TerminalError, match="deleted by retention"):
        wiring.service().run()

    wiring.assert_all_closed()


def test_a_service_stopped_before_it_ran_opens_nothing(wiring: Wiring) -> None:
    service = wiring.service()
    service.stop()

    service.run()

    assert wiring.logs == []


def test_a_pause_after_trouble_ends_when_the_service_is_stopped(wiring: Wiring) -> None:
    wiring.on_log = lambda log: log.fail_next(TransientError("away", retry_after=3600))
    told = threading.Event()
    service = wiring.service(on_trouble=lambda *_: told.set())
    running = threading.Thread(target=service.run)
    running.start()
    assert told.wait(10)

    service.stop()
    running.join(10)

    assert not running.is_alive()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("BATCH_RECORDS", "0"), ("BATCH_RECORDS", "2000"), ("LEASE_SECONDS", "0"), ("LEASE_SECONDS", "x")],
)
def test_settings_that_make_no_sense_are_refused_before_it_runs(
    wiring: Wiring, setting: str, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=setting.lower()):
        wiring.service(environ={f"AIRFLOW__ATLAN_META__{setting}": value})


@pytest.mark.parametrize(("maximum", "owned"), [("0", (0, 1)), ("1", (0,))])
def test_max_partitions_bounds_what_it_owns_and_0_is_all(
    wiring: Wiring, maximum: str, owned: tuple[int, ...]
) -> None:
    wiring.lane.publish(0, "inc-1")
    seen: list[tuple[int, ...]] = []

    def batch(_: PartitionRange) -> None:
        seen.append(service.owned)
        service.stop()

    environ = {"AIRFLOW__ATLAN_META__MAX_PARTITIONS": maximum}
    service = wiring.service(environ=environ, listener=Listener(batch=batch))
    service.run()

    assert seen == [owned]


def test_every_start_of_a_process_is_a_new_owner() -> None:
    one, other = service_owner("ingest"), service_owner("ingest")

    assert one.id != other.id
    assert one.label == other.label
    assert not one.is_earlier_try(other.label)
