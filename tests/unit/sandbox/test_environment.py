"""What a sandbox tells others."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_atlan_meta.config.connections import (
    KAFKA,
    POSTGRES,
    POSTGRES_ADMIN,
    POSTGRES_READER,
    Connections,
)
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.sandbox import environment
from airflow_provider_atlan_meta.sandbox.home import Home, Tenant


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "box")
    made.create()
    made.set_tenants([Tenant("acme", "it's a secret", "another"), Tenant("beta", "b", "c")])
    return made


def test_only_what_runs_is_told(home: Home) -> None:
    assert set(environment.fields(home, ["kafka"])) == {"kafka_bootstrap", "tenants"}
    assert set(environment.fields(home, [])) == {"tenants"}


def test_the_dsn_is_the_readers_and_names_the_tenants(home: Home) -> None:
    dsn = urlsplit(str(environment.fields(home, ["postgres"])["postgres_dsn"]))
    assert (dsn.username, dsn.hostname, dsn.path) == ("meta_reader", "127.0.0.1", "/meta")
    assert parse_qs(dsn.query) == {"options": ["-c meta.tenants=acme,beta"]}


def test_each_connection_id_has_its_own_role(home: Home) -> None:
    known = Connections(environ=environment.variables(home))
    logins = [known.get(conn_id).login for conn_id in (POSTGRES, POSTGRES_READER, POSTGRES_ADMIN)]
    assert logins == ["meta_ingest", "meta_reader", "postgres"]
    assert (
        known.get(KAFKA).extra["bootstrap.servers"] == environment.fields(home, ["kafka"])["kafka_bootstrap"]
    )
    assert known.get("atlan_meta_montecarlo_tenant_acme").extra["webhook_secret"] == "it's a secret"
    assert known.get("atlan_meta_atlan_tenant_acme").extra["webhook_secret"] == "another"


def test_topics_have_one_replica_on_one_broker(home: Home) -> None:
    assert Settings(environment.variables(home)).integer("topic_replication") == 1


def test_foreign_airflow_settings_do_not_reach_our_processes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ATLAN_META_KAFKA_DEFAULT", "kafka://production")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "postgres://production")
    monkeypatch.setenv("AIRFLOW__ATLAN_META__TOPIC_PREFIX", "production")
    environ = environment.process_environ(home)
    assert "production" not in str(
        {key: value for key, value in environ.items() if key.startswith("AIRFLOW")}
    )


def test_shell_lines_survive_a_shell(home: Home) -> None:
    script = (
        environment.shell(home, ["kafka"]) + '\nprintf %s "$AIRFLOW_CONN_ATLAN_META_MONTECARLO_TENANT_ACME"'
    )
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert "it's a secret" in said
