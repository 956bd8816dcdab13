"""A DAG that is serialised differently by every process makes a new version at every parse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SHIPPED = Path(__file__).parents[2] / "dags"
PROBE = Path(__file__).parents[1] / "unit" / "airflow" / "parse_probe.py"


def test_a_dag_is_serialised_alike_in_every_process(tmp_path: Path) -> None:
    """Sets have another order under another hash seed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROBE)],
            env={**clean, "AIRFLOW_HOME": str(tmp_path), "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate(timeout=120)[0] for process in processes)

    assert [process.returncode for process in processes] == [0, 0]
    hashes = json.loads(first.splitlines()[-1])["hashes"]
    assert set(hashes) == {path.stem for path in SHIPPED.glob("atlan_meta_*.py")}
    assert json.loads(second.splitlines()[-1])["hashes"] == hashes
