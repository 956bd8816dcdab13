"""Topic to rows on real Kafka and PostgreSQL: what one bounded run and a replay guarantee."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.core.rows import LogRecord
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation, Topics
from airflow_provider_atlan_meta.services.ingest import IngestOutcome, IngestRequest, LeaseOwner, ingest_once
from airflow_provider_atlan_meta.services.replay import ReplayRequest, replay_once
from airflow_provider_atlan_meta.testing.records import produce, webhook_record

pytestmark = pytest.mark.integration


@dataclass
class Lane:
    """One topic into one database."""

    database: Database
    topics: Topics

    def produce(self, *records: LogRecord) -> None:
        produce(self.topics.kafka.extra, self.topics.events, records)

    def ingest(self, **request: Any) -> IngestOutcome:
        return ingest_once(
            kafka=self.topics.kafka,
            postgres=self.database.ingest,
            request=IngestRequest(topic=self.topics.events, **request),
            owner=LeaseOwner(id=uuid4(), label="test"),
        )

    def replay(self, mode: Any) -> dict[str, Any]:
        return replay_once(
            kafka=self.topics.kafka,
            postgres=self.database.ingest,
            request=ReplayRequest(topic=self.topics.events, mode=mode),
            owner=LeaseOwner(id=uuid4(), label="replay"),
        ).to_dict()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.dsn(self.database.admin), autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database.dsn(self.database.admin), autocommit=True) as connection:
            connection.execute(statement.encode())

    def read(self, topic: str, count: int) -> list[Any]:
        from confluent_kafka import Consumer

        consumer = Consumer(
            {**self.topics.kafka.extra, "group.id": str(uuid4()), "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([topic])
        messages: list[Any] = []
        while len(messages) < count:
            messages += consumer.consume(count, 10.0)
        consumer.close()
        return messages

    def effects(self) -> tuple[list[tuple[Any, ...]], int]:
        """Every row version there is, and the number of change messages since the slot was made."""
        versions = [
            self.rows(f"select xmin::text, ctid::text from meta.{table} order by 1, 2")
            for table in ("event", "incident", "entity", "incident_entity")
        ]
        messages = self.rows(
            f"select count(*) from pg_logical_slot_peek_changes('{self.database.name}', null, null)"
            " where data like 'message%'"
        )
        return [row for rows in versions for row in rows], messages[0][0]


@pytest.fixture
def lane(isolation: Isolation) -> Iterator[Lane]:
    lane = Lane(isolation.new_database(), isolation.new_topics(4))
    lane.execute(f"select pg_create_logical_replication_slot('{lane.database.name}', 'test_decoding')")
    yield lane
    lane.execute(f"select pg_drop_replication_slot('{lane.database.name}')")


def test_every_record_is_one_event_row_and_a_second_run_reads_nothing(lane: Lane) -> None:
    lane.produce(*(webhook_record(f"inc-{n % 7}", offset=n, alert_feedback=f"note-{n}") for n in range(100)))

    first, second = lane.ingest(), lane.ingest()

    assert (first.records, first.duplicates, first.rejected, first.lag) == (100, 0, 0, 0)
    assert second.records == 0
    assert lane.rows("select count(*), count(distinct event_id) from meta.event") == [(100, 100)]
    assert lane.rows("select count(*), sum(revision) from meta.incident") == [(7, 100)]


def test_the_ranges_say_which_offsets_were_stored(lane: Lane) -> None:
    lane.produce(*(webhook_record(f"inc-{n}", offset=n) for n in range(20)))

    outcome = lane.ingest()

    stored = lane.rows(
        "select partition, next_offset from meta.ingest_offset where next_offset > 0 order by 1"
    )
    assert [(part.partition, part.end) for part in outcome.ranges] == stored
    assert sum(part.end - part.start for part in outcome.ranges) == 20


def test_a_limit_leaves_the_rest_to_the_next_run(lane: Lane) -> None:
    lane.produce(*(webhook_record("inc-1", offset=n, owner=f"o{n}") for n in range(50)))

    first = lane.ingest(max_records=30, batch_records=10)
    second = lane.ingest()

    assert (first.records, first.lag, second.records) == (30, 20, 20)


def test_a_dry_run_takes_and_writes_nothing(lane: Lane) -> None:
    lane.produce(webhook_record())

    outcome = lane.ingest(dry_run=True)

    assert (outcome.records, outcome.dry_run) == (1, True)
    assert lane.rows("select count(*) from meta.ingest_offset") == [(0,)]
    assert lane.rows("select count(*) from meta.event") == [(0,)]


def test_what_is_no_event_goes_to_the_dead_letters_by_origin_and_the_batch_goes_on(lane: Lane) -> None:
    broken = webhook_record("inc-1", offset=1)._replace(value=b'{"specversion": 1')
    lane.produce(webhook_record("inc-1"), broken, webhook_record("inc-1", offset=2, owner="dana@example.com"))

    outcome = lane.ingest()

    assert (outcome.records, outcome.rejected) == (3, 1)
    letters = lane.rows('select topic, "offset", tenant_id, stage, value from meta.dead_letter')
    assert letters == [(lane.topics.events, 1, "acme", "decode", broken.value)]
    assert lane.rows("select owner from meta.incident") == [("dana@example.com",)]


def test_dead_letters_are_published_with_their_origin_and_original_bytes(lane: Lane) -> None:
    broken = webhook_record("inc-1")._replace(value=b"no json")
    lane.produce(broken)

    lane.ingest(dead_letter_topic=lane.topics.dead_letter)

    (letter,) = lane.read(lane.topics.dead_letter, 1)
    headers = dict(letter.headers() or [])
    assert (letter.key(), letter.value()) == (broken.key, broken.value)
    assert headers["received_at"] == dict(broken.headers)["received_at"]
    origin = (headers["dlq_topic"], headers["dlq_offset"], headers["dlq_sink"], headers["dlq_stage"])
    assert origin == (lane.topics.events.encode(), b"0", b"postgres", b"decode")
    assert lane.rows("select published_at is not null from meta.dead_letter") == [(True,)]


def test_a_value_that_only_postgresql_refuses_goes_alone(lane: Lane) -> None:
    lane.execute("alter table meta.event add constraint mine check (payload::text not like '%poison%')")
    owners = ("a", "b", "poison", "c", "d")
    lane.produce(*(webhook_record("inc-1", offset=n, owner=owner) for n, owner in enumerate(owners)))

    outcome = lane.ingest()

    assert (outcome.records, outcome.rejected) == (5, 1)
    assert lane.rows('select stage, "offset" from meta.dead_letter') == [("store", 2)]
    assert lane.rows("select owner, revision from meta.incident") == [("d", 4)]


def test_an_exact_replay_makes_no_row_version_and_no_change_message(lane: Lane) -> None:
    lane.produce(*(webhook_record(f"inc-{n % 3}", offset=n, alert_feedback=f"s{n % 4}") for n in range(60)))
    lane.ingest()
    before = lane.effects()

    verified, reapplied = lane.replay("verify"), lane.replay("reapply")

    assert (verified["known"], verified["stored"], verified["changes"]) == (60, 0, 0)
    assert (reapplied["known"], reapplied["stored"], reapplied["changes"]) == (60, 0, 0)
    assert lane.effects() == before


def test_verify_stores_what_is_missing_and_leaves_later_states_alone(lane: Lane) -> None:
    lane.produce(webhook_record(offset=0, owner="early"), webhook_record(offset=1, owner="late"))
    lane.ingest()
    lane.execute("delete from meta.event where payload::text like '%early%'")

    verified = lane.replay("verify")

    assert (verified["known"], verified["stored"]) == (1, 1)
    assert lane.rows("select owner, revision from meta.incident") == [("late", 2)]


def test_reapply_puts_back_what_was_changed_by_hand(lane: Lane) -> None:
    lane.produce(webhook_record(offset=0, owner="dana@example.com"))
    lane.ingest()
    lane.execute("update meta.incident set owner = 'somebody'")

    reapplied = lane.replay("reapply")
    again = lane.replay("reapply")

    assert (reapplied["changes"], again["changes"]) == (1, 0)
    assert lane.rows("select owner from meta.incident") == [("dana@example.com",)]


def test_a_replay_never_passes_the_live_cursor(lane: Lane) -> None:
    lane.produce(webhook_record(offset=0))
    lane.ingest()
    lane.produce(webhook_record(offset=1, owner="new"))

    assert lane.replay("reapply")["records"] == 1
    assert lane.ingest().records == 1


def test_a_topic_made_again_is_refused_with_the_cure(lane: Lane) -> None:
    lane.produce(webhook_record(offset=0))
    lane.ingest()
    lane.execute("update meta.ingest_offset set topic_id = 'another'")

    with pytest.raises(TerminalError, match=r"created again.*topics adopt"):
        lane.ingest()


def test_a_topic_that_moved_to_another_cluster_is_refused_and_goes_on_once_adopted(
    lane: Lane, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    lane.produce(webhook_record(offset=0, owner="a"), webhook_record(offset=1)._replace(value=b"no json"))
    lane.ingest()
    lane.execute("update meta.ingest_offset set cluster_id = 'old', next_offset = 900, topic_id = 'old-id'")
    lane.execute("update meta.dead_letter set cluster_id = 'old'")
    lane.execute("update meta.incident set positions = '{9,9,9,9,9,9,9,9,9,9,9,9}', log_position = 900")

    with pytest.raises(TerminalError, match="topics adopt"):
        lane.ingest()
    planned, done = command("topics", "adopt", "--dry-run", "--json"), command("topics", "adopt", "--json")
    lane.produce(webhook_record(offset=2, owner="b"))
    outcome = lane.ingest()

    assert (planned.returncode, done.returncode) == (0, 0), done.stderr
    assert json.loads(planned.stdout) | {"dry_run": False} == json.loads(done.stdout)
    assert json.loads(done.stdout)["partitions"] == 4
    assert (outcome.records, outcome.rejected) == (3, 1)
    assert lane.rows("select owner, revision from meta.incident") == [("b", 2)]
    topics = [row[0] for row in lane.rows("select topic from meta.dead_letter order by length(topic)")]
    assert topics == [lane.topics.events, f"{lane.topics.events}@old-id"]


def test_a_ledger_above_the_log_is_refused_and_keeps_its_place(lane: Lane) -> None:
    lane.produce(webhook_record(offset=0))
    lane.ingest()
    lane.execute("update meta.ingest_offset set next_offset = 500")

    with pytest.raises(TerminalError, match="the log ends at"):
        lane.ingest()

    assert lane.rows("select distinct next_offset from meta.ingest_offset") == [(500,)]


def test_a_missing_topic_names_the_command_that_creates_it(lane: Lane) -> None:
    lane.topics = Topics(**{**vars(lane.topics), "events": "meta.nowhere.v1"})

    with pytest.raises(TerminalError, match="topics create"):
        lane.ingest()


@pytest.fixture
def command(lane: Lane) -> Callable[..., subprocess.CompletedProcess[str]]:
    environ = {**os.environ, **lane.database.environ, **lane.topics.environ}
    environ |= {name: value for name, value in lane.database.environ.items()}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "airflow_provider_atlan_meta.cli", *arguments]
        return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_the_command_answers_3_when_records_were_rejected_and_0_else(
    lane: Lane, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    lane.produce(webhook_record(), webhook_record(offset=1)._replace(value=b"no json"))

    first, second = command("ingest", "--json"), command("ingest", "--json")

    assert (first.returncode, second.returncode) == (3, 0), first.stderr
    assert json.loads(first.stdout)["rejected"] == 1
    assert json.loads(second.stdout)["records"] == 0


def test_the_replay_command_reports_what_it_found(
    lane: Lane, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    lane.produce(webhook_record())
    lane.ingest()

    done = command("replay", "--mode", "verify", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["known"] == 1
