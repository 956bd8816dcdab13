from airflow_provider_atlan_meta.dag_factory import DagOptions
from airflow_provider_atlan_meta.source_dags import build_poll_dag

dag = build_poll_dag(DagOptions.from_settings())
