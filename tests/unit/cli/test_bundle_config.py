from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from airflow_provider_atlan_meta.cli import bundle_config, main
from airflow_provider_atlan_meta.cli.bundle_config import BUNDLE, DAGS_FOLDER, merged
from airflow_provider_atlan_meta.core.errors import ConfigurationError

GIT = {
    "name": "git",
    "classpath": "airflow.providers.git.bundles.git.GitDagBundle",
    "kwargs": {"subdir": "100%"},
}


def printed(
    configured: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *flags: str,
) -> str:
    monkeypatch.setattr(bundle_config, "_configured", lambda: configured)
    assert main(["bundle-config", *flags]) == 0
    return capsys.readouterr().out


def test_nothing_configured_gives_the_dags_folder_and_ours() -> None:
    assert merged([]) == [DAGS_FOLDER, BUNDLE]


def test_what_is_configured_stays_first_and_as_it_is() -> None:
    assert merged([GIT, dict(DAGS_FOLDER)]) == [GIT, DAGS_FOLDER, BUNDLE]


def test_a_list_without_the_dags_folder_gets_it_back() -> None:
    assert merged([GIT]) == [GIT, DAGS_FOLDER, BUNDLE]


def test_merging_twice_changes_nothing() -> None:
    assert merged(merged([GIT])) == merged([GIT])


def test_our_bundle_under_another_name_is_not_added_again() -> None:
    renamed = {**BUNDLE, "name": "metadata"}

    assert merged([dict(DAGS_FOLDER), renamed]) == [DAGS_FOLDER, renamed]


def test_our_name_on_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'atlan-meta'"):
        merged([{**GIT, "name": "atlan-meta"}])


def test_the_env_line_is_one_shell_word_behind_the_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    export, assignment = shlex.split(printed([GIT], capsys, monkeypatch))
    name, value = assignment.split("=", 1)

    assert (export, name) == ("export", "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST")
    assert json.loads(value) == [GIT, DAGS_FOLDER, BUNDLE]


def test_the_ini_form_is_read_back_by_a_parser_that_interpolates(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from configparser import ConfigParser

    parser = ConfigParser()
    parser.read_string(printed([GIT], capsys, monkeypatch, "--format", "ini"))

    assert json.loads(parser["dag_processor"]["dag_bundle_config_list"]) == [GIT, DAGS_FOLDER, BUNDLE]


def test_the_helm_form_is_yaml_for_the_official_chart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml  # type: ignore[import-untyped]

    values = yaml.safe_load(printed([GIT], capsys, monkeypatch, "--format", "helm"))

    assert values == {"dagProcessor": {"dagBundleConfigList": [GIT, dict(DAGS_FOLDER), dict(BUNDLE)]}}


def test_json_prints_the_list_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(printed([], capsys, monkeypatch, "--json")) == [DAGS_FOLDER, BUNDLE]
