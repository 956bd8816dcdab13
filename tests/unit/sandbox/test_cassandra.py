"""The Cassandra node of the sandbox, as far as it can be seen without starting one."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.sandbox import cassandra, java

READY, RESULT, ERROR = 2, 8, 0


class Node:
    """Answers each frame with the next opcode, as a node does while it comes up."""

    def __init__(self, *answers: int) -> None:
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as frames:
                for opcode in self._answers:
                    header = frames.read(9)
                    if len(header) < 9:
                        break
                    frames.read(struct.unpack(">i", header[5:])[0])
                    connection.sendall(struct.pack(">BBhBi", 0x84, 0, 0, opcode, 3) + b"abc")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    made = Node(*request.param)
    yield made
    made.close()


@pytest.mark.parametrize("node", [(READY, RESULT)], indirect=True)
def test_a_node_that_answers_a_query_is_ready(node: Node) -> None:
    assert cassandra._answers(node.port)


@pytest.mark.parametrize("node", [(READY, ERROR), (ERROR,), (READY,), ()], indirect=True)
def test_an_open_port_is_not_enough(node: Node) -> None:
    assert not cassandra._answers(node.port)


def test_nobody_on_the_port_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert not cassandra._answers(port)


def test_the_configuration_listens_on_loopback_and_keeps_everything_in_its_folder(tmp_path: Path) -> None:
    cassandra._write_configuration(tmp_path, ports=(9042, 7000))

    written = yaml.safe_load((tmp_path / "cassandra.yaml").read_text())
    assert written["listen_address"] == written["rpc_address"] == "127.0.0.1"
    assert (written["native_transport_port"], written["storage_port"]) == (9042, 7000)
    assert written["seed_provider"][0]["parameters"] == [{"seeds": "127.0.0.1:7000"}]
    folders = [written["data_file_directories"][0]]
    folders += [value for key, value in written.items() if key.endswith("_directory")]
    assert len(folders) == 5
    assert all(Path(folder).is_relative_to(tmp_path) for folder in folders)


def test_the_class_path_is_jars_only_so_that_the_archive_counts(tmp_path: Path) -> None:
    argv = cassandra._java([tmp_path / "a.jar", tmp_path / "b.jar"], tmp_path, ())

    assert argv[argv.index("-cp") + 1] == f"{tmp_path / 'a.jar'}:{tmp_path / 'b.jar'}"
    assert f"-Dcassandra.config=file://{tmp_path / 'cassandra.yaml'}" in argv


def test_what_is_missing_is_said_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise ConfigurationError("no Java 17 or newer: pip install it")

    monkeypatch.setattr(java, "java_home", absent)

    assert cassandra._missing() == "no Java 17 or newer: pip install it"
