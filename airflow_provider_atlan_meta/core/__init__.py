"""Decisions only: no I/O, no clock, no Airflow; standard library and msgspec."""
