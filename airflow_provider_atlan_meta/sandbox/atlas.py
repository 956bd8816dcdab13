"""Apache Atlas: graph, index, REST and user interface in one JVM; its notifications go to the sandbox's Kafka."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import signal
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from airflow_provider_atlan_meta.config.connections import ATLAS
from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox import java, kafka, processes
from airflow_provider_atlan_meta.sandbox.atlas_install import NAME, Installed, install, installed
from airflow_provider_atlan_meta.sandbox.home import Home, is_free, write_private
from airflow_provider_atlan_meta.sandbox.processes import Command
from airflow_provider_atlan_meta.sandbox.server import (
    Offer,
    Server,
    Site,
    http_status,
    missing_modules,
    service_url,
)

USER = "admin"
# What Atlas reads and what it tells; the names are fixed in its clients.
TOPICS = ("ATLAS_HOOK", "ATLAS_ENTITIES")
_MAIN = "org.apache.atlas.Atlas"
_PROBE = "/api/atlas/v2/types/typedefs/headers"
_PROBE_SECONDS = 10.0
_CAUSE, _TAIL_BYTES = "Caused by: ", 65_536
_TRAINING_SECONDS = 180
_NOWHERE = "127.0.0.1:1"
_HEAP = ("-Xms256m", "-Xmx512m", "-Xss512k")
_OPENED = (
    *("java.base/java.lang", "java.base/java.lang.reflect", "java.base/java.net", "java.base/java.nio"),
    *("java.base/java.text", "java.base/java.util", "java.base/sun.nio.ch"),
)
_FLAGS = (
    *(part for name in _OPENED for part in ("--add-opens", f"{name}=ALL-UNNAMED")),
    "-Dfile.encoding=UTF-8",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-XX:+ExitOnOutOfMemoryError",
)


def _missing() -> str | None:
    return missing_modules("jgo", "confluent_kafka") or java.missing_java()


def _prepare(site: Site) -> None:
    atlas = install(site.report)
    archive = java.archive(NAME, atlas.jars)
    first = _first_data(archive)
    if not (archive.exists() and first.exists()):
        site.report("starting once for the class-data archive and the first data")
        # without both it starts in three times the time
        with contextlib.suppress(OSError, TerminalError):
            java.make_archive(archive, atlas.jars, lambda flags: _train(site, atlas, flags, first))
            if not first.exists():
                _train(site, atlas, java.archive_flags(archive), first)
    folder = site.home.folder(NAME)
    _write_configuration(
        folder,
        port=site.home.port(NAME),
        bootstrap=kafka.bootstrap(site.home),
        password=site.home.secret(NAME),
    )
    if not (folder / "data").exists() and first.exists():
        _copy(first, folder / "data")


def _write_configuration(folder: Path, *, port: int, bootstrap: str, password: str) -> None:
    package = files("airflow_provider_atlan_meta.sandbox")
    own = (
        f"atlas.server.http.port={port}",
        f"atlas.rest.address=http://127.0.0.1:{port}",
        f"atlas.kafka.bootstrap.servers={bootstrap}",
    )
    conf, models = folder / "conf", folder / "models" / "0000-sandbox"
    for made in (conf, models, folder / "tmp"):
        made.mkdir(parents=True, exist_ok=True)
    text = (package / "atlas.properties").read_text() + "\n".join(own) + "\n"
    (conf / "atlas-application.properties").write_text(text)
    (conf / "log4j.properties").write_text((package / "atlas-log4j.properties").read_text())
    (models / "0010-types.json").write_text(_types())
    digest = hashlib.sha256(f"{password}{{{USER}}}".encode()).hexdigest()
    write_private(conf / "users-credentials.properties", f"{USER}=ADMIN::{digest}\n")


def _types() -> str:
    return (files("airflow_provider_atlan_meta.sandbox") / "atlas-types.json").read_text()


def _first_data(archive: Path) -> Path:
    """Data of a server that has just made its types, beside the archive: copied for every new sandbox."""
    return archive.with_suffix(f".data-{hashlib.sha256(_types().encode()).hexdigest()[:8]}")


def _copy(source: Path, target: Path) -> None:
    """All of it or nothing."""
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        shutil.copytree(source, Path(name) / "data")
        (Path(name) / "data").rename(target)


def _java(atlas: Installed, folder: Path, archive: Sequence[str]) -> tuple[str, ...]:
    own = (
        f"-Datlas.home={folder}",
        f"-Datlas.conf={folder / 'conf'}",
        f"-Datlas.data={folder / 'data'}",
        f"-Datlas.log.dir={folder / 'logs'}",
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        f"-Dlog4j.configuration=file:{folder / 'conf' / 'log4j.properties'}",
    )
    arguments = (_MAIN, "--app", str(atlas.web))
    return java.command(atlas.jars, *arguments, flags=(*archive, *_HEAP, *_FLAGS, *own))


def _train(site: Site, atlas: Installed, flags: Sequence[str], first: Path) -> None:
    """A server on data of its own that lives until it answers. It needs no Kafka for that."""
    home = site.home
    with tempfile.TemporaryDirectory(dir=home.folder(NAME)) as name:
        folder, port, password = Path(name), home.port("atlas-training"), home.secret(NAME)
        _write_configuration(folder, port=port, bootstrap=_NOWHERE, password=password)
        command = Command(argv=_java(atlas, folder, flags), environ=java.environ(), folder=folder)
        member = home.member(NAME)
        server = processes.spawn(command, log=home.log(NAME), member=member)
        answered, log = False, home.log(NAME)
        try:
            processes.wait_for(
                lambda: not processes.alive(server) or _answers(port, password, log), _TRAINING_SECONDS
            )
            answered = processes.alive(server)
        finally:
            clean = processes.stop(server, member, number=signal.SIGTERM, seconds=_TRAINING_SECONDS)
        if answered and clean and not first.exists():
            _copy(folder / "data", first)


def _command(site: Site) -> Command:
    atlas, folder = installed(), site.home.folder(NAME)
    archive = java.archive_flags(java.archive(NAME, atlas.jars))
    return Command(argv=_java(atlas, folder, archive), environ=java.environ(), folder=folder)


def _ready(site: Site, _pid: int) -> bool:
    home = site.home
    return _answers(home.port(NAME), home.secret(NAME), home.log(NAME))


def _answers(port: int, password: str, log: Path) -> bool:
    """Types, not an open port.

    :raises TerminalError: the application inside failed; its web server stays up for ever and says 503.
    """
    if is_free(port):
        return False
    credentials = b64encode(f"{USER}:{password}".encode()).decode()
    status = http_status(port, _PROBE, _PROBE_SECONDS, {"Authorization": f"Basic {credentials}"})
    if status == 503:
        raise TerminalError(
            f"its web server runs, but the application in it failed to start (503): {_last_cause(log)}"
        )
    return status == 200


def _last_cause(log: Path) -> str:
    """Of the last stack trace in the log: its end is frames."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    causes = [line.removeprefix(_CAUSE) for line in lines if line.startswith(_CAUSE)]
    return causes[-1][:300] if causes else "its log says no cause"


def _finish(site: Site) -> None:
    """Without its topic every write of an entity would wait a minute for it."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    client = AdminClient({"bootstrap.servers": kafka.bootstrap(site.home), "log_level": 0})
    try:
        absent = [name for name in TOPICS if name not in client.list_topics(timeout=10).topics]
        wanted = [NewTopic(name, 1, 1) for name in absent]
        for made in client.create_topics(wanted).values() if wanted else ():
            made.result(timeout=10)
    except KafkaException as error:
        raise TerminalError(f"its topics {', '.join(TOPICS)} cannot be made: {error}") from error


def _offer(home: Home) -> Offer:
    password = home.secret(NAME)
    connection = {
        "conn_type": "atlan_meta_atlas",
        "host": "http://127.0.0.1",
        "port": home.port(NAME),
        "login": USER,
        "password": password,
    }
    return Offer(
        fields={
            "atlas_url": service_url(NAME, home),
            "atlas_user": USER,
            "atlas_password": password,
        },
        connections={ATLAS: connection},
    )


SERVER = Server(
    name=NAME,
    summary="Apache Atlas 2.1, with a graph and an index of its own",
    missing=_missing,
    ports=(NAME,),
    needs=(kafka.NAME,),
    prepare=_prepare,
    command=_command,
    ready=_ready,
    finish=_finish,
    address=lambda home: service_url(NAME, home),
    offer=_offer,
    ready_seconds=180.0,
)
