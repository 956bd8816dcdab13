"""Kafka Connect with Debezium: change messages of the store's log become records of the changes topic."""

from __future__ import annotations

import contextlib
from importlib.resources import files
from pathlib import Path

from airflow_provider_atlan_meta.config.connections import CONNECT
from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox import downloads, java, kafka, store
from airflow_provider_atlan_meta.sandbox.home import Home, write_private
from airflow_provider_atlan_meta.sandbox.processes import Command
from airflow_provider_atlan_meta.sandbox.server import (
    Offer,
    Server,
    Site,
    http_status,
    missing_modules,
    project_command,
    run_step,
)

NAME = "connect"
_PORT, _METRICS_PORT = "connect", "connect-metrics"
_MAIN = "org.apache.kafka.connect.cli.ConnectDistributed"
_AGENT = "jmx_prometheus_javaagent"
_HEAP = ("-Xms64m", "-Xmx512m")
_CLASSES, _SECRETS = "loaded.classes", "secrets"


def url(home: Home) -> str:
    return f"http://127.0.0.1:{home.port(_PORT)}"


def _missing() -> str | None:
    return missing_modules("jgo", "httpx", "airflow_provider_atlan_meta.cli.capture") or java.missing_java()


def _prepare(site: Site) -> None:
    downloads.install(NAME, site.report)
    home, package = site.home, files("airflow_provider_atlan_meta.sandbox")
    folder = home.folder(NAME)
    secrets = _secrets_file(home)
    own = (
        f"bootstrap.servers={kafka.bootstrap(home)}",
        f"listeners={url(home)}",
        f"config.providers.file.param.allowed.paths={secrets.parent}",
    )
    text = (package / "connect-worker.properties").read_text() + "\n".join(own) + "\n"
    (folder / "worker.properties").write_text(text)
    for source, target in (("kafka-log4j2.properties", "log4j2.properties"), ("connect-jmx.yml", "jmx.yml")):
        (folder / target).write_text((package / source).read_text())
    write_private(secrets, f"password={home.secret(f'{store.NAME}-{store.CDC_ROLE}')}\n")


def _secrets_file(home: Home) -> Path:
    """What the connector's configuration points to instead of holding it."""
    return home.path / NAME / _SECRETS / "postgres.properties"


def _command(site: Site) -> Command:
    home, jars = site.home, downloads.installed(NAME)
    folder = home.folder(NAME)
    agent = next(jar for jar in jars if jar.name.startswith(_AGENT))
    flags = (
        *(java.archive_flags(java.archive(NAME, jars)) or java.training_flags(folder / _CLASSES)),
        *_HEAP,
        f"-javaagent:{agent}=127.0.0.1:{home.port(_METRICS_PORT)}:{folder / 'jmx.yml'}",
        f"-Dlog4j2.configurationFile=file:{folder / 'log4j2.properties'}",
    )
    argv = java.command(jars, _MAIN, str(folder / "worker.properties"), flags=flags)
    return Command(argv=argv, environ=java.environ(), folder=folder)


def _ready(site: Site, _pid: int) -> bool:
    return http_status(site.home.port(_PORT), "/health") == 200


def _finish(site: Site) -> None:
    site.report("applying the change connector")
    try:
        _capture(site, "apply")
    except TerminalError as error:
        # its slot is lost: the worker was stopped while much was written
        if "capture recover" not in str(error):
            raise
        site.report("recovering the lost replication slot")
        _capture(site, "recover")
    classes = site.home.folder(NAME) / _CLASSES
    if classes.exists():
        site.report("making the class-data archive, once")
        jars = downloads.installed(NAME)
        # without the archive the worker starts in 5 s instead of 1.5
        with contextlib.suppress(OSError, TerminalError):
            java.make_archive_of(java.archive(NAME, jars), jars, classes)
        classes.unlink()


def _capture(site: Site, verb: str) -> None:
    run_step(site, project_command("capture", verb), what=f"atlan-meta capture {verb}", name=NAME)


def _offer(home: Home) -> Offer:
    reference = f"${{file:{_secrets_file(home)}:password}}"
    connection = {
        "conn_type": "atlan_meta_connect",
        "host": "http://127.0.0.1",
        "port": home.port(_PORT),
        "extra": {"database_password": reference},
    }
    return Offer(fields={"connect_url": url(home)}, connections={CONNECT: connection})


SERVER = Server(
    name=NAME,
    summary="Kafka Connect 4.3 with Debezium 3.7, exactly-once source",
    missing=_missing,
    ports=(_PORT, _METRICS_PORT),
    needs=(kafka.NAME, store.NAME),
    prepare=_prepare,
    command=_command,
    ready=_ready,
    finish=_finish,
    address=url,
    offer=_offer,
    ready_seconds=90.0,
)
