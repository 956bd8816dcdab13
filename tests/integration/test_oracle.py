"""The oracle reads real rows, and finds what is done to them behind the product's back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import psycopg
import pytest

from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation
from airflow_provider_atlan_meta.sandbox.oracle import Verdict, judge
from airflow_provider_atlan_meta.sandbox.stored_rows import ChangeLog, read_stored
from airflow_provider_atlan_meta.services.ingest import IngestRequest, LeaseOwner, ingest_once
from airflow_provider_atlan_meta.testing.manifest import SentPost
from airflow_provider_atlan_meta.testing.records import EPOCH_MS, produce, webhook_body, webhook_record

pytestmark = pytest.mark.integration

TOLD = (
    {"alert_feedback": None},
    {"alert_feedback": "investigating", "owner": "dana@example.com"},
    {"alert_feedback": "investigating", "owner": "dana@example.com"},
    {"declared_alert_severity": "SEV-1"},
    {"alert_feedback": "fixed"},
)


@dataclass
class Store:
    """Five webhooks about one incident, sent and stored."""

    database: Database
    changes: ChangeLog
    posts: list[SentPost]

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database.dsn(self.database.admin), autocommit=True) as connection:
            connection.execute(statement.encode())

    def judged(self) -> Verdict:
        reader = self.database.dsn(self.database.reader)
        return judge(self.posts, read_stored(reader, ["acme"], messages=self.changes.read()))


@pytest.fixture
def store(isolation: Isolation) -> Iterator[Store]:
    database, topics = isolation.new_database(), isolation.new_topics(1)
    changes = ChangeLog(database.dsn(database.admin), f"slot_{database.name}")
    changes.listen()
    incident = f"inc-{uuid4()}"
    records, posts = [], []
    for seq, fields in enumerate(TOLD):
        record = webhook_record(incident, received_at_ms=EPOCH_MS + seq * 1000, **fields)
        records.append(record)
        body = json.dumps(webhook_body(incident, **fields), separators=(",", ":"), sort_keys=True).encode()
        posts.append(
            SentPost(
                run="test",
                seq=seq,
                tenant="acme",
                kind="test",
                subject=incident,
                body=body,
                expected_status=202,
                sent_at=EPOCH_MS / 1000 + seq,
                answered_at=EPOCH_MS / 1000 + seq + 0.01,
                status=202,
                ids=(json.loads(record.value or b"")["id"],),
            )
        )
    produce(topics.kafka.extra, topics.events, records)
    ingest_once(
        kafka=topics.kafka,
        postgres=database.ingest,
        request=IngestRequest(topic=topics.events),
        owner=LeaseOwner(id=uuid4(), label="test"),
    )
    yield Store(database, changes, posts)
    changes.drop()


def test_what_ingest_stored_is_what_was_sent(store: Store) -> None:
    verdict = store.judged()
    assert verdict.findings == []
    assert (verdict.expected, verdict.found, verdict.incidents) == (5, 5, 1)
    assert verdict.changes == 4 + 1  # revisions of the incident, and its table


def test_a_row_that_is_taken_away_is_lost(store: Store) -> None:
    store.execute("delete from meta.event where duplicate_of is not null")
    assert store.judged().lost == 1


def test_a_row_that_is_written_again_is_doubled(store: Store) -> None:
    store.execute(
        "insert into meta.event select gen_random_uuid(), tenant_id, event_id, source, type, subject, occurred_at,"
        " received_at, duplicate_of, payload from meta.event where duplicate_of is not null"
    )
    assert store.judged().duplicated == 1


def test_an_effect_too_many_is_seen_in_the_row_and_in_the_change_log(store: Store) -> None:
    store.execute("update meta.incident set title = 'x'")
    store.execute(f"update meta.incident set title = {_quoted(store)}")
    verdict = store.judged()
    assert all("revision" in finding or "too often" in finding for finding in verdict.findings)
    assert verdict.duplicated == 2 + 2


def _quoted(store: Store) -> str:
    title = json.loads(store.posts[0].body)["payload"]["event_list"][0]["event_details"]
    return "'" + title.replace("'", "''") + "'"
