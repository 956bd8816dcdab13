from airflow_provider_atlan_meta.dag_factory import DagOptions, build_propagate_dag

dag = build_propagate_dag(DagOptions.from_settings())
