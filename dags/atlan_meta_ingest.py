from airflow_provider_atlan_meta.dag_factory import DagOptions, build_ingest_dag

dag = build_ingest_dag(DagOptions.from_settings())
