"""Apache Airflow with our DAGs visible and paused, as a user finds them."""

from __future__ import annotations

import base64
import json
import os
import sys
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox import airflow_db, processes
from airflow_provider_atlan_meta.sandbox.home import Home, write_private
from airflow_provider_atlan_meta.sandbox.processes import Command
from airflow_provider_atlan_meta.sandbox.server import Offer, Server, Site, http_status, missing_modules

NAME = "airflow"
USER = "admin"
# Airflow's own default is 1 s, and latencies are told at it; 0.25 costs 4-6 % of a core, 0.1 a sixth.
IDLE_SLEEP_VARIABLE = "ATLAN_META_SANDBOX_IDLE_SLEEP_SECONDS"
_PORT, _WORKER_LOG_PORT, _TRIGGER_LOG_PORT = "airflow", "airflow-worker-log", "airflow-trigger-log"
_COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
# The first request to a cold API server takes 5-15 s of CPU.
_FIRST_REQUEST_SECONDS = 60
_DAGS_SECONDS = 60.0
_AUTH_MANAGER = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
_BUNDLES = [
    {
        "name": "dags-folder",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {},
    },
    {
        "name": "atlan-meta",
        "classpath": "airflow_provider_atlan_meta.bundles.PackagedDagBundle",
        "kwargs": {},
    },
]


def _url(home: Home) -> str:
    return f"http://127.0.0.1:{home.port(_PORT)}"


def settings(home: Home) -> dict[str, str]:
    """``AIRFLOW__*`` of this sandbox: loopback only, own secrets, a killed worker noticed within 35 s."""
    url = _url(home)
    values = {
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__DAGS_FOLDER": str(home.path / NAME / "dags"),
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(home.secret("airflow-fernet").encode()[:32]).decode(),
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__AUTH_MANAGER": _AUTH_MANAGER,
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home.path / NAME / "passwords.json"),
        "DATABASE__SQL_ALCHEMY_CONN": airflow_db.sqlalchemy_url(home),
        "API__HOST": "127.0.0.1",
        "API__PORT": str(home.port(_PORT)),
        "API__WORKERS": "1",
        "API__BASE_URL": url,
        "API__SECRET_KEY": home.secret("airflow-api"),
        "API_AUTH__JWT_SECRET": home.secret("airflow-jwt") * 2,
        "LOGGING__WORKER_LOG_SERVER_PORT": str(home.port(_WORKER_LOG_PORT)),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(home.port(_TRIGGER_LOG_PORT)),
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(_BUNDLES),
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": os.environ.get(IDLE_SLEEP_VARIABLE) or "1",
        # what a lease may last: a killed worker's task is tried again before its lease ends
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        # a busy machine answers the first Execution API call late; Airflow's 5 s would fail the task
        "WORKERS__EXECUTION_API_TIMEOUT": str(_FIRST_REQUEST_SECONDS),
        "WORKERS__EXECUTION_API_RETRIES": "8",
    }
    return {f"AIRFLOW__{key}": value for key, value in values.items()}


def _missing() -> str | None:
    try:
        # not by importing it: that takes seconds
        distribution("apache-airflow-core")
    except PackageNotFoundError:
        return "needs apache-airflow itself, not the task SDK alone: pip install apache-airflow"
    return missing_modules("psycopg2", "asyncpg")


def _prepare(site: Site) -> None:
    folder = site.home.folder(NAME)
    (folder / "dags").mkdir(exist_ok=True)
    write_private(folder / "passwords.json", json.dumps({USER: site.home.secret("airflow-user")}))


def _command(site: Site) -> Command:
    home = site.home
    module = "airflow_provider_atlan_meta.sandbox.airflow_launcher"
    argv = (sys.executable, "-m", module, str(home.log(NAME).parent))
    return Command(argv=argv, environ={**site.environ, **settings(home)}, folder=home.folder(NAME))


def _ready(site: Site, _pid: int) -> bool:
    """All four healthy, and the Execution API warm: a task must not be its first caller."""
    home = site.home
    try:
        health = api_get(home, "/api/v2/monitor/health")
    except (OSError, ValueError):
        return False
    states = [(health.get(name) or {}).get("status") for name in _COMPONENTS]
    if states != ["healthy"] * len(_COMPONENTS):
        return False
    return http_status(home.port(_PORT), "/execution/health", _FIRST_REQUEST_SECONDS) == 200


def _finish(site: Site) -> None:
    """Until the DAG processor has shown our DAGs."""
    site.report("waiting for the DAGs")
    home = site.home
    token = login(home)
    if not processes.wait_for(
        lambda: bool(api_get(home, "/api/v2/dags", token)["total_entries"]), _DAGS_SECONDS
    ):
        errors = api_get(home, "/api/v2/importErrors", token).get("import_errors") or []
        shown = (
            errors[0]["stack_trace"][-500:] if errors else "no import error; see airflow-dag-processor.log"
        )
        raise TerminalError(f"no DAG appeared within {_DAGS_SECONDS:.0f} s: {shown}")


def login(home: Home) -> str:
    """A bearer token for Airflow's REST API."""
    body = json.dumps({"username": USER, "password": home.secret("airflow-user")}).encode()
    request = Request(  # noqa: S310 - loopback, http only
        f"{_url(home)}/auth/token", data=body, headers={"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=_FIRST_REQUEST_SECONDS) as answer:  # noqa: S310 - loopback
        return str(json.load(answer)["access_token"])


def api_get(home: Home, path: str, token: str = "") -> dict[str, Any]:
    """A document of Airflow's API.

    :raises OSError: it does not answer, or not with 200.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(f"{_url(home)}{path}", headers=headers)  # noqa: S310 - loopback, http only
    try:
        with urlopen(request, timeout=_FIRST_REQUEST_SECONDS) as answer:  # noqa: S310 - loopback
            return dict(json.load(answer))
    except URLError as error:
        raise OSError(str(error)) from error


def _offer(home: Home) -> Offer:
    return Offer(
        fields={
            "airflow_url": _url(home),
            "airflow_user": USER,
            "airflow_password": home.secret("airflow-user"),
        }
    )


SERVER = Server(
    name=NAME,
    summary="Apache Airflow: api-server, scheduler, dag-processor, triggerer",
    missing=_missing,
    ports=(_PORT, _WORKER_LOG_PORT, _TRIGGER_LOG_PORT),
    needs=(airflow_db.NAME,),
    brings=("postgres", "kafka"),
    prepare=_prepare,
    command=_command,
    ready=_ready,
    finish=_finish,
    address=_url,
    offer=_offer,
    stop_seconds=15.0,
    ready_seconds=180.0,
)
