"""B12: what a backlog costs as it grows, from 10,000 records to 1,000,000: time per record, and memory.

Topic to store through the bounded engine, in a process of its own per size: ``python -m benchmarks.b12_growth``.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.sandbox.isolation import Isolation
from airflow_provider_atlan_meta.services.ingest import IngestRequest, ingest_once
from airflow_provider_atlan_meta.testing.records import produce
from benchmarks import corpus, stage
from benchmarks.results import Row, row

ID = "B12"
SIZES = (10_000, 1_000_000)
MAX_SLOPE = 1.05
MAX_GROWTH_MIB = 64.0
_ROOT = Path(__file__).resolve().parent.parent
_SIZE_VARIABLE = "ATLAN_META_BENCH_RECORDS"
_LONGEST_SECONDS = 3600.0


def run(rounds: int, quick: bool) -> list[Row]:
    """One round per size."""
    del rounds, quick
    with stage.isolation(["postgres", "kafka"]) as made:
        small, large = (_measure(made, size) for size in SIZES)
    slope = math.log(large["seconds"] / small["seconds"]) / math.log(SIZES[1] / SIZES[0])
    growth = (large["peak_kib"] - small["peak_kib"]) / 1024
    return [
        row(
            ID,
            "time against records, 10,000 to 1,000,000: slope of log over log",
            ours=SIZES[1] / large["seconds"],
            peer=SIZES[0] / small["seconds"],
            unit="events/s",
            ratio=slope,
            target=MAX_SLOPE,
            at_most=True,
            seconds_small=small["seconds"],
            seconds_large=large["seconds"],
        ),
        row(
            ID,
            "peak memory with 1,000,000 records / with 10,000",
            ours=large["peak_kib"] / 1024,
            peer=small["peak_kib"] / 1024,
            unit="MiB",
            ratio=growth,
            target=MAX_GROWTH_MIB,
            at_most=True,
        ),
    ]


def _measure(made: Isolation, size: int) -> dict[str, float]:
    database, topics = made.new_database(), made.new_topics()
    produce(topics.kafka.extra, topics.events, corpus.repeated(size, start_ms=stage.today_ms()))
    environ = {**os.environ, **topics.environ, **database.environ, _SIZE_VARIABLE: str(size)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.b12_growth"],
        env=environ,
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=_LONGEST_SECONDS,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    with stage.superuser(database) as admin:
        found = admin.execute("select count(*) from meta.event").fetchone()
    if found != (size,):
        raise RuntimeError(f"meta.event holds {found} instead of {size} events")
    return measured


def main() -> None:
    size = int(os.environ[_SIZE_VARIABLE])
    settings, connections = Settings(), Connections()
    request = IngestRequest(topic=settings.topic("events"), max_records=size, max_seconds=_LONGEST_SECONDS)
    started = time.perf_counter()
    outcome = ingest_once(
        kafka=connections.get(KAFKA),
        postgres=connections.get(POSTGRES),
        request=request,
        owner=LeaseOwner(id=uuid4(), label="bench"),
    )
    seconds = time.perf_counter() - started
    if outcome.records != size:
        raise RuntimeError(f"{outcome.records} of {size} records were read")
    print(json.dumps({"seconds": seconds, "peak_kib": _peak_kib()}))


def _peak_kib() -> int:
    """Of this process alone: getrusage's would be the parent's, if that was larger."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise RuntimeError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    main()
