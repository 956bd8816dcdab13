"""B5: the DAG lane alone on a real Airflow, its scheduler's idle sleep at the default 1 s.

Single records, some seconds apart: produced -> committed row. A burst of 10,000 within a second: how many asset
events stand for it, and whether every record became a row.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES_ADMIN, Connections
from airflow_provider_atlan_meta.core.rows import LogRecord
from airflow_provider_atlan_meta.sandbox.demo.airflow_rest import AirflowRest
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.testing.records import produce, webhook_record
from benchmarks.results import Row, row
from benchmarks.stage import servers

DAG = "atlan_meta_ingest"
TOPIC = "meta.events.v1"
SINGLES = 30
BURST = 10_000
MAX_EVENTS = 5
MAX_P50_SECONDS = 1.5
_SECONDS = 120
_GAP_SECONDS = 1.6


def run(rounds: int, quick: bool) -> list[Row]:
    """One round whatever is asked: it waits for clocks, not for the CPU. Not part of the quick ones."""
    del rounds
    if quick:
        return []
    with servers(["postgres", "kafka", "airflow"]) as sandbox, _Lane(sandbox) as lane:
        lane.wake()
        latencies = lane.singles(SINGLES)
        burst = lane.burst(BURST)
    p50, p90 = statistics.median(latencies), sorted(latencies)[int(len(latencies) * 0.9)]
    return [
        row(
            "B5",
            "DAG lane: produced to committed row, p50",
            ours=p50,
            peer=None,
            unit="s",
            ratio=p50,
            target=MAX_P50_SECONDS,
            at_most=True,
            p90=p90,
            records=SINGLES,
        ),
        row(
            "B5",
            "DAG lane: asset events of a burst of 10,000 in 1 s",
            ours=burst["events"],
            peer=None,
            unit="events",
            ratio=burst["events"],
            target=MAX_EVENTS,
            at_most=True,
            **burst,
        ),
        row(
            "B5",
            "DAG lane: records of the burst that became no row",
            ours=burst["stranded"],
            peer=None,
            unit="records",
            ratio=burst["stranded"],
            target=0,
            at_most=True,
        ),
    ]


class _Lane:
    """The shipped DAG, switched on; its store is read as superuser."""

    def __init__(self, sandbox: Sandbox) -> None:
        fields, connections = sandbox.fields(), Connections(environ=sandbox.variables())
        self._kafka = connections.get(KAFKA).extra
        admin = connections.get(POSTGRES_ADMIN)
        self._store = psycopg.connect(
            host=admin.host,
            port=admin.port,
            user=admin.login,
            password=admin.password,
            dbname=admin.schema,
            autocommit=True,
        )
        self._rest = AirflowRest(
            str(fields["airflow_url"]), str(fields["airflow_user"]), str(fields["airflow_password"])
        )

    def __enter__(self) -> _Lane:
        self._rest.await_dag(DAG)
        self._rest.set_paused(DAG, False)
        return self

    def __exit__(self, *_: object) -> None:
        self._rest.set_paused(DAG, True)
        self._store.close()

    def wake(self) -> None:
        """Returns when a watcher runs: it has told of a record sent after it was switched on."""
        begun = datetime.now(UTC)
        self._produce(_records(1))
        _until(lambda: self._asset_events(begun) > 0, "no asset event")
        self._quiet()

    def singles(self, count: int) -> list[float]:
        """Seconds from produced to committed, of records sent one by one, in step with nobody's clock."""
        rng = random.Random(5)
        sent: list[tuple[float, str]] = []
        for record in _records(count):
            self._produce([record])
            sent.append((time.time(), _subject(record)))
            time.sleep(_GAP_SECONDS + rng.random())
        self._await_rows([subject for _, subject in sent])
        self._quiet()
        committed: dict[str, float] = dict(
            self._store.execute(
                "select subject, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 from meta.event"
                " where subject = any (%s)",
                [[subject for _, subject in sent]],
            ).fetchall()
        )
        return [committed[subject] - moment for moment, subject in sent]

    def burst(self, count: int) -> dict[str, Any]:
        begun = datetime.now(UTC)
        records = _records(count)
        started = time.monotonic()
        self._produce(records)
        produced = time.monotonic() - started
        subjects = [_subject(record) for record in records]
        missing = self._await_rows(subjects)
        drained = time.monotonic() - started - produced
        self._quiet()
        return {
            "events": self._asset_events(begun),
            "stranded": missing,
            "produce_seconds": produced,
            "drained_seconds": drained,
        }

    def _produce(self, records: Sequence[LogRecord]) -> None:
        produce(self._kafka, TOPIC, records)

    def _await_rows(self, subjects: list[str]) -> int:
        """How many are still missing when the time is up."""
        query = "select count(distinct subject) from meta.event where subject = any (%s)"
        deadline = time.monotonic() + _SECONDS
        while True:
            found = self._store.execute(query, [subjects]).fetchone() or (0,)
            if found[0] == len(subjects) or time.monotonic() > deadline:
                return len(subjects) - int(found[0])
            time.sleep(0.1)

    def _quiet(self) -> None:
        self._rest.await_idle(DAG, _SECONDS)

    def _asset_events(self, since: datetime) -> int:
        window = quote(since.isoformat(), safe="")
        answer = self._rest.call("GET", f"/assets/events?timestamp_gte={window}&limit=100")
        return int(answer["total_entries"])


def _records(count: int) -> list[LogRecord]:
    """Of incidents nobody has heard of, a webhook each."""
    now, tag = int(time.time() * 1000), uuid4().hex[:8]
    return [webhook_record(f"{tag}-{number}", received_at_ms=now) for number in range(count)]


def _subject(record: LogRecord) -> str:
    return (record.key or b"").decode().partition("|")[2]


def _until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} within {_SECONDS} s")
        time.sleep(0.25)
