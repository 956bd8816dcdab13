"""Our producer: signed webhooks in, records out."""

from __future__ import annotations

from airflow_provider_atlan_meta.sandbox.home import Home
from airflow_provider_atlan_meta.sandbox.server import Offer, project_service, service_url

NAME = "producer"


def _offer(home: Home) -> Offer:
    return Offer(
        fields={"producer_url": service_url(NAME, home)},
        settings={"producer_host": "127.0.0.1", "producer_port": str(home.port(NAME))},
    )


SERVER = project_service(
    NAME,
    modules=("airflow_provider_atlan_meta.cli.serve", "airflow_provider_atlan_meta.services.producer"),
    needs=("kafka",),
    offer=_offer,
    reads_tenants=True,
)
