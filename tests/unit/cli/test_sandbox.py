"""``atlan-meta sandbox`` without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.cli import WRONG_USAGE, main

VERBS = ("up", "status", "env", "stop", "start", "kill", "logs", "down")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["sandbox", verb, "--help"])
    assert leaving.value.code == 0
    said = capsys.readouterr().out
    assert "example:" in said
    assert f"atlan-meta sandbox {verb}" in said.split("example:")[1]


@pytest.mark.parametrize("arguments", [["status"], ["env"], ["stop", "kafka"], ["logs", "kafka"]])
def test_where_no_sandbox_is_the_cure_is_told(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sandbox", *arguments, "--home", str(tmp_path / "none")]) == WRONG_USAGE
    assert "atlan-meta sandbox up" in capsys.readouterr().err


def test_an_unknown_server_is_told_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "up", "--with", "zookeeper", "--home", str(tmp_path)]) == WRONG_USAGE
    assert "there are postgres, kafka" in capsys.readouterr().err


def test_down_where_nothing_ever_ran_is_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "down", "--json", "--home", str(tmp_path / "none")]) == 0
    assert json.loads(capsys.readouterr().out)["purged"] is False


def test_a_tenants_file_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "tenants.json"
    assert main(["sandbox", "up", "--tenants", str(missing), "--home", str(tmp_path)]) == WRONG_USAGE
    assert str(missing) in capsys.readouterr().err


def test_a_log_nobody_wrote_is_told_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "kafka.log").write_text("one\ntwo\nthree\n")
    assert main(["sandbox", "logs", "kafka", "--lines", "2", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "two\nthree\n"
    assert main(["sandbox", "logs", "flink", "--home", str(tmp_path)]) == WRONG_USAGE
    assert "logs: kafka" in capsys.readouterr().err
