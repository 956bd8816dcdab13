"""Our consumer service: changes in, messages to the subscribers out."""

from __future__ import annotations

from airflow_provider_atlan_meta.sandbox import connect, kafka, store
from airflow_provider_atlan_meta.sandbox.server import Offer, project_service

NAME = "consumer"

SERVER = project_service(
    NAME,
    modules=(
        "aiohttp",
        "airflow_provider_atlan_meta.services.consumer",
        "airflow_provider_atlan_meta.services.consumer_process",
    ),
    # connect fills the topic it reads
    needs=(kafka.NAME, store.NAME, connect.NAME),
    offer=lambda home: Offer(settings={"consumer_metrics_port": str(home.port(NAME))}),
)
