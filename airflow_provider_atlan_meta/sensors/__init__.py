"""Airflow sensors: what a task waits for."""
