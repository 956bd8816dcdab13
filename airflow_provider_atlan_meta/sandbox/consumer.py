"""Our consumer service: changes in, messages to the subscribers out."""

from __future__ import annotations

from airflow_provider_atlan_meta.sandbox import connect, kafka, store
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

NAME = "consumer"


def _url(home: Home) -> str:
    return f"http://127.0.0.1:{home.port(NAME)}"


def _command(site: Site) -> Command:
    return Command(argv=project_command("serve", NAME), environ=site.environ, folder=site.home.path)


SERVER = Server(
    name=NAME,
    summary="atlan-meta serve consumer",
    missing=lambda: missing_modules(
        "aiohttp",
        "airflow_provider_atlan_meta.services.consumer",
        "airflow_provider_atlan_meta.services.consumer_process",
    ),
    ports=(NAME,),
    # connect fills the topic it reads
    needs=(kafka.NAME, store.NAME, connect.NAME),
    command=_command,
    ready=lambda site, _pid: http_status(site.home.port(NAME), "/readyz") == 200,
    address=_url,
    offer=lambda home: Offer(settings={"consumer_metrics_port": str(home.port(NAME))}),
)
