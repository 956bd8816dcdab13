"""Our ingest service: records in, rows out."""

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

NAME = "ingest"


def _url(home: Home) -> str:
    return f"http://127.0.0.1:{home.port(NAME)}"


def _command(site: Site) -> Command:
    return Command(argv=project_command("serve", NAME), environ=site.environ, folder=site.home.path)


SERVER = Server(
    name=NAME,
    summary="atlan-meta serve ingest",
    missing=lambda: missing_modules(
        "airflow_provider_atlan_meta.cli.serve", "airflow_provider_atlan_meta.services.ingest"
    ),
    ports=(NAME,),
    needs=("kafka", "postgres"),
    command=_command,
    ready=lambda site, _pid: http_status(site.home.port(NAME), "/readyz") == 200,
    address=_url,
    offer=lambda home: Offer(settings={"ingest_metrics_port": str(home.port(NAME))}),
)
