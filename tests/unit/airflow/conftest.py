"""Airflow without a server: a home of its own, set before the first import of airflow."""

from __future__ import annotations

import atexit
import json
import os
import runpy
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_HOME = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[_name]
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

_PROBE = runpy.run_path(str(Path(__file__).with_name("parse_probe.py")))


@pytest.fixture(scope="session")
def import_milliseconds() -> float:
    """What importing our half costs a process that has airflow.sdk."""
    return float(_in_a_fork(_PROBE["import_milliseconds"]))


@pytest.fixture(scope="session")
def parsed() -> dict[str, Any]:
    """What a parse of the shipped DAGs finds and leaves."""
    return dict(_in_a_fork(_PROBE["parse_shipped_dags"]))


def _in_a_fork(function: Callable[[], Any]) -> Any:
    """The function's answer from a child without modules of ours: an import of Airflow itself takes seconds."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of pytest's are not used in the child
        child = os.fork()
    if child == 0:
        try:
            for name in [name for name in sys.modules if name.split(".")[0] in _PROBE["FORGOTTEN"]]:
                del sys.modules[name]
            os.write(writer, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answers:
        text = answers.read()
    os.waitpid(child, 0)
    return json.loads(text)
