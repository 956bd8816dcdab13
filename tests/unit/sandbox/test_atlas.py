"""The Atlas of the sandbox, as far as it can be seen without starting one."""

from __future__ import annotations

import hashlib
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import pytest

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox import atlas, atlas_install
from airflow_provider_atlan_meta.sandbox.home import Home

LOG = Path("/nonexistent")
GRAPH, INDEX = (edit.source for edit in atlas_install.EDITS)
SOURCES = {
    GRAPH: "static {\n        addHBase2Support();\n\n        addSolr6Index();\n    }\n",
    INDEX: "checkArgument(StringUtils.isAlphanumeric(store));\n",
}


def _archive(folder: Path, name: str, sources: dict[str, str]) -> Path:
    path = folder / name
    with ZipFile(path, "w") as archive:
        for source, text in sources.items():
            archive.writestr(source, text)
    return path


# ---- what is edited ------------------------------------------------------------------------------------------------


def test_both_sources_are_edited_from_whichever_archive_holds_them(tmp_path: Path) -> None:
    archives = [_archive(tmp_path, f"{n}.jar", {name: SOURCES[name]}) for n, name in enumerate(SOURCES)]

    graph, index = atlas_install.edit_sources(archives, tmp_path / "source")

    assert graph == tmp_path / "source" / GRAPH
    assert graph.read_text().split() == ["static", "{", "}"]
    assert index.read_text() == 'checkArgument(store.matches("[A-Za-z0-9_]+"));\n'


@pytest.mark.parametrize("text", ["nothing of it", SOURCES[INDEX] * 2])
def test_a_source_that_is_not_the_one_of_the_edit_is_refused(tmp_path: Path, text: str) -> None:
    archive = _archive(tmp_path, "all.jar", SOURCES | {INDEX: text})

    with pytest.raises(TerminalError, match=r"LuceneIndex\.java holds .* times, not once"):
        atlas_install.edit_sources([archive], tmp_path / "source")


def test_a_source_that_is_missing_is_named(tmp_path: Path) -> None:
    archive = _archive(tmp_path, "some.jar", {GRAPH: SOURCES[GRAPH]})

    with pytest.raises(TerminalError, match=r"LuceneIndex\.java is in none of some\.jar"):
        atlas_install.edit_sources([archive], tmp_path / "source")


def test_the_edited_classes_and_the_newer_groovy_stand_before_the_wars_own() -> None:
    first, second, *_ = atlas_install.installed().jars

    assert first.name == "edited-classes.jar"
    assert second.name.startswith("groovy-")


# ---- what it is told -----------------------------------------------------------------------------------------------


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    atlas._write_configuration(tmp_path, port=21000, bootstrap="127.0.0.1:9092", password="correct horse")
    return tmp_path


def test_it_listens_on_loopback_and_never_starts_a_broker_of_its_own(configured: Path) -> None:
    lines = (configured / "conf" / "atlas-application.properties").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    assert told["atlas.server.bind.address"] == "127.0.0.1"
    assert told["atlas.server.http.port"] == "21000"
    assert told["atlas.kafka.bootstrap.servers"] == "127.0.0.1:9092"
    assert told["atlas.notification.embedded"] == "false"


def test_the_password_is_kept_as_a_hash_that_only_its_owner_reads(configured: Path) -> None:
    users = configured / "conf" / "users-credentials.properties"

    assert users.read_text() == f"admin=ADMIN::{hashlib.sha256(b'correct horse{admin}').hexdigest()}\n"
    assert users.stat().st_mode & 0o077 == 0
    assert not any(b"correct horse" in path.read_bytes() for path in configured.rglob("*") if path.is_file())


def test_types_refer_only_to_types_that_are_there(configured: Path) -> None:
    (model,) = (configured / "models").rglob("*.json")
    types = json.loads(model.read_text())
    names = {entity["name"] for entity in types["entityDefs"]}

    needed = {name for entity in types["entityDefs"] for name in entity["superTypes"]}
    needed |= {
        relation[end]["type"] for relation in types["relationshipDefs"] for end in ("endDef1", "endDef2")
    }
    assert needed <= names
    assert {"Referenceable", "Asset", "DataSet", "Process", "rdbms_table"} <= names


def test_each_sandbox_has_a_password_of_its_own_and_none_is_on_a_command_line(tmp_path: Path) -> None:
    homes = [Home(tmp_path / name) for name in ("one", "two")]
    offers = [atlas.SERVER.offer(home) for home in homes]

    passwords = {str(offer.fields["atlas_password"]) for offer in offers}
    assert len(passwords) == 2
    connection = offers[0].connections["atlan_meta_atlas_default"]
    assert f"{connection['host']}:{connection['port']}" == offers[0].fields["atlas_url"]
    assert connection["password"] in passwords
    argv = atlas._java(atlas_install.installed(), tmp_path, ())
    assert not any(password in argument for password in passwords for argument in argv)


# ---- whether it answers --------------------------------------------------------------------------------------------


class Web(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        kind, _, login = self.headers.get("Authorization", "").partition(" ")
        known = kind == "Basic" and b64decode(login) == b"admin:right"
        self.send_response(self.status if known else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[int]:
    monkeypatch.setattr(Web, "status", request.param)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("port", [200], indirect=True)
def test_types_for_the_right_password_make_it_ready(port: int) -> None:
    assert atlas._answers(port, "right", LOG)
    assert not atlas._answers(port, "wrong", LOG)


@pytest.mark.parametrize("port", [404, 500], indirect=True)
def test_any_other_answer_is_waited_on(port: int) -> None:
    assert not atlas._answers(port, "right", LOG)


@pytest.mark.parametrize("port", [503], indirect=True)
def test_a_web_server_around_a_failed_application_ends_the_start_with_the_last_cause(
    port: int, tmp_path: Path
) -> None:
    log = tmp_path / "atlas.log"
    log.write_text("Caused by: Spring: no bean\n\tat frame\nCaused by: the disk\n\tat frame\n\t... 73 more\n")

    with pytest.raises(TerminalError, match=r"failed to start \(503\): the disk$"):
        atlas._answers(port, "right", log)
