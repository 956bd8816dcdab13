"""Where a connection is looked for outside Airflow, and what a missing one says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_atlan_meta.config.connections import Connections
from airflow_provider_atlan_meta.core.errors import ConfigurationError


def connections(tmp_path: Path, entries: Any = None, **environ: str) -> Connections:
    """:param entries: the connections file; a string is written as it is."""
    if entries is not None:
        path = tmp_path / "connections.json"
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        environ["AIRFLOW__ATLAN_META__CONNECTIONS_FILE"] = str(path)
    return Connections(environ={"AIRFLOW_HOME": str(tmp_path), **environ})


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    known = connections(
        tmp_path,
        {"db": "postgres://file/x", "other": {"conn_type": "kafka", "extra": {"bootstrap.servers": "a:1"}}},
        AIRFLOW_CONN_DB="postgres://environment/x",
    )

    assert known.get("db").host == "environment"
    assert known.get("other").extra == {"bootstrap.servers": "a:1"}


def test_an_id_is_asked_for_in_capitals(tmp_path: Path) -> None:
    known = connections(tmp_path, AIRFLOW_CONN_ATLAN_META_KAFKA_DEFAULT='{"conn_type": "kafka"}')

    assert known.get("atlan_meta_kafka_default").conn_type == "kafka"


def test_the_file_is_read_at_every_call(tmp_path: Path) -> None:
    known = connections(tmp_path, {"db": "postgres://before/x"})
    assert known.get("db").host == "before"

    (tmp_path / "connections.json").write_text('{"db": "postgres://after/x"}')

    assert known.get("db").host == "after"


def test_an_unknown_id_is_none_to_find_and_an_error_to_get(tmp_path: Path) -> None:
    known = connections(tmp_path, {"db": "postgres://h/x"})

    assert known.find("nobody") is None
    with pytest.raises(ConfigurationError, match=r"looked in AIRFLOW_CONN_NOBODY and .*connections\.json"):
        known.get("nobody")


def test_without_a_file_the_error_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\[atlan_meta\] connections_file \(not set\)"):
        connections(tmp_path).get("nobody")


def test_an_empty_variable_is_no_connection(tmp_path: Path) -> None:
    assert connections(tmp_path, AIRFLOW_CONN_DB="").find("db") is None


def test_a_file_that_is_not_there_is_an_error_not_a_missing_connection(tmp_path: Path) -> None:
    known = connections(tmp_path, AIRFLOW__ATLAN_META__CONNECTIONS_FILE=str(tmp_path / "gone.json"))

    with pytest.raises(ConfigurationError, match=r"gone.json does not exist"):
        known.find("db")


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"', "null"])
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationError, match=r"connections.json is not a JSON object"):
        connections(tmp_path, content).find("db")


def test_a_file_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    known = connections(tmp_path, AIRFLOW__ATLAN_META__CONNECTIONS_FILE=str(tmp_path))

    with pytest.raises(ConfigurationError):
        known.find("db")


@pytest.mark.parametrize("entry", [7, ["postgres://h/x"], {"port": "many"}, "no-scheme"])
def test_an_entry_of_another_form_is_refused_by_its_id(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(ConfigurationError, match="connection 'db' is neither"):
        connections(tmp_path, {"db": entry}).find("db")
