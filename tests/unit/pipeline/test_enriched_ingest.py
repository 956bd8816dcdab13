"""Webhooks and what Monte Carlo's API says, through the whole engine, in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from airflow_provider_atlan_meta.core.errors import AtlanMetaError, TransientError
from airflow_provider_atlan_meta.core.mapping import Mappings
from airflow_provider_atlan_meta.core.montecarlo_api import Alert, parse_alert
from airflow_provider_atlan_meta.core.rows import STATUS, TITLE, IncidentRow
from airflow_provider_atlan_meta.pipeline.derivation import Derivation
from airflow_provider_atlan_meta.pipeline.enrichment import Enrichment
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits, Ingest, IngestPolicy
from airflow_provider_atlan_meta.testing.memory import MemoryLane, MemoryLog, MemoryStore


class Api:
    """One account; ``seconds`` is how long it takes."""

    def __init__(self, lane: MemoryLane) -> None:
        self._lane = lane
        self.alerts: dict[str, Alert] = {}
        self.calls = 0
        self.seconds = 0.0
        self.trouble: AtlanMetaError | None = None

    def say(self, incident: str, status: str | None, *, minute: int, title: str = "the API's title") -> None:
        node = {
            "id": incident,
            "title": title,
            "status": status,
            "createdTime": "2026-11-18T11:00:00Z",
            "updatedTime": f"2026-11-18T11:{minute:02d}:00Z",
        }
        self.alerts[incident] = parse_alert(json.dumps(node).encode())

    def by_ids(self, ids: Sequence[str], *, timeout_seconds: float) -> dict[str, Alert]:
        self.calls += 1
        self._lane.clock.advance(min(self.seconds, timeout_seconds))
        if self.trouble is not None:
            raise self.trouble
        return {one: self.alerts[one] for one in ids if one in self.alerts}


class Desk:
    def __init__(self) -> None:
        self.lane = MemoryLane(partitions=3)
        self.api = Api(self.lane)
        enrichment = Enrichment(lambda _: self.api, clock=self.lane.clock)
        owner, policy = self.lane.owner(), IngestPolicy()
        store = MemoryStore(self.lane.database)
        self.engine = Ingest(
            log=MemoryLog(self.lane.topic, clock=self.lane.clock),
            ledger=self.lane.ledger(owner, lease_seconds=policy.lease_seconds),
            store=store,
            owner=owner,
            policy=policy,
            derivation=Derivation(store, Mappings, enrichment),
            clock=self.lane.clock,
        )

    def drain(self) -> None:
        self.engine.drain(DrainLimits())

    def row(self, incident: str = "inc-1") -> IncidentRow:
        return self.lane.database.tables.incidents["acme", incident]

    def status(self, incident: str = "inc-1") -> tuple[object, bool]:
        return self.row(incident).values[STATUS], self.row(incident).unconfirmed


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_incident_is_told_of_once_as_the_api_knows_it(desk: Desk) -> None:
    desk.api.say("inc-1", "WORK_IN_PROGRESS", minute=1)
    desk.lane.publish(0, "inc-1", alert_feedback="investigating")

    desk.drain()

    assert desk.status() == ("WORK_IN_PROGRESS", False)
    assert (desk.row().revision, desk.row().values[TITLE]) == (1, "the API's title")
    assert len([one for one in desk.lane.database.tables.changes if one.kind == "incident"]) == 1


def test_an_api_that_is_away_holds_nothing_back_and_the_webhook_is_believed(desk: Desk) -> None:
    desk.api.say("inc-1", None, minute=1)
    desk.lane.publish(0, "inc-1")
    desk.drain()
    desk.api.trouble = TransientError("away")
    desk.lane.publish(0, "inc-1", alert_feedback="fixed")

    desk.drain()

    assert desk.status() == ("FIXED", True)
    assert desk.row().values[TITLE] == "the API's title"


def test_a_webhook_that_comes_late_makes_no_change_where_the_api_knows_better(desk: Desk) -> None:
    desk.api.say("inc-1", "FIXED", minute=2)
    desk.lane.publish(0, "inc-1", alert_feedback="fixed")
    desk.drain()

    desk.lane.publish(0, "inc-1", alert_feedback="investigating")
    desk.drain()

    assert (desk.status(), desk.row().revision) == (("FIXED", False), 1)


def test_a_batch_that_the_store_takes_only_in_parts_is_asked_about_once(desk: Desk) -> None:
    desk.lane.database.refuses = lambda event: event.subject == "inc-5"
    for number in range(8):
        desk.api.say(f"inc-{number}", "FIXED", minute=1)
        desk.lane.publish(0, f"inc-{number}")

    desk.drain()

    assert desk.api.calls == 1
    assert desk.status("inc-4") == desk.status("inc-6") == ("FIXED", False)


def test_an_api_that_hangs_is_waited_for_once_by_all_partitions(desk: Desk) -> None:
    desk.api.seconds, desk.api.trouble = 60.0, TransientError("no answer in time")
    for partition in range(3):
        desk.lane.publish(partition, f"inc-{partition}")
    started = desk.lane.clock()

    desk.drain()

    assert desk.api.calls == 1
    assert desk.lane.clock() - started < 3.0
    assert [desk.row(f"inc-{n}").unconfirmed for n in range(3)] == [True] * 3


def test_slow_answers_never_outlive_the_lease(desk: Desk) -> None:
    """Partitions of one poll are written one after another, and the lease is renewed only before the next poll."""
    lane = desk.lane
    policy = IngestPolicy(lease_seconds=8.0)
    store = MemoryStore(lane.database)
    owner = lane.owner()
    desk.api.seconds = 1.5
    engine = Ingest(
        log=MemoryLog(lane.topic, clock=lane.clock),
        ledger=lane.ledger(owner, lease_seconds=policy.lease_seconds),
        store=store,
        owner=owner,
        policy=policy,
        derivation=Derivation(store, Mappings, Enrichment(lambda _: desk.api, clock=lane.clock)),
        clock=lane.clock,
    )
    for partition in range(3):
        desk.api.say(f"inc-{partition}", "FIXED", minute=1)
        lane.publish(partition, f"inc-{partition}")

    engine.drain(DrainLimits())

    assert desk.api.calls == 1
    assert sorted(desk.row(f"inc-{n}").unconfirmed for n in range(3)) == [False, True, True]
