from airflow_provider_atlan_meta.dag_factory import DagOptions
from airflow_provider_atlan_meta.reprocessing_dags import build_redrive_dag

dag = build_redrive_dag(DagOptions.from_settings())
