"""Our ingest service: records in, rows out."""

from __future__ import annotations

from airflow_provider_atlan_meta.sandbox.server import Offer, project_service

NAME = "ingest"

SERVER = project_service(
    NAME,
    modules=("airflow_provider_atlan_meta.cli.serve", "airflow_provider_atlan_meta.services.ingest"),
    needs=("kafka", "postgres"),
    offer=lambda home: Offer(settings={"ingest_metrics_port": str(home.port(NAME))}),
)
