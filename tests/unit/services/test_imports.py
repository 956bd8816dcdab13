from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import airflow_provider_atlan_meta

PACKAGE = "airflow_provider_atlan_meta"
ROOMS = ("core", "clients", "config", "pipeline", "services")
SCRIPT = """
import json, sys
from importlib import import_module

for name in json.loads(sys.argv[1]):
    import_module(name)
from airflow_provider_atlan_meta.cli import build_parser

build_parser()
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_services_and_all_below_them_run_without_airflow() -> None:
    """A service starts in a second and in an environment of its own; Airflow alone takes four."""
    folder = Path(airflow_provider_atlan_meta.__file__).parent
    modules = [
        ".".join((PACKAGE, *file.relative_to(folder).with_suffix("").parts))
        for room in ROOMS
        for file in sorted((folder / room).glob("*.py"))
        if file.name != "__init__.py"
    ]

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(modules)], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert "airflow" not in json.loads(done.stdout.splitlines()[-1])
