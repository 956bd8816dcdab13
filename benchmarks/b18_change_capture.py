"""B18: a row's commit to its change in a consumer's hands, through Debezium and Connect, exactly once.

Single commits at 20 a second, as incidents come; and how fast a pile of changes comes off the log.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from airflow_provider_atlan_meta.testing.changes_topic import ChangesTopic, changes_topic
from benchmarks import stage
from benchmarks.results import Row, row

ID = "B18"
RATE = 20.0
SINGLES = 300
PILE = 20_000
MAX_P50_MS = 40.0
_PUT = "insert into meta.incident (tenant_id, incident_id, status) values ('acme', %s, 'A')"
_PUT_PILE = """
insert into meta.incident (tenant_id, incident_id, title)
select 'acme', 'pile-' || n, repeat('x', 300) from generate_series(%s::int, %s::int) n"""


def run(rounds: int, quick: bool) -> list[Row]:
    """One round: it waits for clocks. The quick form is shorter."""
    del rounds
    with stage.isolation(["postgres", "kafka", "connect"]) as made:
        database = made.new_database()
        capture = made.new_capture(database, made.new_topics())
        capture.apply()
        with (
            changes_topic(capture.bootstrap, capture.topic) as reader,
            stage.superuser(database) as connection,
        ):
            lags = _singles(connection, reader, SINGLES // 3 if quick else SINGLES)
            seconds = _pile(connection, reader, PILE // 4 if quick else PILE)
        made.remove_capture(capture)
    p50, p99 = lags[len(lags) // 2], lags[int(len(lags) * 0.99)]
    return [
        row(
            ID,
            f"commit to change received at {RATE:.0f}/s, p50",
            ours=p50,
            peer=None,
            unit="ms",
            ratio=p50,
            target=MAX_P50_MS,
            at_most=True,
            p99=p99,
        ),
        row(
            ID,
            "changes of rows, written 1,000 a transaction, to a consumer",
            ours=(PILE // 4 if quick else PILE) / seconds,
            peer=None,
            unit="changes/s",
            ratio=1.0,
        ),
    ]


def _singles(connection: psycopg.Connection[Any], reader: ChangesTopic, count: int) -> list[float]:
    """Milliseconds from each commit's return to the poll that brought its change, sorted."""
    connection.execute(_PUT, ["warm"])
    reader.read_until(lambda records: len(records) == 1)
    committed: dict[str, float] = {}
    due = time.monotonic()
    for number in range(count):
        connection.execute(_PUT, [f"single-{number}"])
        committed[f"single-{number}"] = time.time()
        due += 1 / RATE
        while time.monotonic() < due:
            reader.poll()
    records = reader.read_until(lambda records: len(records) == count + 1)
    return sorted((one.received_at - committed[one.change["id"]]) * 1000 for one in records[1:])


def _pile(connection: psycopg.Connection[Any], reader: ChangesTopic, count: int) -> float:
    """Seconds from the first commit until the last change is received."""
    before, begun = len(reader.records), time.monotonic()
    for first in range(0, count, 1000):
        connection.execute(_PUT_PILE, [first, first + 999])
    reader.read_until(lambda records: len(records) == before + count, 120)
    return time.monotonic() - begun
