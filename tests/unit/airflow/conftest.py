"""Airflow without a server: a home of its own, set before the first import of airflow."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_HOME = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[_name]
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

_PROBE = Path(__file__).with_name("parse_probe.py")
# started with the collection, so that they run beside the other tests: an import of Airflow takes seconds
_PROBES = [
    subprocess.Popen(
        [sys.executable, str(_PROBE)],
        env={**os.environ, "PYTHONHASHSEED": seed, "AIRFLOW_HOME": f"{_HOME}/probe-{seed}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for seed in ("1", "2")
]
atexit.register(lambda: [process.kill() for process in _PROBES])


@pytest.fixture(scope="session")
def parse_probes() -> Iterator[list[dict[str, Any]]]:
    """What two fresh processes with different hash seeds say about parsing the shipped DAGs."""
    answers = []
    for process in _PROBES:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err[-2000:]
        answers.append(json.loads(out.splitlines()[-1]))
    yield answers
