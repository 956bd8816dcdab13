"""`atlan-meta serve`: what is wrong is said before anything starts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from airflow_provider_atlan_meta.cli import WRONG_USAGE, main

KAFKA = "AIRFLOW_CONN_ATLAN_META_KAFKA_DEFAULT"
BROKER = json.dumps({"conn_type": "kafka", "extra": {"bootstrap.servers": "127.0.0.1:1"}})


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv(KAFKA, raising=False)


def test_without_a_kafka_connection_the_missing_id_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "producer", "--port", "0"]) == WRONG_USAGE
    assert "atlan_meta_kafka_default" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("PRODUCER_PORT", "http"),
        ("PRODUCER_MAX_IN_FLIGHT", "0"),
        ("DELIVERY_TIMEOUT_SECONDS", "-1"),
        ("DRAIN_SECONDS", "soon"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    setting: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KAFKA, BROKER)
    monkeypatch.setenv(f"AIRFLOW__ATLAN_META__{setting}", value)
    assert main(["serve", "producer"]) == WRONG_USAGE
    assert setting.lower().removeprefix("producer_") in capsys.readouterr().err


def test_a_missing_extra_is_answered_with_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KAFKA, BROKER)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for name in ("services.producer", "services.producer_app", "clients.prometheus"):
        monkeypatch.delitem(sys.modules, f"airflow_provider_atlan_meta.{name}", raising=False)
    assert main(["serve", "producer"]) == WRONG_USAGE
    assert "pip install 'airflow-provider-atlan-meta[services]'" in capsys.readouterr().err


def test_the_producer_imports_no_airflow() -> None:
    program = (
        "import sys, airflow_provider_atlan_meta.services.producer;"
        "print([name for name in sys.modules if name == 'airflow' or name.startswith('airflow.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
