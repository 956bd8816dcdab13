"""``serve ingest`` asks Monte Carlo's API while webhooks come in, and goes on without it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from contract.montecarlo_recorder import alert_id
from contract.recorder_server import serving
from integration.conftest import Service
from integration.waiting import wait_until

from airflow_provider_atlan_meta.sandbox.isolation import Database, Topics
from airflow_provider_atlan_meta.testing.records import produce, webhook_record

pytestmark = pytest.mark.integration


def incident(database: Database) -> tuple[Any, ...] | None:
    with psycopg.connect(database.dsn(database.admin), autocommit=True) as connection:
        return connection.execute("select title, status, unconfirmed, revision from meta.incident").fetchone()


def questions(ingest: Service, outcome: str) -> float:
    with urllib.request.urlopen(f"{ingest.url}/metrics", timeout=2) as answer:
        lines = answer.read().decode().splitlines()
    counter = f'atlan_meta_ingest_questions_total{{outcome="{outcome}"}} '
    return sum(float(line.removeprefix(counter)) for line in lines if line.startswith(counter))


def test_a_row_says_what_the_api_knows_a_late_webhook_changes_nothing_and_without_the_api_one_is_believed(
    database: Database, topics: Topics, service: Callable[..., Service]
) -> None:
    updated = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    def say(feedback: str) -> None:
        webhook = webhook_record(alert_id(1), alert_feedback=feedback)
        produce(topics.kafka.extra, topics.events, [webhook])

    with serving() as (url, recorder):
        key = {
            "conn_type": "atlan_meta_montecarlo",
            "host": f"{url}/montecarlo",
            "login": "id",
            "password": "t",
        }
        environ = {"AIRFLOW_CONN_ATLAN_META_MONTECARLO_TENANT_ACME": json.dumps(key)}
        ingest = service("ingest", {**topics.environ, **database.environ, **environ})
        ingest.start()
        recorder.montecarlo.put(
            [{"id": alert_id(1), "title": "Stale", "status": "FIXED", "updatedTime": updated}]
        )

        say("no_status")
        wait_until(lambda: incident(database) == ("Stale", "FIXED", False, 1), what="the API's row")
        say("investigating")
        wait_until(lambda: questions(ingest, "answered") == 2, what="the late webhook")

    # the second revision is this one's: the late webhook made none
    say("work_in_progress")
    wait_until(
        lambda: incident(database) == ("Stale", "WORK_IN_PROGRESS", True, 2), what="the webhook believed"
    )
    assert questions(ingest, "failed") == 1
    assert ingest.terminate() == 0
