"""Airflow without a server: a home of its own, set before the first import of airflow."""

from __future__ import annotations

import atexit
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
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
_OTHER_SEED = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
# started with the collection, so that it runs beside the other tests: an import of Airflow takes seconds
_PROCESS = subprocess.Popen(
    [sys.executable, str(_PROBE)],
    env={**os.environ, "PYTHONHASHSEED": _OTHER_SEED},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
)
atexit.register(_PROCESS.kill)


@pytest.fixture(scope="session")
def parse_probe() -> dict[str, Any]:
    """What a fresh process with another hash seed says about parsing the shipped DAGs."""
    out, err = _PROCESS.communicate(timeout=120)
    assert _PROCESS.returncode == 0, err[-2000:]
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


@pytest.fixture(scope="session")
def parsed_here() -> dict[str, Any]:
    """The same parse in this process."""
    parse: dict[str, Any] = runpy.run_path(str(_PROBE))["parse_shipped_dags"]()
    return parse
