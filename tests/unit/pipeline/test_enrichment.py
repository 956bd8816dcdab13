"""A batch asks once, waits no longer than it may, and is never held back by what goes wrong there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    RejectedError,
    TerminalError,
    TransientError,
)
from airflow_provider_atlan_meta.core.merging import IncidentState
from airflow_provider_atlan_meta.core.montecarlo_api import Alert, answer_of, parse_alert
from airflow_provider_atlan_meta.core.rows import STATUS, Answer, EventRow
from airflow_provider_atlan_meta.pipeline.enrichment import Answers, Enrichment, EnrichmentPolicy
from airflow_provider_atlan_meta.testing.clock import ManualClock
from airflow_provider_atlan_meta.testing.records import webhook_record


class FakeAlerts:
    """Knows every incident, but those in ``unknown``."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.timeouts: set[float] = set()
        self.trouble: AtlanMetaError | None = None
        self.unknown: set[str] = set()
        self.status = "FIXED"

    def by_ids(self, ids: Sequence[str], *, timeout_seconds: float) -> dict[str, Alert]:
        self.calls.append(list(ids))
        self.timeouts.add(timeout_seconds)
        if self.trouble is not None:
            raise self.trouble
        return {one: alert(one, self.status) for one in ids if one not in self.unknown}


def alert(incident: str, status: str) -> Alert:
    node = {
        "id": incident,
        "status": status,
        "createdTime": "2026-11-18T11:00:00Z",
        "updatedTime": "2026-11-18T11:06:00Z",
    }
    return parse_alert(json.dumps(node).encode())


class Desk:
    """An enrichment with a clock, one source for the tenants named and everything it told."""

    def __init__(self, *tenants: str) -> None:
        self.source, self.clock = FakeAlerts(), ManualClock()
        self.told: list[tuple[str, str]] = []
        self.lease_left = 30.0
        self.enrichment = Enrichment(
            lambda tenant: self.source if tenant in (tenants or ("acme",)) else None,
            told=lambda tenant, outcome, _: self.told.append((tenant, outcome)),
            clock=self.clock,
        )

    def ask(self, *events: EventRow, derive: Any = answer_of, **current: IncidentState) -> Answers:
        return self.enrichment.answers(
            events,
            {("acme", incident): state for incident, state in current.items()},
            derive=derive,
            lease_left=lambda: self.lease_left,
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()


def webhook(offset: int, incident: str | None = "inc", *, tenant: str = "acme", **payload: Any) -> EventRow:
    return enrich(webhook_record(incident, offset=offset, tenant=tenant, **payload))


def status_of(answer: Answer | None) -> Any:
    return answer and answer.statement[STATUS]


def test_the_incidents_of_a_batch_are_one_call_per_tenant() -> None:
    desk = Desk("acme", "zeta")
    batch = [webhook(0, "b"), webhook(1, "a"), webhook(2, "b", owner="kim"), webhook(3, "c", tenant="zeta")]

    answers = desk.ask(*batch)

    assert desk.source.calls == [["a", "b"], ["c"]]
    assert desk.source.timeouts == {2.0}
    assert {key: status_of(answer) for key, answer in answers.items()} == {
        ("acme", "a"): "FIXED",
        ("acme", "b"): "FIXED",
        ("zeta", "c"): "FIXED",
    }
    assert desk.told == [("acme", "answered"), ("zeta", "answered")]


def test_a_tenant_without_an_api_is_not_asked_about() -> None:
    desk = Desk("zeta")

    assert desk.ask(webhook(0)) == {}
    assert (desk.source.calls, desk.told) == ([], [])


def test_what_wakes_nobody_is_not_asked_about(desk: Desk) -> None:
    said = webhook(4)
    again = IncidentState(last_event_id=said.event_id, log_position=3)

    assert desk.ask(said, webhook(5, None), inc=again) == {}
    assert desk.source.calls == []


def test_an_incident_the_api_does_not_know_has_no_answer(desk: Desk) -> None:
    desk.source.unknown = {"merged"}

    answers = desk.ask(webhook(0, "merged"), webhook(1, "known"))

    assert answers["acme", "merged"] is None
    assert status_of(answers["acme", "known"]) == "FIXED"


def test_an_answer_that_cannot_be_stored_is_none(desk: Desk) -> None:
    def refuse(_: Alert, __: str) -> Answer:
        raise RejectedError("text too long")

    assert desk.ask(webhook(0), derive=refuse) == {("acme", "inc"): None}


def test_a_failure_is_no_answer_and_nobody_is_asked_for_a_while(desk: Desk) -> None:
    desk.source.trouble = TransientError("away")

    assert desk.ask(webhook(0)) == {("acme", "inc"): None}
    desk.clock.advance(4.9)
    assert desk.ask(webhook(1)) == {("acme", "inc"): None}
    assert (len(desk.source.calls), desk.told) == (1, [("acme", "failed"), ("acme", "skipped")])

    desk.source.trouble = None
    desk.clock.advance(0.2)
    assert status_of(desk.ask(webhook(2))["acme", "inc"]) == "FIXED"


@pytest.mark.parametrize(
    ("trouble", "seconds"),
    [(TransientError("quota", retry_after=120.0), 120.0), (TerminalError("bad key"), 300.0)],
)
def test_nobody_is_asked_before_the_api_says_so_or_somebody_may_have_cured_it(
    desk: Desk, trouble: AtlanMetaError, seconds: float
) -> None:
    desk.source.trouble = trouble
    desk.ask(webhook(0))

    desk.clock.advance(seconds - 0.1)
    desk.ask(webhook(1))
    assert len(desk.source.calls) == 1

    desk.clock.advance(0.2)
    desk.ask(webhook(2))
    assert len(desk.source.calls) == 2


def test_one_tenant_s_trouble_is_not_another_s() -> None:
    desk = Desk("acme", "zeta")
    desk.source.trouble = TransientError("away", retry_after=60.0)
    desk.ask(webhook(0))
    desk.source.trouble = None

    assert status_of(desk.ask(webhook(1, tenant="zeta"))["zeta", "inc"]) == "FIXED"


@pytest.mark.parametrize(("left", "calls"), [(6.9, 0), (7.0, 1)])
def test_no_call_starts_that_the_lease_might_not_outlive(desk: Desk, left: float, calls: int) -> None:
    desk.lease_left = left

    desk.ask(webhook(0))

    assert len(desk.source.calls) == calls


def test_a_batch_that_is_planned_again_in_parts_is_not_asked_about_again(desk: Desk) -> None:
    desk.source.unknown = {"b"}
    batch = [webhook(0, "a"), webhook(1, "b"), webhook(2, "a", owner="kim")]
    whole = desk.ask(*batch)

    assert {**desk.ask(batch[0]), **desk.ask(*batch[1:])} == whole
    assert len(desk.source.calls) == 1


def test_a_webhook_behind_the_last_call_is_asked_about(desk: Desk) -> None:
    desk.ask(webhook(0))
    desk.source.status = "EXPECTED"

    assert status_of(desk.ask(webhook(1, owner="kim"))["acme", "inc"]) == "EXPECTED"


def test_a_backlog_of_many_incidents_is_left_to_the_poll(desk: Desk) -> None:
    most = EnrichmentPolicy().max_incidents

    assert len(desk.ask(*[webhook(n, f"inc-{n}") for n in range(most)])) == most
    assert desk.ask(*[webhook(n, f"other-{n}") for n in range(most + 1)]) == {}
    assert (len(desk.source.calls), desk.told[-1]) == (1, ("acme", "skipped"))
