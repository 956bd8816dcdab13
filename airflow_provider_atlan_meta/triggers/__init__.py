"""What Airflow's triggerer watches."""
