"""What a poll asks for, what it takes for news, and the event an alert is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.alert_poll import PollWindow, alert_event, news, poll_window
from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError
from airflow_provider_atlan_meta.core.merging import IncidentState
from airflow_provider_atlan_meta.core.montecarlo_api import Alert, parse_alert
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS, UPDATED_AT

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MINUTE = 60_000_000
AT = int(NOW.timestamp()) * 1_000_000
ID = "0b9d3c8e-2f67-4d0a-8c42-6f1f5f3a7e11"


def alert(updated: str = "2026-11-25T12:00:00.480000+00:00", **fields: object) -> Alert:
    node = {"id": ID, "createdTime": updated, "updatedTime": updated, **fields}
    return parse_alert(msgspec.json.encode(node))


def row(updated_at: int | None, *, unconfirmed: bool = False) -> IncidentState:
    values: list[object] = [None] * len(INCIDENT_FIELDS)
    values[UPDATED_AT] = updated_at
    return IncidentState(tuple(values), log_position=7, unconfirmed=unconfirmed, revision=1)


def test_a_poll_goes_on_ten_minutes_before_the_newest_time_it_read() -> None:
    asked = poll_window(AT - 60 * MINUTE, now=NOW)
    assert asked.after == NOW - timedelta(minutes=70)
    assert asked.before > NOW


def test_the_clock_moves_no_window() -> None:
    later = NOW + timedelta(days=30)
    assert poll_window(AT, now=later).after == NOW - timedelta(minutes=10)


def test_an_alert_from_the_future_hides_no_other() -> None:
    assert poll_window(AT + 10_000 * MINUTE, now=NOW).after == NOW - timedelta(minutes=10)


def test_the_first_poll_looks_a_day_back() -> None:
    assert poll_window(None, now=NOW).after == NOW - timedelta(days=1)


def test_what_somebody_asks_for_wins() -> None:
    since, until = NOW - timedelta(days=90), NOW - timedelta(days=80)
    assert poll_window(AT, now=NOW, since=since, until=until) == PollWindow(after=since, before=until)


def test_a_window_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="`from` must be before `to`"):
        poll_window(None, now=NOW, since=NOW, until=NOW)


@pytest.mark.parametrize(
    ("known", "is_news"),
    [
        (None, True),
        (row(None), True),
        (row(AT), True),
        (row(AT + 480_000), False),
        (row(AT + 1_000_000), False),
        (row(AT + 480_000, unconfirmed=True), True),
    ],
)
def test_only_what_the_store_does_not_know_is_news(known: IncidentState | None, is_news: bool) -> None:
    rows = {} if known is None else {ID: known}
    assert news([alert(), alert()], rows) == ([ID] if is_news else [])


def test_an_alert_is_an_event_with_its_time_and_what_was_seen() -> None:
    event = alert_event("acme", alert(status="FIXED"), 41)
    assert (event.source, event.type, event.subject) == ("montecarlo", "alert", ID)
    assert event.time == "2026-11-25T12:00:00.480000Z"
    data = json.loads(bytes(event.data))
    assert data["seen"] == 41
    assert data["alert"]["status"] == "FIXED"


def test_one_version_of_an_alert_has_one_id_however_its_time_is_written() -> None:
    written = ["2026-11-25T12:00:00.480000+00:00", "2026-11-25T12:00:00.48Z", "2026-11-25T13:00:00.480+01:00"]
    ids = {alert_event("acme", alert(text), seen).id for seen, text in enumerate(written)}
    assert ids == {str(identity.event_id("acme", "montecarlo", f"{ID}|2026-11-25T12:00:00.480000Z"))}


def test_an_alert_larger_than_an_event_may_be_is_no_event() -> None:
    with pytest.raises(RejectedError, match="larger"):
        alert_event("acme", alert(title="x" * (1 << 20)), -1)
