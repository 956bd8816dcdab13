"""Jars are what the lock says, or they are refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox import downloads
from airflow_provider_atlan_meta.sandbox.downloads import Jar

CONTENT = b"the jar"
SOUND = Jar(hashlib.sha256(CONTENT).hexdigest(), "org.example:thing:1.0")


@pytest.fixture(autouse=True)
def one_jar_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(downloads.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "read_lock", lambda _name: (SOUND,))


class Mirror:
    """Serves one content for every coordinate and counts."""

    def __init__(self, content: bytes) -> None:
        self.content, self.calls = content, 0

    def __call__(self, jar: Jar, folder: Path) -> Path:
        self.calls += 1
        path = folder / "fetched.jar"
        path.write_bytes(self.content)
        return path


def _install(mirror: Mirror) -> tuple[Path, ...]:
    return downloads.install("thing", lambda _text: None, mirror)


def test_a_jar_lies_at_its_coordinate_in_the_cache() -> None:
    (path,) = _install(Mirror(CONTENT))
    assert path.parts[-4:] == ("example", "thing", "1.0", "thing-1.0.jar")
    assert path.read_bytes() == CONTENT


def test_a_second_install_fetches_nothing() -> None:
    _install(Mirror(CONTENT))
    mirror = Mirror(CONTENT)
    _install(mirror)
    assert mirror.calls == 0


def test_a_jar_with_another_sha256_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match=r"org\.example:thing:1\.0 is not the file the lock names"):
        _install(Mirror(b"something else"))
    assert list((tmp_path / "cache").rglob("*.jar")) == []


def test_a_jar_changed_in_the_cache_is_fetched_again() -> None:
    (path,) = _install(Mirror(CONTENT))
    path.write_bytes(b"changed")
    _install(Mirror(CONTENT))
    assert path.read_bytes() == CONTENT


def test_a_jar_that_cannot_be_had_names_the_cure() -> None:
    def fails(jar: Jar, folder: Path) -> Path:
        raise RuntimeError("no route")

    with pytest.raises(TerminalError, match=r"org\.example:thing:1\.0 cannot be fetched.*mirror"):
        downloads.install("thing", lambda _text: None, fails)


@pytest.mark.parametrize("name", ["kafka", "connect", "cassandra"])
def test_a_lock_names_every_jar_once_with_its_sha256(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.undo()
    jars = downloads.read_lock(name)
    assert len({jar.coordinate for jar in jars}) == len(jars) > 40
    assert all(len(bytes.fromhex(jar.sha256)) == 32 and jar.coordinate.count(":") in (2, 3) for jar in jars)


def test_jars_that_differ_by_their_classifier_are_kept_apart() -> None:
    plain, native = Jar("", "org.example:thing:1.0"), Jar("", "org.example:thing:1.0:native")

    assert plain.relative_path.name == "thing-1.0.jar"
    assert native.relative_path == plain.relative_path.with_name("thing-1.0-native.jar")


def test_what_is_no_jar_says_so_behind_its_coordinate() -> None:
    war = Jar("", "org.example:thing:1.0@war")

    assert (war.names, war.packaging) == (("org.example", "thing", "1.0", ""), "war")
    assert war.relative_path.name == "thing-1.0.war"


def test_the_lock_of_atlas_names_the_war_and_what_is_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    jars = downloads.read_lock("atlas")

    assert [jar.packaging for jar in jars] == ["war", "jar", "jar", "jar", "jar"]
    assert [jar.names[1] for jar in jars if jar.names[3] == "sources"] == [
        "atlas-graphdb-janus",
        "janusgraph-lucene",
    ]
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in jars)


def test_a_mirror_in_jgos_own_configuration_is_asked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jgo.conf").write_text("[repositories]\nmirror = http://127.0.0.1:1/maven\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "jgo.conf"))
    repositories = downloads._context(tmp_path).remote_repos
    assert list(repositories) == ["mirror", "central"]
