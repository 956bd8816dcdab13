"""The DAGs that ship inside this distribution, as an Airflow DAG bundle."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from airflow.dag_processing.bundles.local import LocalDagBundle


class PackagedDagBundle(LocalDagBundle):
    """Needs no path: it finds the installed ``dags`` package, in a wheel and in an editable install."""

    def __init__(self, **kwargs: Any) -> None:
        spec = find_spec("airflow_provider_atlan_meta.dags")
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError(
                "airflow_provider_atlan_meta.dags is not installed; reinstall airflow-provider-atlan-meta"
            )
        super().__init__(path=spec.submodule_search_locations[0], **kwargs)
