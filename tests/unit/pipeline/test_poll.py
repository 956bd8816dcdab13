"""Alerts from Monte Carlo's API, as the recorder answers for it, to the log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from contract.montecarlo_recorder import MonteCarloRecorder, alert_id

from airflow_provider_atlan_meta.clients.montecarlo import MonteCarloClient, MonteCarloConfig
from airflow_provider_atlan_meta.core.alert_poll import PollWindow
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.merging import IncidentKey, IncidentState
from airflow_provider_atlan_meta.core.ports import OutboundRecord
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS, UPDATED_AT, LogRecord
from airflow_provider_atlan_meta.pipeline.poll import AlertPoll, Polled

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
WINDOW = PollWindow(after=NOON, before=NOON + timedelta(hours=1))
TOPIC = "meta.events.v1"


class Rows:
    """What the store knows."""

    def __init__(self) -> None:
        self.states: dict[str, IncidentState] = {}

    def set(
        self, number: int, updated: datetime | None, *, position: int = 0, unconfirmed: bool = False
    ) -> None:
        values: list[Any] = [None] * len(INCIDENT_FIELDS)
        values[UPDATED_AT] = None if updated is None else int(updated.timestamp() * 1_000_000)
        self.states[alert_id(number)] = IncidentState(
            tuple(values), log_position=position, unconfirmed=unconfirmed, revision=1
        )

    def read_incidents(self, keys: Sequence[IncidentKey]) -> dict[IncidentKey, IncidentState]:
        assert all(tenant == "acme" for tenant, _ in keys)
        return {key: self.states[key[1]] for key in keys if key[1] in self.states}

    def unconfirmed(self, tenant: str, limit: int) -> list[str]:
        return [incident_id for incident_id, state in self.states.items() if state.unconfirmed][:limit]


class Log:
    """Takes records; may be away."""

    def __init__(self) -> None:
        self.records: list[OutboundRecord] = []
        self.is_away = False

    def send(self, records: Sequence[OutboundRecord]) -> None:
        if self.is_away:
            raise TransientError("Kafka is away")
        self.records += records

    def said(self) -> dict[str, int]:
        """incident -> what was seen of its row."""
        events = [json.loads(record.value or b"") for record in self.records]
        return {event["subject"]: event["data"]["seen"] for event in events}


@pytest.fixture
def api() -> MonteCarloRecorder:
    return MonteCarloRecorder()


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def poll(api: MonteCarloRecorder, rows: Rows, log: Log) -> Iterator[AlertPoll]:
    info = ConnectionInfo(conn_id="mc", host="https://recorder/montecarlo", login="id", password="t")
    with MonteCarloClient(MonteCarloConfig.from_connection(info), transport=api.transport()) as client:
        yield AlertPoll(
            "acme", api=client, rows=rows, sender=log, topic=TOPIC, now_ms=lambda: 1_763_000_000_000
        )


def updated(number: int, minutes: float, **fields: Any) -> dict[str, Any]:
    return {
        "id": alert_id(number),
        "updatedTime": (NOON + timedelta(minutes=minutes)).isoformat(),
        **fields,
    }


def test_what_webhooks_missed_is_published_and_what_is_known_is_not(
    api: MonteCarloRecorder, rows: Rows, log: Log, poll: AlertPoll
) -> None:
    api.set(updated(1, 1), updated(2, 2), updated(3, 3))
    rows.set(1, NOON + timedelta(minutes=1), position=5)
    rows.set(2, NOON + timedelta(minutes=1), position=6)
    moved: list[int] = []
    poll.read_window(WINDOW, moved.append)
    assert log.said() == {alert_id(2): 6, alert_id(3): -1}
    assert moved == [int((NOON + timedelta(minutes=3)).timestamp() * 1_000_000)]
    assert poll.outcome() == Polled(tenant="acme", found=3, published=2)


def test_each_alert_is_asked_for_again_in_one_call_behind_the_look_at_its_row(
    api: MonteCarloRecorder, rows: Rows, log: Log, poll: AlertPoll
) -> None:
    """A webhook that arrives between the two calls counts as seen, the second answer is newer than it; one that
    arrives during the second call does not.
    """
    api.set(*(updated(number, 1) for number in range(1, 6)))

    def webhook_arrives() -> None:
        if len(api.calls()) == 1:
            rows.set(1, None, position=9, unconfirmed=True)
            api.set(updated(1, 2, status="FIXED"))
        else:
            rows.set(1, None, position=10, unconfirmed=True)

    api.before_answer.append(webhook_arrives)
    poll.read_window(WINDOW, lambda _: None)
    assert len(api.calls()) == 2
    assert log.said()[alert_id(1)] == 9
    [told] = [json.loads(r.value or b"") for r in log.records if alert_id(1).encode() in (r.key or b"")]
    assert told["data"]["alert"]["status"] == "FIXED"


def test_what_only_webhooks_told_of_is_confirmed_however_old_it_is(
    api: MonteCarloRecorder, rows: Rows, log: Log, poll: AlertPoll
) -> None:
    api.set(updated(1, -60 * 24 * 300), updated(2, 1))
    rows.set(1, NOON - timedelta(days=300), position=3, unconfirmed=True)
    rows.set(2, None, position=4, unconfirmed=True)
    rows.set(3, None, position=5, unconfirmed=True)
    poll.read_window(WINDOW, lambda _: None)
    poll.confirm(100)
    assert log.said() == {alert_id(2): 4, alert_id(1): 3}
    assert len(log.records) == 2
    assert poll.outcome() == Polled(tenant="acme", found=1, published=2, unconfirmed=1)


def test_nothing_moves_while_kafka_is_away(api: MonteCarloRecorder, log: Log, poll: AlertPoll) -> None:
    api.set(updated(1, 1))
    log.is_away = True
    moved: list[int] = []
    with pytest.raises(TransientError):
        poll.read_window(WINDOW, moved.append)
    assert moved == []


def test_an_alert_no_record_can_hold_stops_no_other(
    api: MonteCarloRecorder, log: Log, poll: AlertPoll
) -> None:
    api.put_large(alert_id(1), NOON + timedelta(minutes=1))
    api.set(updated(2, 2))
    poll.read_window(WINDOW, lambda _: None)
    assert log.said().keys() == {alert_id(2)}
    assert poll.outcome().rejected == 1


def test_ingest_reads_the_records_as_they_are_written(
    api: MonteCarloRecorder, rows: Rows, log: Log, poll: AlertPoll
) -> None:
    api.set(updated(1, 1, status="FIXED", severity="SEV_2", title="Stale"))
    rows.set(1, None, position=8, unconfirmed=True)
    poll.confirm(10)
    [record] = log.records
    event = enrich(LogRecord(0, 12, record.key, record.value, tuple(record.headers)))
    assert (event.tenant_id, event.subject, event.seen) == ("acme", alert_id(1), 8)
    assert event.occurred_at == int((NOON + timedelta(minutes=1)).timestamp() * 1_000_000)
    assert event.statement is not None
    assert "FIXED" in event.statement
