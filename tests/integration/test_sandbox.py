"""The sandbox's promises, on real servers."""

from __future__ import annotations

import psycopg
import pytest

from airflow_provider_atlan_meta.sandbox.isolation import Database, Topics
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox

pytestmark = pytest.mark.integration


def test_a_fresh_database_is_migrated_and_each_role_can_log_in(database: Database) -> None:
    for info in (database.admin, database.ingest, database.reader):
        with psycopg.connect(database.dsn(info)) as connection:
            assert connection.execute("select current_user").fetchone() == (info.login,)
            assert connection.execute("select to_regclass('meta.event')").fetchone() != (None,)


def test_kafka_comes_back_on_its_port_with_its_data_after_kill_9(sandbox: Sandbox, topics: Topics) -> None:
    from confluent_kafka.admin import AdminClient

    before = sandbox.fields()["kafka_bootstrap"]
    sandbox.kill("kafka")
    assert [s.state for s in sandbox.status() if s.name == "kafka"] == ["dead"]
    sandbox.start("kafka")
    assert sandbox.fields()["kafka_bootstrap"] == before
    client = AdminClient({"bootstrap.servers": before})
    assert len(client.list_topics(timeout=10).topics[topics.events].partitions) == 12
