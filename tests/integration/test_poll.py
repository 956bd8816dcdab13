"""What Monte Carlo's API knows, through a real topic into real rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from contract.montecarlo_recorder import alert_id
from contract.recorder_server import serving

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.pipeline.poll import Polled
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation, Topics
from airflow_provider_atlan_meta.services.ingest import IngestRequest, LeaseOwner, ingest_once
from airflow_provider_atlan_meta.services.poll import PollRequest, poll_once
from airflow_provider_atlan_meta.testing.montecarlo_api import MonteCarloApi
from airflow_provider_atlan_meta.testing.records import produce, webhook_record

pytestmark = pytest.mark.integration
CONN_ID = "atlan_meta_montecarlo_tenant_acme"


@dataclass
class Lane:
    """An API, a topic and a database of one's own."""

    database: Database
    topics: Topics
    api: MonteCarloApi
    connection: ConnectionInfo
    cursors: dict[str, int] = field(default_factory=dict)

    def poll(self) -> Polled:
        [polled] = poll_once(
            find={CONN_ID: self.connection}.get,
            kafka=self.topics.kafka,
            postgres=self.database.ingest,
            request=PollRequest(topic=self.topics.events, tenants=("acme",)),
            cursors=dict(self.cursors),
            moved=lambda tenant, updated_at: self.cursors.update({tenant: updated_at}),
        ).tenants
        return polled

    def ingest(self) -> None:
        ingest_once(
            kafka=self.topics.kafka,
            postgres=self.database.ingest,
            request=IngestRequest(topic=self.topics.events),
            owner=LeaseOwner(id=uuid4(), label="test"),
        )

    def incidents(self) -> dict[str, tuple[Any, ...]]:
        with psycopg.connect(self.database.dsn(self.database.admin), autocommit=True) as connection:
            rows = connection.execute(
                "select incident_id, title, status, unconfirmed, revision from meta.incident"
            ).fetchall()
        return {row[0]: row[1:] for row in rows}


@pytest.fixture
def lane(isolation: Isolation) -> Iterator[Lane]:
    with serving() as (url, recorder):
        info = ConnectionInfo(conn_id=CONN_ID, host=f"{url}/montecarlo", login="id", password="t")
        yield Lane(isolation.new_database(), isolation.new_topics(2), recorder.montecarlo, info)


def ago(**back: float) -> str:
    return (datetime.now(UTC) - timedelta(**back)).isoformat()


def test_lost_webhooks_are_found_and_the_last_word_is_the_apis(lane: Lane) -> None:
    webhook = webhook_record(alert_id(1), alert_feedback="investigating")
    produce(lane.topics.kafka.extra, lane.topics.events, [webhook])
    lane.ingest()
    assert lane.incidents()[alert_id(1)][1:3] == ("ACKNOWLEDGED", True)

    lane.api.put(
        [
            # its webhook of the end was lost, long ago
            {"id": alert_id(1), "title": "Stale", "status": "FIXED", "updatedTime": ago(days=20)},
            # no webhook of it ever came
            {"id": alert_id(2), "title": "Lost", "updatedTime": ago(hours=2)},
        ]
    )
    assert lane.poll() == Polled(tenant="acme", found=1, published=2, unconfirmed=1)
    lane.ingest()

    assert lane.incidents() == {
        alert_id(1): ("Stale", "FIXED", False, 2),
        alert_id(2): ("Lost", None, False, 1),
    }
    assert lane.poll() == Polled(tenant="acme", found=1)
    lane.api.put([{"id": alert_id(2), "title": "Lost", "status": "EXPECTED", "updatedTime": ago(hours=1)}])
    assert lane.poll() == Polled(tenant="acme", found=1, published=1)
    assert lane.poll().published == 1, "what ingest has not read is asked for again"
    lane.ingest()
    assert lane.incidents()[alert_id(2)] == ("Lost", "EXPECTED", False, 2)
    assert lane.poll().published == 0
