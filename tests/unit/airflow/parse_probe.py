"""What importing our half costs, and what a parse of the shipped DAGs finds and leaves.

Run by the tests in a fork, and as a script in processes of their own (``PYTHONHASHSEED``).
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from statistics import median
from typing import Any

OURS = "airflow_provider_atlan_meta"
CLIENTS = (
    "alembic",
    "confluent_kafka",
    "jgo",
    "psycopg",
    "psycopg_pool",
    "slack_sdk",
    "starlette",
    "uvicorn",
)
FORGOTTEN = (OURS, *CLIENTS)
SDK_NAMES = (
    "DAG Asset AssetOrTimeSchedule AssetWatcher BaseHook BaseNotifier BaseOperator Connection "
    "CronTriggerTimetable Param RetryAction RetryDecision RetryPolicy Variable"
)


def import_milliseconds() -> float:
    """Median CPU time of importing what a DAG file needs, over airflow.sdk."""
    sdk = import_module("airflow.sdk")
    for name in SDK_NAMES.split():
        getattr(sdk, name)
    return median(_import_once() for _ in range(7))


def parse_shipped_dags() -> dict[str, Any]:
    """As the dag-processor does it; ``clients`` are the client libraries that are imported afterwards."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import DagSerialization

    from airflow_provider_atlan_meta.bundles import PackagedDagBundle

    path = PackagedDagBundle(name="atlan-meta").path
    bag = DagBag(dag_folder=str(path), bundle_path=path, bundle_name="atlan-meta")
    clients = sorted({name.split(".")[0] for name in sys.modules} & set(CLIENTS))
    hash_of: Any = SerializedDagModel.hash
    hashes = {dag_id: hash_of(DagSerialization.to_dict(dag)) for dag_id, dag in bag.dags.items()}
    files = {dag_id: dag.fileloc for dag_id, dag in bag.dags.items()}
    return {"hashes": hashes, "files": files, "import_errors": bag.import_errors, "clients": clients}


def _import_once() -> float:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        start = time.process_time()
        import_module(f"{OURS}.dag_factory")
        os.write(writer, str((time.process_time() - start) * 1000).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    text = os.read(reader, 100).decode()
    os.close(reader)
    return float(text)


if __name__ == "__main__":
    print(json.dumps(parse_shipped_dags()))
