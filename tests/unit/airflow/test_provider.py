from __future__ import annotations

import argparse
import json
import re
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import airflow
import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest
from airflow.cli.cli_config import DefaultHelpParser
from airflow.cli.cli_parser import ALL_COMMANDS_DICT, _add_command
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Connection
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
from contract.recorder_server import serving

from airflow_provider_atlan_meta import cli
from airflow_provider_atlan_meta.bundles import PackagedDagBundle
from airflow_provider_atlan_meta.config.settings import SETTINGS
from airflow_provider_atlan_meta.core.connection import parse_connection
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.hooks.connect import ConnectHook
from airflow_provider_atlan_meta.hooks.connections import connection_info, info_of
from airflow_provider_atlan_meta.hooks.kafka import KafkaHook
from airflow_provider_atlan_meta.hooks.montecarlo import MonteCarloHook
from airflow_provider_atlan_meta.hooks.oauth2 import OAuth2Hook
from airflow_provider_atlan_meta.provider_info import get_provider_info

PACKAGE = "airflow-provider-atlan-meta"
SCHEMAS = Path(airflow.__file__).parent


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / name).read_text())


# ---- provider info


def test_the_provider_info_is_what_airflow_accepts() -> None:
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_the_connection_forms_are_what_airflow_renders() -> None:
    forms = schema("provider.yaml.schema.json")["properties"]["connection-types"]

    jsonschema.validate(get_provider_info()["connection-types"], forms)


def test_the_package_name_is_the_distributions_own() -> None:
    name = metadata(PACKAGE)["Name"]

    assert get_provider_info()["package-name"] == re.sub(r"[-_.]+", "-", name).lower()


def test_every_path_in_the_provider_info_can_be_imported() -> None:
    info = get_provider_info()
    for kind in ("hooks", "operators", "triggers", "bundles"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                import_module(module)
    paths = [*info["notifications"], *info["cli"]]
    for path in [*paths, *(entry["hook-class-name"] for entry in info["connection-types"])]:
        module, _, name = path.rpartition(".")
        assert callable(getattr(import_module(module), name))


def test_every_setting_is_in_the_config_section() -> None:
    options = get_provider_info()["config"]["atlan_meta"]["options"]

    assert list(options) == [setting.name for setting in SETTINGS]


@pytest.mark.parametrize("kind", [MonteCarloHook, ConnectHook, OAuth2Hook])
def test_airflow_lists_the_provider_with_its_connection_types(kind: Any) -> None:
    managers: list[Any] = [ProvidersManager, ProvidersManagerTaskRuntime]
    known, runtime = (manager() for manager in managers)

    assert PACKAGE in known.providers
    hook = runtime.hooks[kind.conn_type]
    assert hook is not None
    assert (hook.package_name, hook.hook_name) == (PACKAGE, kind.hook_name)
    assert hook.connection_id_attribute_name == kind.conn_name_attr


def test_the_secrets_of_the_form_are_masked_fields() -> None:
    fields = get_provider_info()["connection-types"][0]["conn-fields"]

    masked = {name for name, field in fields.items() if field["schema"].get("format") == "password"}
    assert masked == {"webhook_secret", "webhook_secret_previous", "client_secret"}


# ---- airflow atlan-meta


def parsed(*arguments: str) -> argparse.Namespace:
    parser = DefaultHelpParser(prog="airflow")
    _add_command(parser.add_subparsers(dest="subcommand"), ALL_COMMANDS_DICT["atlan-meta"])
    return parser.parse_args(["atlan-meta", *arguments])


@pytest.mark.parametrize(
    "arguments",
    [[], ["--help"], ["-h"], ["--version"], ["config", "list", "--json"], ["ingest", "--max-records", "5"]],
)
def test_airflows_command_hands_every_argument_on(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[list[str]] = []

    def main(argv: list[str]) -> int:
        handed.append(argv)
        return 3

    monkeypatch.setattr(cli, "main", main)
    args = parsed(*arguments)

    with pytest.raises(SystemExit) as exit_:
        args.func(args)

    assert handed == [arguments]
    assert exit_.value.code == 3


def test_airflows_command_shows_our_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    args = parsed("--help")

    with pytest.raises(SystemExit) as exit_:
        args.func(args)

    assert exit_.value.code == 0
    assert "bundle-config" in capsys.readouterr().out


# ---- bundle


def test_the_bundle_finds_the_dags_of_this_installation() -> None:
    path = PackagedDagBundle(name="atlan-meta").path

    assert (path / "atlan_meta_ingest.py").is_file()
    assert (path / "atlan_meta_propagate.py").is_file()


def test_bundle_config_reads_what_airflow_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {"name": "mine", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {}}
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([mine]))

    assert cli.main(["bundle-config", "--json"]) == 0

    names = [bundle["name"] for bundle in json.loads(capsys.readouterr().out)]
    assert names == ["mine", "dags-folder", "atlan-meta"]


def test_bundle_config_of_an_untouched_airflow_keeps_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["bundle-config", "--json"]) == 0

    names = [bundle["name"] for bundle in json.loads(capsys.readouterr().out)]
    assert names == ["dags-folder", "atlan-meta"]


def test_a_configured_list_that_is_not_json_is_a_wrong_configuration(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", "[{")

    assert cli.main(["bundle-config"]) == 2
    assert "dag_bundle_config_list" in capsys.readouterr().err


# ---- connections

URIS = [
    "kafka://?bootstrap.servers=a%3A9092%2Cb%3A9092&security.protocol=SSL",
    "postgres://meta_ingest:p%40ss%2Fword@db.example.com:5432/lake?sslmode=require",
    "postgresql://u:p@h/db",
    "atlan-meta-montecarlo://?__extra__=%7B%22webhook_secret%22%3A+%5B%22a%22%2C+%22b%22%5D%7D",
    "slack://:xoxb-1@/?base_url=http%3A%2F%2F127.0.0.1%3A8080%2Fapi%2F",
    "http://https%3A%2F%2Fhost.example.com:8443",
    "http://https://host.example.com:8443/",
    "kafka://",
]
JSONS = [
    {"conn_type": "kafka", "extra": {"bootstrap.servers": "a:9092", "socket.keepalive.enable": True}},
    {"conn_type": "kafka", "extra": '{"bootstrap.servers": "a:9092"}'},
    {"conn_type": "postgres", "host": "h", "port": "5432", "login": "u", "password": "p@/:", "schema": "d"},
    {"conn_type": "atlan-meta-montecarlo", "extra": {"webhook_secret": "s", "disabled": True}},
    {"conn_type": "postgresql", "host": "h", "port": 5432, "extra": None},
]


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_means_the_same_inside_and_outside_airflow(uri: str) -> None:
    assert parse_connection("c", uri) == info_of(Connection.from_uri(uri, conn_id="c"))


@pytest.mark.parametrize("fields", JSONS)
def test_json_means_the_same_inside_and_outside_airflow(fields: dict[str, Any]) -> None:
    text = json.dumps(fields)

    assert parse_connection("c", text) == info_of(Connection.from_json(text, conn_id="c"))


def test_a_connection_of_the_environment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MY_KAFKA", json.dumps(JSONS[0]))

    assert connection_info("my_kafka") == parse_connection("my_kafka", json.dumps(JSONS[0]))
    assert KafkaHook("my_kafka").config().options["bootstrap.servers"] == "a:9092"


def test_an_unknown_connection_is_a_wrong_configuration_that_names_the_id() -> None:
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_NOWHERE"):
        connection_info("nowhere")


@pytest.mark.parametrize(
    ("extra", "good", "words"),
    [
        ({"webhook_secret": "s"}, True, "is set"),
        ({"webhook_secret": "s", "webhook_secret_previous": "t"}, True, "is set"),
        ({"webhook_secret": "s", "disabled": True}, True, "403"),
        ({"webhook_secret": "s", "webhook_secret_previous": "s"}, False, "same"),
        ({}, False, "401"),
    ],
)
def test_the_connection_test_of_a_tenant_says_what_its_webhooks_will_get(
    extra: dict[str, Any], good: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn_id = "atlan_meta_montecarlo_tenant_acme"
    connection = {"conn_type": "atlan_meta_montecarlo", "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    ok, text = MonteCarloHook(conn_id).test_connection()

    assert ok is good
    assert words in text


def test_the_connection_test_asks_the_api_where_there_is_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as (url, _):
        for layout in (
            {"conn_type": "atlan_meta_montecarlo", "login": "id", "password": "t"},
            {"conn_type": "mcd", "extra": {"mcd_id": "id", "mcd_token": "t"}},
        ):
            connection = layout | {"host": f"{url}/montecarlo"}
            monkeypatch.setenv("AIRFLOW_CONN_MC", json.dumps(connection))
            assert MonteCarloHook("mc").test_connection() == (
                True,
                f"Monte Carlo at {url}/montecarlo answers this API key",
            )
        httpx.post(f"{url}/_script", json={"service": "montecarlo", "mode": "status", "status": 403})
        ok, text = MonteCarloHook("mc").test_connection()
    assert not ok
    assert "may not read alerts" in text


def test_the_connection_test_of_kafka_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_EMPTY", json.dumps({"conn_type": "kafka"}))

    ok, text = KafkaHook("empty").test_connection()

    assert not ok
    assert "bootstrap.servers" in text


def test_the_connection_test_of_connect_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = {"conn_type": "atlan_meta_connect", "host": "http://127.0.0.1", "port": 1}
    monkeypatch.setenv("AIRFLOW_CONN_NOBODY", json.dumps(nobody))
    monkeypatch.setenv("AIRFLOW_CONN_EMPTY", json.dumps({"conn_type": "atlan_meta_connect"}))

    answers = [ConnectHook(conn_id).test_connection() for conn_id in ("nobody", "empty")]

    assert [ok for ok, _ in answers] == [False, False]
    assert "no answer" in answers[0][1]
    assert "needs a host" in answers[1][1]


def test_the_connection_test_of_access_tokens_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {"audience": "atlan-meta", "jwks_uri": "http://127.0.0.1:1/certs"}
    said = {
        "away": {"host": "https://sso.example.com", "extra": whole},
        "bare": {"host": "https://sso.example.com"},
        "plain": {"host": "https://sso.example.com", "extra": {**whole, "jwks_uri": "http://sso/certs"}},
    }
    for conn_id, fields in said.items():
        connection = {"conn_type": "atlan_meta_oauth2", **fields}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    answers = {conn_id: OAuth2Hook(conn_id).test_connection() for conn_id in said}

    assert not any(ok for ok, _ in answers.values())
    assert "ConnectError" in answers["away"][1]
    assert "needs audience, jwks_uri" in answers["bare"][1]
    assert "must be https" in answers["plain"][1]
