from airflow_provider_atlan_meta.dag_factory import DagOptions
from airflow_provider_atlan_meta.reprocessing_dags import build_replay_dag

dag = build_replay_dag(DagOptions.from_settings())
