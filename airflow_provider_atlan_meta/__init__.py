"""Real-time metadata pipeline for Apache Airflow.

Importing this package loads nothing else: Airflow imports it at every provider discovery and DAG parse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.dag_factory import DagOptions as DagOptions
    from airflow_provider_atlan_meta.dag_factory import build_dags as build_dags

__all__ = ["DagOptions", "__version__", "build_dags"]


def __getattr__(name: str) -> Any:
    if name in ("build_dags", "DagOptions"):
        from airflow_provider_atlan_meta import dag_factory

        return getattr(dag_factory, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
