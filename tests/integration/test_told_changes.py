"""The demo's reader of the changes topic sees what is told from now on, once each, in order."""

from __future__ import annotations

import time

import pytest

from airflow_provider_atlan_meta.sandbox.isolation import Isolation
from airflow_provider_atlan_meta.sandbox.told_changes import ReadChange, ToldChanges
from airflow_provider_atlan_meta.testing.records import change_of, change_record, produce

pytestmark = pytest.mark.integration


def test_changes_are_read_from_now_on_in_order(isolation: Isolation) -> None:
    topics = isolation.new_topics(2)
    produce(topics.kafka.extra, topics.changes, [change_record(change_of("before"))])
    heard: list[ReadChange] = []
    with ToldChanges(topics.kafka.extra["bootstrap.servers"], topics.changes, on_change=heard.append) as told:
        records = [change_record(change_of(name, revision)) for revision in (1, 2, 3) for name in ("a", "b")]
        produce(topics.kafka.extra, topics.changes, records)
        deadline = time.monotonic() + 20
        while len(heard) < len(records):
            assert time.monotonic() < deadline, f"only {len(heard)} changes were read"
            time.sleep(0.05)
        for name in ("a", "b"):
            assert [change.revision for change in told.read() if change.id == name] == [1, 2, 3]
    assert {change.told.id for change in heard} == {"a", "b"}
    assert all(change.place.startswith(("0:", "1:")) for change in heard)
