"""Apache Cassandra: one node on loopback, started without its shell scripts."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import struct
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from airflow_provider_atlan_meta.config.connections import CASSANDRA
from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox import downloads, java, processes
from airflow_provider_atlan_meta.sandbox.home import Home, is_free
from airflow_provider_atlan_meta.sandbox.processes import Command
from airflow_provider_atlan_meta.sandbox.server import Offer, Server, Site, missing_modules

NAME = "cassandra"
_PORT, _STORAGE_PORT = "cassandra", "cassandra-storage"
_MAIN = "org.apache.cassandra.service.CassandraDaemon"
_TRAINING_SECONDS = 60
_HEAP = ("-Xms256m", "-Xmx256m", "-Xss512k")
# What Cassandra's own start script opens to its reflection, without the modules the wheel's Java does not have.
_OPENED = (
    *(
        "java.base/java.io",
        "java.base/java.lang",
        "java.base/java.lang.module",
        "java.base/java.lang.reflect",
    ),
    *("java.base/java.nio", "java.base/java.util", "java.base/java.util.concurrent"),
    *(
        "java.base/java.util.concurrent.atomic",
        "java.base/jdk.internal.loader",
        "java.base/jdk.internal.math",
    ),
    *("java.base/jdk.internal.module", "java.base/jdk.internal.ref", "java.base/jdk.internal.reflect"),
    *(
        "java.base/jdk.internal.util.jar",
        "java.base/sun.nio.ch",
        "jdk.management/com.sun.management.internal",
    ),
)
_EXPORTED = (
    *("java.base/java.lang.ref", "java.base/jdk.internal.misc", "java.sql/java.sql"),
    *("java.management.rmi/com.sun.jmx.remote.internal.rmi", "java.rmi/sun.rmi.registry"),
    *("java.rmi/sun.rmi.server", "jdk.unsupported/sun.misc"),
)
_FLAGS = (
    *(part for name in _OPENED for part in ("--add-opens", f"{name}=ALL-UNNAMED")),
    *(part for name in _EXPORTED for part in ("--add-exports", f"{name}=ALL-UNNAMED")),
    "-Djava.security.manager=allow",
    "-Djava.net.preferIPv4Stack=true",
    "-Djdk.attach.allowAttachSelf=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-XX:+ExitOnOutOfMemoryError",
    # one node has nobody to wait for
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.allow_unsafe_join=true",
)
# Frames of the CQL protocol, version 4: version, flags, stream, opcode, length of the body.
_HEADER = struct.Struct(">BBhBi")
_STARTUP, _READY, _QUERY, _RESULT = 1, 2, 7, 8
_CONSISTENCY_ONE = 1
_PROBE_SECONDS = 2.0


def contact(home: Home) -> str:
    return f"127.0.0.1:{home.port(_PORT)}"


def _missing() -> str | None:
    return missing_modules("jgo", "cassandra") or java.missing_java()


def _prepare(site: Site) -> None:
    jars = downloads.install(NAME, site.report)
    archive = java.archive(NAME, jars)
    if not archive.exists():
        site.report("making the class-data archive, once")
        # without the archive the node starts in twice the time
        with contextlib.suppress(OSError, TerminalError):
            java.make_archive(archive, jars, lambda flags: _train(site, jars, flags))
    ports = (site.home.port(_PORT), site.home.port(_STORAGE_PORT))
    _write_configuration(site.home.folder(NAME), ports=ports)


def _write_configuration(folder: Path, *, ports: tuple[int, int]) -> None:
    """Beside the data: a folder on the class path would switch the class-data archive off."""
    package = files("airflow_provider_atlan_meta.sandbox")
    port, storage_port = ports
    data = folder / "data"
    own: dict[str, object] = {
        "listen_address": "127.0.0.1",
        "rpc_address": "127.0.0.1",
        "native_transport_port": port,
        "storage_port": storage_port,
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": f"127.0.0.1:{storage_port}"}],
            }
        ],
        "data_file_directories": [str(data / "tables")],
        **{
            f"{what}_directory": str(data / what)
            for what in ("commitlog", "hints", "cdc_raw", "saved_caches")
        },
    }
    # a JSON value is a YAML value
    lines = [f"{key}: {json.dumps(value)}" for key, value in own.items()]
    text = (package / "cassandra.yml").read_text() + "\n".join(lines) + "\n"
    (folder / "cassandra.yaml").write_text(text)
    (folder / "logback.xml").write_text((package / "cassandra-logback.xml").read_text())


def _java(jars: Sequence[Path], folder: Path, archive: tuple[str, ...]) -> tuple[str, ...]:
    own = (
        f"-Dcassandra.config=file://{folder / 'cassandra.yaml'}",
        f"-Dcassandra.storagedir={folder / 'data'}",
        f"-Dcassandra.logdir={folder / 'logs'}",
        f"-Dlogback.configurationFile=file://{folder / 'logback.xml'}",
    )
    return java.command(jars, _MAIN, flags=(*archive, *_HEAP, *_FLAGS, *own))


def _train(site: Site, jars: Sequence[Path], flags: tuple[str, ...]) -> None:
    """A node on data of its own that lives until it answers."""
    home = site.home
    with tempfile.TemporaryDirectory(dir=home.folder(NAME)) as name:
        folder = Path(name)
        ports = (home.port("cassandra-training"), home.port("cassandra-training-storage"))
        _write_configuration(folder, ports=ports)
        command = Command(argv=_java(jars, folder, flags), environ=java.environ(), folder=folder)
        member = home.member(NAME)
        node = processes.spawn(command, log=home.log(NAME), member=member)
        try:
            processes.wait_for(lambda: not processes.alive(node) or _answers(ports[0]), _TRAINING_SECONDS)
        finally:
            processes.stop(node, member, number=signal.SIGTERM, seconds=_TRAINING_SECONDS)


def _command(site: Site) -> Command:
    jars = downloads.installed(NAME)
    folder = site.home.folder(NAME)
    archive = java.archive_flags(java.archive(NAME, jars))
    return Command(argv=_java(jars, folder, archive), environ=java.environ(), folder=folder)


def _ready(site: Site, _pid: int) -> bool:
    return _answers(site.home.port(_PORT))


def _answers(port: int) -> bool:
    """A row, not an open port: the port opens before the node may be asked."""
    if is_free(port):
        return False
    query = b"select release_version from system.local"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PROBE_SECONDS) as connection:
            startup = _string_map({"CQL_VERSION": "3.0.0"})
            if _asked(connection, _STARTUP, startup) != _READY:
                return False
            body = struct.pack(f">i{len(query)}sHB", len(query), query, _CONSISTENCY_ONE, 0)
            return _asked(connection, _QUERY, body) == _RESULT
    except OSError:
        return False


def _asked(connection: socket.socket, opcode: int, body: bytes) -> int:
    """Sends one frame; the opcode of the answer."""
    connection.sendall(_HEADER.pack(4, 0, 0, opcode, len(body)) + body)
    with connection.makefile("rb") as answer:
        header = answer.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return -1
        *_, kind, length = _HEADER.unpack(header)
        answer.read(length)
    return int(kind)


def _string_map(pairs: dict[str, str]) -> bytes:
    texts = [text.encode() for pair in pairs.items() for text in pair]
    return struct.pack(">H", len(pairs)) + b"".join(struct.pack(">H", len(text)) + text for text in texts)


def _offer(home: Home) -> Offer:
    connection = {"conn_type": "cassandra", "host": "127.0.0.1", "port": home.port(_PORT), "schema": "meta"}
    return Offer(fields={"cassandra_contact": contact(home)}, connections={CASSANDRA: connection})


SERVER = Server(
    name=NAME,
    summary="Apache Cassandra 5.0, one node",
    missing=_missing,
    ports=(_PORT, _STORAGE_PORT),
    prepare=_prepare,
    command=_command,
    ready=_ready,
    address=contact,
    offer=_offer,
    ready_seconds=120.0,
)
