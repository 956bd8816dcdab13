"""Thin Airflow shells around the pipeline."""
