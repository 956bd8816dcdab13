"""Alerts about failed DAG runs."""
