"""What the machine can do right now: read before any figure that is not a ratio."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path

import confluent_kafka

from benchmarks import corpus, stage

_PACKAGES = (
    "apache-airflow",
    "msgspec",
    "pydantic",
    "psycopg",
    "confluent-kafka",
    "cassandra-driver",
    "apache-airflow-providers-postgres",
)
_COPIED_ROWS = 20_000


def calibrate() -> dict[str, str]:
    """name -> value, as people read it."""
    return {
        "machine": f"{os.cpu_count()} CPUs, {_cpu_model()}, load {os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
        "librdkafka": confluent_kafka.libversion()[0],
        "json.loads of 1.7 KB": f"{_json_loads_per_second():,.0f}/s",
        "fdatasync": f"{_fdatasync_us():,.0f} µs",
        **_postgres(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _json_loads_per_second() -> float:
    values = [record.value or b"" for record in corpus.records(500)]
    started = time.process_time()
    for _ in range(20):
        for value in values:
            json.loads(value)
    return 20 * len(values) / (time.process_time() - started)


def _fdatasync_us() -> float:
    """Median of 50 appended pages."""
    times = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(50):
            file.write(b"\0" * 8192)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def _postgres() -> dict[str, str]:
    """Rows of 1.8 KB by COPY into a table without any index, in one transaction: nothing is quicker."""
    payloads = [corpus.records(_COPIED_ROWS, touch_incidents=False)]
    rows = [(record.value or b"").decode() for record in payloads[0]]
    with stage.isolation(["postgres"]) as made, stage.superuser(made.new_database()) as admin:
        version = admin.execute("show server_version").fetchone()
        admin.execute("create table raw (payload text)")
        started = time.perf_counter()
        with admin.cursor().copy("copy raw from stdin (format binary)") as copy:
            copy.set_types(["text"])
            for row in rows:
                copy.write_row((row,))
        seconds = time.perf_counter() - started
    return {
        "PostgreSQL": version[0] if version else "?",
        "raw COPY, 1.9 KB a row, no index": f"{_COPIED_ROWS / seconds:,.0f} rows/s",
    }
