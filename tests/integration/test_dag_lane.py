"""The DAG lane on a real Airflow: what a user sees, and what the store has afterwards.

Two sets of DAGs: the shipped one as it is found, and one that a stub file in the DAGs folder builds, without a
watcher or a sweep, on a topic and a database of its own: nothing runs there but what a test starts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from airflow_provider_atlan_meta.config.connections import (
    POSTGRES_ADMIN,
    SLACK,
    WEBHOOK,
    Connections,
)
from airflow_provider_atlan_meta.core.changes import ChangeEvent
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.identity import delivery_id
from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.routing import DestinationSpec, Subscription
from airflow_provider_atlan_meta.sandbox.demo.airflow_rest import AirflowRest
from airflow_provider_atlan_meta.sandbox.isolation import Database, Topics
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.services.subscriptions import apply_subscriptions
from airflow_provider_atlan_meta.testing.records import change_of, change_record, produce, webhook_record

pytestmark = pytest.mark.integration

SHIPPED, SHIPPED_PROPAGATE = "atlan_meta_ingest", "atlan_meta_propagate"
LEDGER = "select ingest_offset::text from meta.ingest_offset order by topic, partition"
CHANNEL = "C0DAGLANE01"
STUB = """\
from airflow_provider_atlan_meta import build_dags

build_dags(globals(), schedule="", watch=False, **{options!r})
"""


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return found


@dataclass
class Lane:
    """A DAG, its task, its topic and its store."""

    dag: str
    task: str
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

    def change(self, *changes: ChangeEvent) -> None:
        """Puts them on the topic."""
        produce(self.kafka.extra, self.topic, map(change_record, changes))

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
        return "\n".join(self.rest.log(self.dag, run, self.task, number))

    def recorded(self, service: str) -> list[dict[str, Any]]:
        """Every call a service has had."""
        calls = httpx.get(f"{self.recorder}/_recorded?service={service}", trust_env=False).json()
        return [dict(call) for call in calls]

    def hooked(self, changes: Iterable[ChangeEvent]) -> list[str]:
        """The ids under which the webhook's receiver heard of these changes, in order."""
        ids = {change.change_id for change in changes}
        calls = self.recorded("webhook")
        return [call["headers"]["webhook-id"] for call in calls if json.loads(call["body"])["id"] in ids]

    def posted(self, incident: str) -> list[str]:
        """The methods of Slack that were called about an incident, in order."""
        return [
            call["path"].rpartition("/")[2]
            for call in self.recorded("slack")
            if incident in str(call["body"])
        ]

    def told(self) -> list[tuple[str, str]]:
        """What Slack was told about this DAG: method and text."""
        calls = self.recorded("slack")
        told = [
            (call["path"].rpartition("/")[2], call["body"]["text"])
            for call in calls
            # lookups of other tests have none
            if "text" in call["body"]
        ]
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
    yield Lane(
        SHIPPED, "ingest", rest, kafka, "meta.events.v1", connections.get(POSTGRES_ADMIN), recorder_url
    )
    rest.set_paused(SHIPPED, True)


@pytest.fixture(scope="module")
def lane(
    sandbox: Sandbox, rest: AirflowRest, recorder_url: str, database: Database, topics: Topics
) -> Iterator[Lane]:
    """Of the stub's set of DAGs, ingest, switched on."""
    prefix = f"lane_{uuid4().hex[:6]}_"
    options = {
        "prefix": prefix,
        "topic": topics.events,
        "changes_topic": topics.changes,
        "postgres_conn_id": add_connection(rest, f"{prefix}ingest", database.ingest),
        "postgres_consumer_conn_id": add_connection(rest, f"{prefix}consumer", database.consumer),
    }
    stub = sandbox.home.path / "airflow" / "dags" / f"{prefix}set.py"
    stub.write_text(STUB.format(options=options))
    dag = f"{prefix}ingest"
    rest.await_dag(dag)
    rest.set_paused(dag, False)
    yield Lane(dag, "ingest", rest, topics.kafka, topics.events, database.admin, recorder_url)
    stub.unlink()
    rest.set_paused(dag, True)


@pytest.fixture(scope="module")
def changes(lane: Lane, database: Database, topics: Topics) -> Iterator[Lane]:
    """Of the same set, propagate; a webhook and a channel hear of everything."""
    dag = lane.dag.replace("ingest", "propagate")
    everything = Pattern({"kind": ["incident"]})
    spoken = {WEBHOOK: ("webhook", {}), SLACK: ("slack", {"channel": CHANNEL})}
    subscriptions = [
        Subscription(
            name=kind,
            tenant="acme",
            match=everything,
            destination=DestinationSpec(type=kind, conn_id=conn_id, options=options),
        )
        for conn_id, (kind, options) in spoken.items()
    ]
    apply_subscriptions(database.consumer, subscriptions, actor="test")
    lane.rest.await_dag(dag)
    lane.rest.set_paused(dag, False)
    yield Lane(dag, "propagate", lane.rest, topics.kafka, topics.changes, database.admin, lane.recorder)
    lane.rest.set_paused(dag, True)


def add_connection(rest: AirflowRest, conn_id: str, store: ConnectionInfo) -> str:
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
    return conn_id


# ---- the shipped DAGs


def test_the_dag_is_there_and_paused_with_its_form(rest: AirflowRest) -> None:
    dag = rest.call("GET", f"/dags/{SHIPPED}/details")

    assert dag["is_paused"] is True
    assert dag["bundle_name"] == "atlan-meta"
    assert dag["max_active_runs"] == 1
    assert "Drains Kafka topic" in dag["doc_md"]
    assert dag["params"]["max_records"]["schema"]["maximum"] == 1_000_000
    assert dag["params"]["runner"]["schema"]["enum"] == ["local"]


def test_propagate_is_there_and_paused_with_its_form(rest: AirflowRest) -> None:
    dag = rest.call("GET", f"/dags/{SHIPPED_PROPAGATE}/details")

    assert (dag["is_paused"], dag["bundle_name"], dag["max_active_runs"]) == (True, "atlan-meta", 1)
    assert "tells every subscription" in dag["doc_md"]
    assert set(dag["params"]) == {"max_records", "dry_run"}


def test_switched_on_it_stores_what_is_there_and_wakes_for_what_comes(shipped: Lane) -> None:
    waiting = shipped.produce(20)
    shipped.rest.set_paused(SHIPPED, False)
    wait_for(lambda: shipped.stored(waiting) == 20, 60, "rows of what was there before")
    # the watcher starts when the switched-on DAG is parsed next
    wait_for(lambda: has_watcher(shipped), 60, "a watcher in Airflow's database")

    later = shipped.produce(10)
    wait_for(lambda: shipped.stored(later) == 10, 60, "rows of what came later")

    wait_for(lambda: was_woken(shipped), 60, "a run that the asset event made")
    assert shipped.query("select count(*) from meta.event where duplicate_of is not null") == [(0,)]


def test_propagate_switched_on_wakes_for_changes(shipped: Lane) -> None:
    lane = replace(shipped, dag=SHIPPED_PROPAGATE, task="propagate", topic="meta.changes.v1")
    lane.rest.set_paused(lane.dag, False)
    wait_for(lambda: has_watcher(lane), 60, "a watcher in Airflow's database")
    before = passed(lane)

    lane.change(*(change_of(f"inc-{uuid4().hex}") for _ in range(5)))

    wait_for(lambda: passed(lane) >= before + 5, 90, "the cursor behind the changes")
    wait_for(lambda: was_woken(lane), 60, "a run that the asset event made")
    lane.rest.set_paused(lane.dag, True)


def has_watcher(lane: Lane) -> bool:
    assets = lane.rest.call("GET", f"/assets?name_pattern={lane.topic}&only_active=true")["assets"]
    return any(asset["name"] == f"atlan_meta_{lane.topic}" and asset.get("watchers") for asset in assets)


def was_woken(lane: Lane) -> bool:
    runs = lane.rest.call("GET", f"/dags/{lane.dag}/dagRuns?order_by=-id&limit=100")["dag_runs"]
    return any(run["run_type"] == "asset_triggered" for run in runs)


def passed(lane: Lane) -> int:
    """Offsets the cursors of the topic have passed."""
    cursors = "select coalesce(sum(next_offset), 0) from meta.ingest_offset where topic = %s"
    return int(lane.query(cursors, lane.topic)[0][0])


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
    assert [entry.number for entry in lane.rest.tries(lane.dag, first, lane.task)] == [1]
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


# ---- propagate


def ids_of(changes: Iterable[ChangeEvent], subscription: str) -> list[str]:
    return sorted(str(delivery_id(change.change_id, subscription)) for change in changes)


def test_a_run_tells_the_subscribers_and_says_topic_partition_range_and_deliveries(changes: Lane) -> None:
    made = [change_of(f"inc-{uuid4().hex}") for _ in range(20)]
    changes.change(*made)

    run, state = changes.run({"max_records": 1000})

    assert state == "success"
    assert sorted(changes.hooked(made)) == ids_of(made, "webhook")
    for change in made:
        assert changes.posted(change.id) == ["chat.postMessage"]
    log = changes.log(run)
    ranges = [line for line in log.splitlines() if line.startswith("committed topic")]
    partitions = changes.query(
        "select partition from meta.ingest_offset where topic = %s and next_offset > 0", changes.topic
    )
    for (partition,) in partitions:
        assert any(f"topic {changes.topic} partition {partition} offsets [" in line for line in ranges)
    assert any("delivered" in line for line in ranges)
    assert f"propagated {changes.topic}: 20 changes, deliveries: 40 delivered" in log
    for secret in ("whsec_", "xoxb-"):
        assert secret not in log


def test_later_runs_change_the_message_and_answer_in_its_thread(changes: Lane) -> None:
    incident = f"inc-{uuid4().hex}"
    made = [change_of(incident), change_of(incident, 2, status="ACKNOWLEDGED")]
    for change in made:
        changes.change(change)
        assert changes.run()[1] == "success"

    assert changes.posted(incident)[0] == "chat.postMessage"
    wait_for(lambda: len(changes.posted(incident)) == 3 or changes.run(), 60, "the thread's answer")
    assert sorted(changes.posted(incident)[1:]) == ["chat.postMessage", "chat.update"]
    assert changes.hooked(made) == [str(delivery_id(change.change_id, "webhook")) for change in made]


def test_a_dry_run_tells_nobody_and_moves_nothing(changes: Lane) -> None:
    made = [change_of(f"inc-{uuid4().hex}") for _ in range(3)]
    changes.change(*made)
    before = changes.query(LEDGER)

    run, state = changes.run({"dry_run": True})

    assert state == "success"
    assert "would read topic" in changes.log(run)
    assert changes.hooked(made) == []
    assert changes.query(LEDGER) == before

    assert changes.run()[1] == "success"
    assert sorted(changes.hooked(made)) == ids_of(made, "webhook")


def test_a_receiver_that_is_away_fails_no_run_and_is_told_later(changes: Lane) -> None:
    change = change_of(f"inc-{uuid4().hex}")
    script = {"service": "webhook", "mode": "status", "status": 503, "times": 1000}
    httpx.post(f"{changes.recorder}/_script", json=script, trust_env=False)
    changes.change(change)

    run, state = changes.run()

    assert state == "success"
    assert "1 parked" in changes.log(run)
    httpx.delete(f"{changes.recorder}/_script", trust_env=False)

    def is_told() -> bool:
        assert changes.run()[1] == "success"
        answered = [call for call in changes.recorded("webhook") if call["status"] == 204]
        return any(json.loads(call["body"])["id"] == change.change_id for call in answered)

    wait_for(is_told, 120, "the parked delivery")


def test_while_the_service_runs_it_ends_green_and_names_it(
    changes: Lane, sandbox: Sandbox, database: Database, topics: Topics, service: Callable[..., Any]
) -> None:
    running = service("consumer", {**sandbox.variables(), **topics.environ, **database.environ})
    running.start()
    wait_for(lambda: owners(changes) == {running.pid}, 60, "the service has all partitions")
    change = change_of(f"inc-{uuid4().hex}")
    changes.change(change)
    wait_for(lambda: changes.hooked([change]), 30, "the service told it")

    run, state = changes.run()

    assert state == "success"
    log = changes.log(run)
    assert f"of {changes.topic}: owned by consumer " in log
    assert f"propagated {changes.topic}: 0 changes" in log
    assert running.terminate() == 0
    assert changes.hooked([change]) == ids_of([change], "webhook")


def owners(changes: Lane) -> set[int]:
    """The processes that hold the topic's partitions."""
    held = "select owner_label, count(*) from meta.ingest_offset where topic = %s and expires_at > now() group by 1"
    rows = changes.query(held, changes.topic)
    return {int(str(label).rpartition(":")[2]) for label, _ in rows if str(label).startswith("consumer ")}


def test_a_failed_propagate_is_told_and_resolved(changes: Lane) -> None:
    assert changes.run({"max_record": 1})[1] == "failed"
    wait_for(changes.told, 60, "an alert")

    assert changes.run()[1] == "success"

    told = changes.told()
    assert [method for method, _ in told] == ["chat.postMessage", "chat.update"]
    assert "unknown Params max_record" in told[0][1]
    assert "works again" in told[1][1]


# ---- redrive


@pytest.fixture(scope="module")
def redrives(lane: Lane) -> Iterator[Lane]:
    """Of the same set, redrive."""
    dag = lane.dag.replace("ingest", "redrive")
    lane.rest.await_dag(dag)
    lane.rest.set_paused(dag, False)
    yield replace(lane, dag=dag, task="redrive")
    lane.rest.set_paused(dag, True)


def put_aside(lane: Lane, incident: str, offset: int) -> None:
    """A record that some older version could not read."""
    record = webhook_record(incident, received_at_ms=int(time.time() * 1000))
    headers = json.dumps(
        [[name, None if value is None else value.decode()] for name, value in record.headers]
    )
    lane.query(
        """insert into meta.dead_letter
             (cluster_id, topic, partition, "offset", sink, tenant_id, key, headers, value, stage, reason, fingerprint)
           values ('c', %s, 0, %s, 'postgres', 'acme', %s, %s, %s, 'decode', 'not understood', %s) returning 1""",
        *(lane.topic, offset, record.key, headers, record.value, incident),
    )


def answer(lane: Lane, run: str, option: str) -> None:
    """What a person clicks under Required Actions."""
    path = f"/dags/{lane.dag}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
    body = {"chosen_options": [option], "params_input": {}}
    wait_for(lambda: has_asked(lane, run), 60, "it asks")
    lane.rest.call("PATCH", path, body)


def has_asked(lane: Lane, run: str) -> bool:
    """For 3 s: Airflow fails a task that is answered before its scheduler has heard that it waits."""
    task = lane.rest.task(lane.dag, run, "approve")
    if task["state"] != "awaiting_input":
        return False
    return (datetime.now(UTC) - datetime.fromisoformat(task["start_date"])).total_seconds() > 3


def test_a_redrive_asks_and_stores_after_the_approval_alone(redrives: Lane) -> None:
    incident = f"inc-{uuid4().hex}"
    put_aside(redrives, incident, 1_000_000)

    refused = redrives.rest.trigger(redrives.dag, {"fingerprint": incident, "reason": "not yet"})
    answer(redrives, refused, "Reject")
    assert redrives.rest.await_run(redrives.dag, refused, 90) == "success"
    assert redrives.stored([incident]) == 0

    approved = redrives.rest.trigger(redrives.dag, {"fingerprint": incident, "reason": "mended"})
    answer(redrives, approved, "Approve")
    assert redrives.rest.await_run(redrives.dag, approved, 90) == "success"

    assert redrives.stored([incident]) == 1
    ((actor, reason),) = redrives.query(
        "select actor, reason from meta.audit where object = %s", f"dead letters {incident}"
    )
    assert actor.startswith(f"{redrives.dag}/{approved}/redrive")
    assert reason == "mended"


def test_where_no_letter_waits_nobody_is_asked(redrives: Lane) -> None:
    run, state = redrives.run({"fingerprint": "0" * 16, "reason": "none"})

    assert state == "success"
    assert redrives.rest.task(redrives.dag, run, "approve")["state"] == "skipped"
