"""Where a setting's value comes from, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_atlan_meta.config.settings import SETTINGS, Setting, Settings, settings_of_airflow
from airflow_provider_atlan_meta.core.errors import ConfigurationError


@pytest.fixture
def airflow_cfg(tmp_path: Path) -> Path:
    path = tmp_path / "airflow.cfg"
    path.write_text(
        "[core]\nload_examples = %(no such thing)s\n[atlan_meta]\ntopic_prefix = from-file\nbatch_records = 7\n"
        "alert_channel = 50%\n"
    )
    return path


def test_the_environment_wins_over_airflow_cfg_and_that_over_the_default(airflow_cfg: Path) -> None:
    settings = Settings(
        {"AIRFLOW_CONFIG": str(airflow_cfg), "AIRFLOW__ATLAN_META__TOPIC_PREFIX": "from-environment"}
    )

    resolved = {row.setting.name: (row.value, row.origin) for row in settings.all()}

    assert resolved["topic_prefix"] == ("from-environment", "environment")
    assert resolved["batch_records"] == ("7", "airflow.cfg")
    assert resolved["lease_seconds"] == ("30", "default")


def test_airflow_cfg_is_found_below_airflow_home(airflow_cfg: Path) -> None:
    assert Settings({"AIRFLOW_HOME": str(airflow_cfg.parent)}).text("topic_prefix") == "from-file"


def test_percent_signs_of_airflow_cfg_are_taken_as_they_are(airflow_cfg: Path) -> None:
    assert Settings({"AIRFLOW_CONFIG": str(airflow_cfg)}).text("alert_channel") == "50%"


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert Settings({"AIRFLOW_HOME": str(tmp_path)}).text("topic_prefix") == "meta"


def test_an_empty_value_in_the_environment_is_a_value(airflow_cfg: Path) -> None:
    settings = Settings({"AIRFLOW_CONFIG": str(airflow_cfg), "AIRFLOW__ATLAN_META__ALERT_CHANNEL": ""})

    assert settings.resolve("alert_channel").origin == "environment"
    assert settings.text("alert_channel") == ""


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    settings = Settings({"AIRFLOW_HOME": str(tmp_path)})
    (tmp_path / "airflow.cfg").write_text("[atlan_meta]\ntopic_prefix = late\n")

    assert settings.text("topic_prefix") == "late"


def settings_with(tmp_path: Path, **values: str) -> Settings:
    environ = {f"AIRFLOW__ATLAN_META__{name.upper()}": value for name, value in values.items()}
    return Settings({"AIRFLOW_HOME": str(tmp_path), **environ})


def test_numbers_are_read_as_numbers(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, batch_records="500", lease_seconds="7.5")

    assert (settings.integer("batch_records"), settings.number("lease_seconds")) == (500, 7.5)


@pytest.mark.parametrize("value", ["many", "", "1,5", "1e"])
def test_what_is_no_number_says_where_it_stands_and_what_to_set(tmp_path: Path, value: str) -> None:
    settings = settings_with(tmp_path, batch_records=value)

    with pytest.raises(ConfigurationError) as caught:
        settings.integer("batch_records")

    text = str(caught.value)
    assert f"[atlan_meta] batch_records = {value!r} (from environment) is not a whole number" in text
    assert "set AIRFLOW__ATLAN_META__BATCH_RECORDS to one, e.g. 1000" in text


@pytest.mark.parametrize("value", ["nan", "inf", "1.5"])
def test_what_is_no_whole_number_is_refused_as_an_integer(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigurationError):
        settings_with(tmp_path, batch_records=value).integer("batch_records")


def test_an_unknown_key_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no key 'topic'; it has .*topic_prefix"):
        settings_with(tmp_path).text("topic")


def test_topics_carry_the_prefix_and_the_version(tmp_path: Path) -> None:
    assert settings_with(tmp_path).topic("events") == "meta.events.v1"
    assert settings_with(tmp_path, topic_prefix="acme").topic("dead-letter") == "acme.dead-letter.v1"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_default_is_of_its_kind_and_described(tmp_path: Path, setting: Setting) -> None:
    settings = settings_with(tmp_path)

    assert setting.kind in ("string", "integer", "float")
    assert setting.description.endswith(".")
    if setting.kind == "integer":
        assert str(settings.integer(setting.name)) == setting.default
    if setting.kind == "float":
        settings.number(setting.name)


def test_airflow_is_told_of_every_setting() -> None:
    options = settings_of_airflow()["atlan_meta"]["options"]

    assert list(options) == [setting.name for setting in SETTINGS]
    for option in options.values():
        assert set(option) == {"description", "version_added", "type", "example", "default"}
