"""Run in a fresh process: what importing our half costs, and what a parse of the shipped DAGs leaves."""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from statistics import median
from typing import Any

SDK_NAMES = (
    "DAG Asset AssetOrTimeSchedule AssetWatcher BaseHook BaseNotifier BaseOperator Connection "
    "CronTriggerTimetable Param RetryAction RetryDecision RetryPolicy Variable"
)
OURS = "airflow_provider_atlan_meta"


def import_milliseconds() -> float:
    """CPU time of importing what a DAG file needs, in a child that has airflow.sdk and nothing of ours."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for name in [name for name in sys.modules if name.split(".")[0] == OURS]:
            del sys.modules[name]
        start = time.process_time()
        import_module(f"{OURS}.dag_factory")
        os.write(writer, str((time.process_time() - start) * 1000).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    text = os.read(reader, 100).decode()
    os.close(reader)
    return float(text)


def parse_shipped_dags() -> dict[str, Any]:
    """As the dag-processor does it; ``modules`` is what is imported afterwards."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import DagSerialization

    from airflow_provider_atlan_meta.bundles import PackagedDagBundle

    path = PackagedDagBundle(name="atlan-meta").path
    bag = DagBag(dag_folder=str(path), bundle_path=path, bundle_name="atlan-meta")
    modules = sorted(sys.modules)
    hash_of: Any = SerializedDagModel.hash
    hashes = {dag_id: hash_of(DagSerialization.to_dict(dag)) for dag_id, dag in bag.dags.items()}
    files = {dag_id: dag.fileloc for dag_id, dag in bag.dags.items()}
    return {"hashes": hashes, "files": files, "import_errors": bag.import_errors, "modules": modules}


def main() -> None:
    import airflow.sdk

    for name in SDK_NAMES.split():
        getattr(airflow.sdk, name)
    milliseconds = median(import_milliseconds() for _ in range(7))
    print(json.dumps({"import_milliseconds": milliseconds, **parse_shipped_dags()}))


if __name__ == "__main__":
    main()
