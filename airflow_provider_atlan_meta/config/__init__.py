"""Settings and connections outside Airflow."""
