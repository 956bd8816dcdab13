"""The command line as a script sees it: exit codes, one JSON document, help with an example."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_atlan_meta import __version__
from airflow_provider_atlan_meta.cli import DONE, FAILED, SOME_REJECTED, WRONG_USAGE, build_parser, main
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    ConfigurationError,
    FileError,
    LeaseLostError,
    PatternError,
    RejectedError,
    TerminalError,
    TransientError,
)
from airflow_provider_atlan_meta.pipeline.outcomes import IngestOutcome, PartitionRange
from airflow_provider_atlan_meta.pipeline.replay import Replayed
from airflow_provider_atlan_meta.services import ingest, replay

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Connections that name no server, and nobody's airflow.cfg."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.delenv("AIRFLOW_CONFIG", raising=False)
    kafka = json.dumps({"conn_type": "kafka", "extra": {"bootstrap.servers": "127.0.0.1:1"}})
    monkeypatch.setenv("AIRFLOW_CONN_ATLAN_META_KAFKA_DEFAULT", kafka)
    monkeypatch.setenv("AIRFLOW_CONN_ATLAN_META_POSTGRES_DEFAULT", "postgres://u:p@127.0.0.1:1/db")


def parsers(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb with its parser, the command itself included."""
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from parsers(child, (*path, name))


ALL = dict(parsers(build_parser()))
RUNNABLE = {path: parser for path, parser in ALL.items() if parser.get_default("run")}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_verb_explains_itself_with_an_example(path: tuple[str, ...], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*path, "--help"])

    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == DONE
    assert "example: " in shown
    assert "atlan-meta" in shown.split("example: ")[1]


@pytest.mark.parametrize("path", RUNNABLE, ids=" ".join)
def test_every_verb_takes_json(path: tuple[str, ...]) -> None:
    assert "--json" in RUNNABLE[path].format_help()


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_verb_and_option_says_what_it_is(path: tuple[str, ...]) -> None:
    for action in ALL[path]._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), (
            f"{path} {action.option_strings}"
        )
        if isinstance(action, argparse._SubParsersAction):
            assert {choice.dest for choice in action._choices_actions if choice.help} == set(action.choices)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["db"],
        ["ingest", "--max-records", "many"],
        ["ingest", "--runner", "spark"],
        ["replay", "--from", "2026-11-24T00:00:00"],
        ["replay", "--mode", "guess"],
    ],
)
def test_wrong_usage_is_2_and_says_so_on_stderr_only(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    printed = capsys.readouterr()
    assert ended.value.code == WRONG_USAGE
    assert printed.out == ""
    assert "usage: atlan-meta" in printed.err


def test_the_version_is_the_package_s(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert (ended.value.code, capsys.readouterr().out) == (DONE, f"atlan-meta {__version__}\n")


# ---- one verb through all exit codes --------------------------------------------------------------------------------


OUTCOME = IngestOutcome(
    topic="meta.events.v1",
    records=5,
    duplicates=1,
    ranges=(PartitionRange(topic="meta.events.v1", partition=0, start=0, end=5, records=5),),
    owned_by={1: "service a:1", 2: "service a:1", 3: "service b:1"},
    lag=2,
)


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """``ingest_once`` answers so; returns what it was asked."""

    def answer(outcome: IngestOutcome | BaseException) -> dict[str, Any]:
        asked: dict[str, Any] = {}

        def fake(**arguments: Any) -> IngestOutcome:
            asked.update(arguments)
            if isinstance(outcome, BaseException):
                raise outcome
            for part in outcome.ranges:
                arguments["report"](part)
            return outcome

        monkeypatch.setattr(ingest, "ingest_once", fake)
        return asked

    return answer


def test_done_is_0_and_the_result_is_one_document_on_stdout(
    once: Callable[..., Any], capsys: Capture
) -> None:
    once(OUTCOME)

    assert main(["ingest", "--json"]) == DONE

    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads(json.dumps(OUTCOME.to_dict()))
    assert printed.out.count("\n") == 1
    assert printed.err == "meta.events.v1/0 [0, 5) 5 records\n"


def test_people_read_what_was_stored_what_is_left_and_who_owns_the_rest(
    once: Callable[..., Any], capsys: Capture
) -> None:
    once(OUTCOME)

    main(["ingest"])

    assert capsys.readouterr().out.splitlines() == [
        "stored 5 records of meta.events.v1 (1 duplicates, 0 to the dead letters), 2 left",
        "owned by service a:1: partitions [1, 2]",
        "owned by service b:1: partitions [3]",
    ]


def test_done_with_rejected_records_is_3(once: Callable[..., Any], capsys: Capture) -> None:
    once(IngestOutcome(topic="t", records=2, rejected=1))

    assert main(["ingest", "--json"]) == SOME_REJECTED
    assert json.loads(capsys.readouterr().out)["rejected"] == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("set it"), WRONG_USAGE),
        (FileError("f.yaml", [(3, "no tenant")]), WRONG_USAGE),
        (PatternError([(("title",), "empty")]), WRONG_USAGE),
        (TransientError("try again", retry_after=5), FAILED),
        (LeaseLostError("somebody else's"), FAILED),
        (TerminalError("stop"), FAILED),
        (RejectedError("no value"), FAILED),
        (KeyboardInterrupt(), FAILED),
    ],
    ids=repr,
)
@pytest.mark.parametrize("as_json", [True, False])
def test_an_error_is_1_a_wrong_configuration_2_and_both_say_what_happened(
    once: Callable[..., Any], capsys: Capture, error: BaseException, code: int, as_json: bool
) -> None:
    once(error)

    assert main(["ingest", *(["--json"] if as_json else [])]) == code

    printed = capsys.readouterr()
    said = str(error) or "interrupted; everything committed so far is kept"
    assert printed.err == f"atlan-meta: {said}\n"
    if as_json:
        assert json.loads(printed.out) == {"error": type(error).__name__, "message": said}
    else:
        assert printed.out == ""


def test_a_missing_connection_is_2_and_names_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_ATLAN_META_POSTGRES_DEFAULT")

    assert main(["ingest"]) == WRONG_USAGE
    assert "AIRFLOW_CONN_ATLAN_META_POSTGRES_DEFAULT" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_run_that_may_read_nothing_is_refused(number: str, capsys: Capture) -> None:
    assert main(["ingest", "--max-records", number]) == WRONG_USAGE
    assert f"max_records = {number}: a run reads at least 1" in capsys.readouterr().err


def test_flags_win_over_settings_and_these_over_defaults(
    once: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ATLAN_META__TOPIC_PREFIX", "acme")
    monkeypatch.setenv("AIRFLOW__ATLAN_META__BATCH_RECORDS", "50")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "postgres://other/db")
    asked = once(OUTCOME)

    main(["ingest", "--max-records", "7", "--dry-run", "--postgres-conn-id", "other"])

    assert asked["request"] == ingest.IngestRequest(
        topic="acme.events.v1",
        dead_letter_topic="acme.dead-letter.v1",
        max_records=7,
        dry_run=True,
        batch_records=50,
        lease_seconds=30.0,
    )
    assert (asked["postgres"].host, asked["kafka"].conn_id) == ("other", "atlan_meta_kafka_default")


def test_two_runs_are_two_owners(once: Callable[..., Any]) -> None:
    owners = []
    for _ in range(2):
        asked = once(OUTCOME)
        main(["ingest"])
        owners.append(asked["owner"])

    assert owners[0].id != owners[1].id
    assert owners[0].label.startswith("ingest ")


# ---- the rest -------------------------------------------------------------------------------------------------------


def test_config_list_says_every_setting_with_its_value_and_origin(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("AIRFLOW__ATLAN_META__TOPIC_PREFIX", "acme")

    assert main(["config", "list", "--json"]) == DONE

    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["topic_prefix"]["value"], rows["topic_prefix"]["origin"]) == ("acme", "environment")
    assert (rows["batch_records"]["value"], rows["batch_records"]["origin"]) == ("1000", "default")
    assert all(row["description"] for row in rows.values())


def test_config_list_is_one_line_a_setting_for_people(capsys: Capture) -> None:
    main(["config", "list"])

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][:2] == ["topic_prefix", "topic_partitions"]
    assert all(line.endswith(("(default)", "(environment)", "(airflow.cfg)")) for line in lines)


@pytest.mark.parametrize(("revision", "code"), [("0002", DONE), ("0001", FAILED), ("", FAILED)])
def test_db_current_is_1_where_the_schema_is_not_what_this_version_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, revision: str, code: int
) -> None:
    from airflow_provider_atlan_meta.migrations import runner

    monkeypatch.setenv("AIRFLOW_CONN_ATLAN_META_POSTGRES_ADMIN", "postgres://admin@127.0.0.1:1/db")
    monkeypatch.setattr(runner, "current", lambda _: revision)
    monkeypatch.setattr(runner, "head", lambda: "0002")

    assert main(["db", "current", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == {"revision": revision, "needed": "0002"}
    assert main(["db", "current"]) == code
    assert ("run `atlan-meta db migrate`" in capsys.readouterr().out) == (code == FAILED)


def test_db_migrate_says_the_revision(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    from airflow_provider_atlan_meta.migrations import runner

    monkeypatch.setenv("AIRFLOW_CONN_ADMIN", "postgres://admin@127.0.0.1:1/db")
    asked = []

    def migrate(admin: ConnectionInfo) -> str:
        asked.append(admin.conn_id)
        return "0001"

    monkeypatch.setattr(runner, "migrate", migrate)

    assert main(["db", "migrate", "--conn-id", "admin", "--json"]) == DONE
    assert (asked, json.loads(capsys.readouterr().out)) == (["admin"], {"revision": "0001"})


def test_topics_create_says_what_is_new(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    from airflow_provider_atlan_meta.clients import kafka_topics

    asked: dict[str, Any] = {}

    def create(config: object, **arguments: Any) -> dict[str, bool]:
        asked.update(arguments)
        return {"meta.events.v1": True, "meta.changes.v1": False}

    monkeypatch.setattr(kafka_topics, "create_topics", create)

    assert main(["topics", "create", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out) == {
        "topics": {"meta.events.v1": True, "meta.changes.v1": False}
    }
    assert asked == {"prefix": "meta", "partitions": 12, "replication": 3}
    main(["topics", "create"])
    assert capsys.readouterr().out.splitlines() == ["meta.events.v1  created", "meta.changes.v1  is there"]


@pytest.mark.parametrize(("rejected", "code"), [(0, DONE), (2, SOME_REJECTED)])
def test_replay_verifies_by_default_and_is_3_when_records_are_no_events(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, rejected: int, code: int
) -> None:
    asked: dict[str, Any] = {}

    def replay_once(**arguments: Any) -> Replayed:
        asked.update(arguments)
        return Replayed(records=5, known=5 - rejected, rejected=rejected)

    monkeypatch.setattr(replay, "replay_once", replay_once)

    assert main(["replay", "--from", "2026-11-24T00:00:00Z", "--json"]) == code

    document = json.loads(capsys.readouterr().out)
    assert (document["mode"], document["records"], document["rejected"]) == ("verify", 5, rejected)
    request = asked["request"]
    assert (request.topic, request.mode, request.until) == ("meta.events.v1", "verify", None)
    assert request.since == datetime(2026, 11, 24, tzinfo=UTC)
