"""Our producer: signed webhooks in, records out."""

from __future__ import annotations

from airflow_provider_atlan_meta.sandbox.home import Home
from airflow_provider_atlan_meta.sandbox.processes import Command
from airflow_provider_atlan_meta.sandbox.server import (
    Offer,
    Server,
    Site,
    http_status,
    missing_modules,
    project_command,
)

NAME = "producer"


def _url(home: Home) -> str:
    return f"http://127.0.0.1:{home.port(NAME)}"


def _command(site: Site) -> Command:
    return Command(argv=project_command("serve", NAME), environ=site.environ, folder=site.home.path)


def _offer(home: Home) -> Offer:
    return Offer(
        fields={"producer_url": _url(home)},
        settings={"producer_host": "127.0.0.1", "producer_port": str(home.port(NAME))},
    )


SERVER = Server(
    name=NAME,
    summary="atlan-meta serve producer",
    missing=lambda: missing_modules(
        "airflow_provider_atlan_meta.cli.serve", "airflow_provider_atlan_meta.services.producer"
    ),
    ports=(NAME,),
    needs=("kafka",),
    command=_command,
    ready=lambda site, _pid: http_status(site.home.port(NAME), "/readyz") == 200,
    address=_url,
    offer=_offer,
    reads_tenants=True,
)
