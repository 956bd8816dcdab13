"""AtlasHook: an Airflow connection becomes a client."""

from __future__ import annotations

import json
import socket

import pytest

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.hooks.atlas import AtlasHook
from airflow_provider_atlan_meta.provider_info import get_provider_info


def test_a_connection_filled_in_the_form_is_what_the_client_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {
        "dialect": "atlan",
        "hosts": "https://two",
        "client_id": "id",
        "client_secret": "s",
        "token": None,
        "name_suffix": None,
        "timeout": None,
        "incident_connection": "default/monte-carlo/1700000100",
    }
    connection = {"conn_type": "atlan_meta_atlas", "host": "https://one", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ATLAN_META_ATLAS_DEFAULT", json.dumps(connection))
    with AtlasHook().client() as client:
        config = client.config
    assert (config.hosts, config.dialect.name, config.read_seconds) == (
        ("https://one", "https://two"),
        "atlan",
        10.0,
    )
    assert config.naming.takes_incidents


def test_every_field_the_client_reads_is_in_the_form() -> None:
    (form,) = [
        one for one in get_provider_info()["connection-types"] if one["connection-type"] == "atlan_meta_atlas"
    ]
    assert form["hook-class-name"].endswith(".AtlasHook")
    assert form["conn-fields"].keys() >= {
        *("dialect", "hosts", "token", "client_id", "client_secret", "token_url", "scope"),
        *("ca_file", "timeout", "name_suffix", "incident_connection"),
    }


def test_the_connection_test_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_EMPTY", json.dumps({"conn_type": "atlan_meta_atlas"}))
    ok, text = AtlasHook("empty").test_connection()
    assert not ok
    assert "needs a host" in text
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = {"conn_type": "atlan_meta_atlas", "host": f"http://127.0.0.1:{taken.getsockname()[1]}"}
        monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", json.dumps(nowhere))
        ok, text = AtlasHook("nowhere").test_connection()
    assert not ok
    assert "no catalog at" in text


def test_an_unknown_connection_names_its_id() -> None:
    with pytest.raises(ConfigurationError, match="nobody_knows"):
        AtlasHook("nobody_knows").client()
