"""What a sandbox remembers in its folder."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.sandbox.home import HOME_VARIABLE, Home, Record, parse_tenants
from airflow_provider_atlan_meta.sandbox.processes import Process


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "box")
    made.create()
    return made


def test_a_port_stays_the_same_for_good(home: Home) -> None:
    assert home.port("kafka") == Home(home.path).port("kafka")


def test_two_names_never_share_a_port(home: Home) -> None:
    assert len({home.port(f"server-{n}") for n in range(20)}) == 20


def test_a_port_a_stranger_took_is_chosen_again(home: Home) -> None:
    before = home.port("kafka")
    with socket.create_server(("127.0.0.1", before)):
        assert home.renew_taken_ports(["kafka", "postgres"]) == ["kafka"]
        assert home.port("kafka") != before


def test_a_secret_is_long_stays_and_is_readable_by_its_owner_only(home: Home) -> None:
    secret = home.secret("postgres")
    assert len(secret) >= 32
    assert Home(home.path).secret("postgres") == secret != home.secret("other")
    assert stat.S_IMODE((home.path / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_three_tenants_with_generated_secrets_are_there_by_default(home: Home) -> None:
    assert [tenant.id for tenant in home.tenants] == ["acme", "globex", "initech"]
    assert home.tenants == Home(home.path).tenants
    assert home.tenants[0].montecarlo_webhook_secret not in repr(home.tenants)
    secrets = [value for tenant in home.tenants for value in list(tenant.to_dict().values())[1:]]
    assert len(set(secrets)) == 6


def test_tenants_of_a_version_without_a_secret_for_atlan_get_one_and_keep_it(home: Home) -> None:
    old = {"tenants": [{"id": "acme", "montecarlo_webhook_secret": "s"}]}
    home.path.mkdir(parents=True, exist_ok=True)
    (home.path / "tenants.json").write_text(json.dumps(old))
    (tenant,) = home.tenants
    assert tenant.montecarlo_webhook_secret == "s"
    assert len(tenant.atlan_webhook_secret) >= 32
    assert Home(home.path).tenants == (tenant,)


def test_tenants_of_a_file_keep_their_secrets_and_get_missing_ones() -> None:
    given, made = parse_tenants('[{"id": "acme", "montecarlo_webhook_secret": "s"}, {"id": "beta"}]', "F")
    assert given.montecarlo_webhook_secret == "s"
    assert len(made.montecarlo_webhook_secret) >= 32
    assert given.atlan_webhook_secret != made.atlan_webhook_secret


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '["acme"]', '[{"id": "Not ok"}]', '[{"id": "a1"}, {"id": "a1"}]', '[{"name": "a1"}]'],
)
def test_a_wrong_tenants_file_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_tenants(text, "--tenants F")


def test_a_damaged_file_names_itself_and_the_cure(home: Home) -> None:
    (home.path / "ports.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"ports\.json is damaged.*down --purge"):
        home.port("kafka")


def test_a_record_survives_the_process_that_wrote_it(home: Home) -> None:
    record = Record(Process(17, "4711"), 1.5)
    home.set_record("kafka", record)
    assert Home(home.path).record("kafka") == record
    home.set_record("kafka", None)
    assert home.record("kafka") is None


def test_the_folder_is_given_by_argument_then_environment_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "from-environment"))
    assert Home(tmp_path / "given").path == tmp_path / "given"
    assert Home().path == tmp_path / "from-environment"
    monkeypatch.delenv(HOME_VARIABLE)
    assert Home().path == tmp_path / ".sandbox"


def test_removing_leaves_nothing(home: Home) -> None:
    home.folder("kafka")
    home.remove()
    assert not home.exists
