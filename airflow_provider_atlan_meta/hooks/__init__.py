"""Airflow Connections to clients."""
