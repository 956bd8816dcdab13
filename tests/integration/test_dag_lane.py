"""The DAG lane on a real Airflow: what a user sees, and what the store has afterwards.

Two sets of DAGs: the shipped one as it is found, and one that a stub file in the DAGs folder builds, without a
watcher or a sweep, on a topic and a database of its own: nothing runs there but what a test starts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from airflow_provider_atlan_meta.config.connections import POSTGRES_ADMIN, Connections
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.sandbox.demo.airflow_rest import AirflowRest
from airflow_provider_atlan_meta.sandbox.isolation import Database, Topics
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.testing.records import produce, webhook_record

pytestmark = pytest.mark.integration

SHIPPED = "atlan_meta_ingest"
TASK = "ingest"
LEDGER = "select ingest_offset::text from meta.ingest_offset order by partition"
STUB = """\
from airflow_provider_atlan_meta import build_dags

build_dags(globals(), prefix={prefix!r}, topic={topic!r}, postgres_conn_id={conn_id!r}, schedule="", watch=False)
"""


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return found


@dataclass
class Lane:
    """A DAG, its topic and its store."""

    dag: str
    rest: AirflowRest
    kafka: ConnectionInfo
    topic: str
    admin: ConnectionInfo
    recorder: str

    def produce(self, count: int) -> list[str]:
        """Webhooks of ``count`` new incidents; their ids."""
        incidents = [f"inc-{uuid4().hex}" for _ in range(count)]
        now = int(time.time() * 1000)
        records = [webhook_record(incident, received_at_ms=now) for incident in incidents]
        produce(self.kafka.extra, self.topic, records)
        return incidents

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        login = f"user={self.admin.login} password={self.admin.password}"
        dsn = f"host={self.admin.host} port={self.admin.port} dbname={self.admin.schema} {login}"
        with psycopg.connect(dsn, autocommit=True) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def stored(self, incidents: list[str]) -> int:
        """Event rows of these incidents."""
        return int(self.query("select count(*) from meta.event where subject = any(%s)", incidents)[0][0])

    def run(self, conf: dict[str, Any] | None = None) -> tuple[str, str]:
        """A manual run to its end: its id and state."""
        run = self.rest.trigger(self.dag, conf)
        return run, self.rest.await_run(self.dag, run, 90)

    def log(self, run: str, number: int = 1) -> str:
        return "\n".join(self.rest.log(self.dag, run, TASK, number))

    def told(self) -> list[tuple[str, str]]:
        """What Slack was told about this DAG: method and text."""
        calls = httpx.get(f"{self.recorder}/_recorded?service=slack", trust_env=False).json()
        told = [(call["path"].rpartition("/")[2], call["body"]["text"]) for call in calls]
        return [(method, text) for method, text in told if f"*{self.dag}*" in text]


@pytest.fixture(scope="module")
def rest(sandbox: Sandbox, recorder_url: str) -> Iterator[AirflowRest]:
    sandbox.up(["airflow"])
    fields = sandbox.fields()
    url, user, password = (str(fields[f"airflow_{name}"]) for name in ("url", "user", "password"))
    with AirflowRest(url, user, password) as rest:
        yield rest


@pytest.fixture(scope="module")
def shipped(sandbox: Sandbox, rest: AirflowRest, recorder_url: str) -> Iterator[Lane]:
    connections = Connections(environ=sandbox.variables())
    kafka = connections.get("atlan_meta_kafka_default")
    yield Lane(SHIPPED, rest, kafka, "meta.events.v1", connections.get(POSTGRES_ADMIN), recorder_url)
    rest.set_paused(SHIPPED, True)


@pytest.fixture(scope="module")
def lane(
    sandbox: Sandbox, rest: AirflowRest, recorder_url: str, database: Database, topics: Topics
) -> Iterator[Lane]:
    """The stub's set of DAGs, switched on."""
    prefix, conn_id = f"lane_{uuid4().hex[:6]}_", f"lane_postgres_{uuid4().hex[:6]}"
    store = database.ingest
    rest.call(
        "POST",
        "/connections",
        {
            "connection_id": conn_id,
            "conn_type": store.conn_type,
            "host": store.host,
            "port": store.port,
            "login": store.login,
            "password": store.password,
            "schema": store.schema,
            "extra": json.dumps(dict(store.extra)),
        },
    )
    stub = sandbox.home.path / "airflow" / "dags" / f"{prefix}set.py"
    stub.write_text(STUB.format(prefix=prefix, topic=topics.events, conn_id=conn_id))
    dag = f"{prefix}ingest"
    rest.await_dag(dag)
    rest.set_paused(dag, False)
    yield Lane(dag, rest, topics.kafka, topics.events, database.admin, recorder_url)
    stub.unlink()
    rest.set_paused(dag, True)


# ---- the shipped DAG


def test_the_dag_is_there_and_paused_with_its_form(rest: AirflowRest) -> None:
    dag = rest.call("GET", f"/dags/{SHIPPED}/details")

    assert dag["is_paused"] is True
    assert dag["bundle_name"] == "atlan-meta"
    assert dag["max_active_runs"] == 1
    assert "Drains Kafka topic" in dag["doc_md"]
    assert dag["params"]["max_records"]["schema"]["maximum"] == 1_000_000
    assert dag["params"]["runner"]["schema"]["enum"] == ["local"]


def test_switched_on_it_stores_what_is_there_and_wakes_for_what_comes(shipped: Lane) -> None:
    waiting = shipped.produce(20)
    shipped.rest.set_paused(SHIPPED, False)
    wait_for(lambda: shipped.stored(waiting) == 20, 60, "rows of what was there before")
    # the watcher starts when the switched-on DAG is parsed next
    wait_for(lambda: watchers(shipped.rest), 60, "a watcher in Airflow's database")

    later = shipped.produce(10)
    wait_for(lambda: shipped.stored(later) == 10, 60, "rows of what came later")

    def woken() -> list[dict[str, Any]]:
        runs = shipped.rest.call("GET", f"/dags/{SHIPPED}/dagRuns?order_by=-id&limit=100")["dag_runs"]
        return [run for run in runs if run["run_type"] == "asset_triggered"]

    assert wait_for(woken, 60, "a run that the asset event made")
    assert shipped.query("select count(*) from meta.event where duplicate_of is not null") == [(0,)]


def watchers(rest: AirflowRest) -> bool:
    assets = rest.call("GET", "/assets?name_pattern=meta.events.v1&only_active=true")["assets"]
    return any(asset.get("watchers") for asset in assets)


# ---- one run, as its user starts it


def test_a_run_says_topic_partition_and_range_of_what_it_committed(lane: Lane) -> None:
    incidents = lane.produce(30)

    run, state = lane.run({"max_records": 1000})

    assert state == "success"
    assert lane.stored(incidents) == 30
    ranges = [line for line in lane.log(run).splitlines() if line.startswith("committed topic")]
    partitions = lane.query("select partition from meta.ingest_offset where next_offset > 0 order by 1")
    assert len(ranges) == len(partitions)
    for (partition,) in partitions:
        assert any(f"topic {lane.topic} partition {partition} offsets [" in line for line in ranges)


def test_a_dry_run_says_what_it_would_read_and_writes_nothing(lane: Lane) -> None:
    incidents = lane.produce(5)
    before = lane.query(LEDGER)

    run, state = lane.run({"dry_run": True})

    assert state == "success"
    assert "would read topic" in lane.log(run)
    assert lane.stored(incidents) == 0
    assert lane.query(LEDGER) == before

    assert lane.run()[1] == "success"
    assert lane.stored(incidents) == 5


def test_a_value_outside_the_form_is_refused_before_there_is_a_run(lane: Lane) -> None:
    with pytest.raises(TransientError, match=r"400.*max_records"):
        lane.rest.trigger(lane.dag, {"max_records": 0})


def test_a_failed_run_is_told_once_and_resolved_by_the_next_that_works(lane: Lane) -> None:
    incidents = lane.produce(3)

    first, state = lane.run({"max_record": 1})

    assert state == "failed"
    assert [entry.number for entry in lane.rest.tries(lane.dag, first, TASK)] == [1]
    assert lane.stored(incidents) == 0
    ((method, text),) = wait_for(lane.told, 60, "an alert")
    assert method == "chat.postMessage"
    assert "unknown Params max_record" in text
    assert first in text

    second, state = lane.run({"max_record": 2})
    assert state == "failed"
    wait_for(lambda: len(lane.told()) == 2, 60, "the alert's repeat")

    third, state = lane.run()
    assert state == "success"
    assert lane.stored(incidents) == 3

    methods = [method for method, _ in lane.told()]
    assert methods == ["chat.postMessage", "chat.update", "chat.update"]
    assert "failed 2 times" in lane.told()[1][1]
    assert second in lane.told()[1][1]
    assert "works again" in lane.told()[2][1]
    assert third in lane.told()[2][1]

    assert lane.run()[1] == "success"
    assert len(lane.told()) == 3


def test_nothing_of_a_message_is_in_airflows_database(shipped: Lane) -> None:
    events = shipped.rest.call("GET", "/assets/events?limit=100")["asset_events"]

    payloads = [event["extra"].get("payload") for event in events]
    assert payloads
    for payload in payloads:
        assert set(payload) == {"topic", "ranges"}
        assert all(set(part) == {"partition", "start", "end"} for part in payload["ranges"])
