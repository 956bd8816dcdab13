"""Apache Kafka: one KRaft node, no ZooKeeper, no scripts."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from airflow_provider_atlan_meta.config.connections import KAFKA
from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox import downloads, java, processes
from airflow_provider_atlan_meta.sandbox.home import Home, is_free
from airflow_provider_atlan_meta.sandbox.processes import Command
from airflow_provider_atlan_meta.sandbox.server import (
    Offer,
    Server,
    Site,
    missing_modules,
    project_command,
    run_step,
)

NAME = "kafka"
_PORT, _CONTROLLER_PORT = "kafka", "kafka-controller"
_CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
# Kafka's own default is 3000; 0 is what tests want. Benchmarks set it to compare at the default.
REBALANCE_DELAY_VARIABLE = "ATLAN_META_SANDBOX_REBALANCE_DELAY_MS"
_TRAINING_SECONDS = 30
_HEAP = ("-Xms64m", "-Xmx384m")


def bootstrap(home: Home) -> str:
    return f"127.0.0.1:{home.port(_PORT)}"


def _missing() -> str | None:
    return missing_modules("confluent_kafka", "jgo") or java.missing_java()


def _prepare(site: Site) -> None:
    jars = downloads.install(NAME, site.report)
    archive = java.archive(NAME, jars)
    if not archive.exists():
        site.report("making the class-data archive, once")
        # without the archive the broker starts in 3 s instead of 1
        with contextlib.suppress(OSError, TerminalError):
            java.make_archive(archive, jars, lambda flags: _train(site, jars, flags))
    folder = site.home.folder(NAME)
    _write_properties(folder, ports=(site.home.port(_PORT), site.home.port(_CONTROLLER_PORT)))
    if not (folder / "data" / "meta.properties").exists():
        site.report("formatting storage")
        _format(site, jars, folder)


def _write_properties(folder: Path, *, ports: tuple[int, int]) -> None:
    package = files("airflow_provider_atlan_meta.sandbox")
    port, controller_port = ports
    own = (
        f"controller.quorum.voters=1@127.0.0.1:{controller_port}",
        f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}",
        f"log.dirs={folder / 'data'}",
        f"group.initial.rebalance.delay.ms={os.environ.get(REBALANCE_DELAY_VARIABLE) or '0'}",
    )
    text = (package / "kafka-server.properties").read_text() + "\n".join(own) + "\n"
    (folder / "server.properties").write_text(text)
    (folder / "log4j2.properties").write_text((package / "kafka-log4j2.properties").read_text())


def _format(site: Site, jars: Sequence[Path], folder: Path) -> None:
    """By StorageTool: a hand-written meta.properties leaves the group and transaction features off."""
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    properties = str(folder / "server.properties")
    argv = _java(jars, folder, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", properties)
    run_step(site, argv, what="formatting Kafka's storage", name=NAME, environ=java.environ())


def _java(
    jars: Sequence[Path], folder: Path, *arguments: str, flags: tuple[str, ...] = ()
) -> tuple[str, ...]:
    log = f"-Dlog4j2.configurationFile=file:{folder / 'log4j2.properties'}"
    flags = flags or java.archive_flags(java.archive(NAME, jars))
    return java.command(jars, *arguments, flags=(*flags, *_HEAP, log))


def _train(site: Site, jars: Sequence[Path], flags: tuple[str, ...]) -> None:
    """A broker on data of its own that lives until it answers."""
    with tempfile.TemporaryDirectory(dir=site.home.folder(NAME)) as name:
        folder, home = Path(name), site.home
        ports = (home.port("kafka-training"), home.port("kafka-training-controller"))
        _write_properties(folder, ports=ports)
        _format(site, jars, folder)
        argv = _java(jars, folder, "kafka.Kafka", str(folder / "server.properties"), flags=flags)
        member = home.member(NAME)
        command = Command(argv=argv, environ=java.environ(), folder=folder)
        broker = processes.spawn(command, log=home.log(NAME), member=member)
        try:
            processes.wait_for(lambda: not processes.alive(broker) or _answers(ports[0]), _TRAINING_SECONDS)
        finally:
            processes.stop(broker, member, number=signal.SIGTERM, seconds=_TRAINING_SECONDS)


def _command(site: Site) -> Command:
    jars = downloads.installed(NAME)
    folder = site.home.folder(NAME)
    argv = _java(jars, folder, "kafka.Kafka", str(folder / "server.properties"))
    return Command(argv=argv, environ=java.environ(), folder=folder)


def _ready(site: Site, _pid: int) -> bool:
    return _answers(site.home.port(_PORT))


def _answers(port: int) -> bool:
    """Metadata, not an open port: the port opens before the broker may serve."""
    if is_free(port):
        return False
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    try:
        return bool(client.list_topics(timeout=1.0).brokers)
    except KafkaException:
        return False


def _finish(site: Site) -> None:
    if missing_modules("airflow_provider_atlan_meta.cli.topics") is None:
        site.report("creating topics")
        run_step(site, project_command("topics", "create"), what="atlan-meta topics create", name=NAME)


def _offer(home: Home) -> Offer:
    servers = bootstrap(home)
    return Offer(
        fields={"kafka_bootstrap": servers},
        connections={KAFKA: {"conn_type": "kafka", "extra": {"bootstrap.servers": servers}}},
        settings={"topic_replication": "1"},
    )


SERVER = Server(
    name=NAME,
    summary="Apache Kafka 4.3, one KRaft node",
    missing=_missing,
    ports=(_PORT, _CONTROLLER_PORT),
    prepare=_prepare,
    command=_command,
    ready=_ready,
    finish=_finish,
    address=bootstrap,
    offer=_offer,
)
