"""``atlan-meta dlq``: what it prints, its exit codes, and that nothing is redriven without a reason."""

from __future__ import annotations

import json

import msgspec
import pytest

from airflow_provider_atlan_meta.cli import main
from airflow_provider_atlan_meta.core.dead_letters import LetterQuery
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits
from airflow_provider_atlan_meta.services import dead_letters, mappings
from airflow_provider_atlan_meta.testing.memory import MemoryLane, MemoryStore
from airflow_provider_atlan_meta.testing.memory_dead_letters import MemoryDeadLetters
from airflow_provider_atlan_meta.testing.memory_mappings import MemoryMappings
from airflow_provider_atlan_meta.testing.records import webhook_record

Capture = pytest.CaptureFixture[str]


class Closable(MemoryDeadLetters):
    def close(self) -> None:
        return


@pytest.fixture
def lane() -> MemoryLane:
    """A record that is stored, and two that are no events."""
    lane = MemoryLane()
    lane.publish(0, "inc-1")
    for value in (b"{", b"\x1b[2J" + b"x" * 3000):
        lane.topic.append(0, webhook_record()._replace(value=value))
    lane.ingest().drain(DrainLimits())
    return lane


@pytest.fixture(autouse=True)
def letters(lane: MemoryLane, monkeypatch: pytest.MonkeyPatch) -> MemoryDeadLetters:
    letters = Closable(lane.database)
    monkeypatch.setattr(dead_letters, "PostgresDeadLetters", lambda *_, **__: letters)
    monkeypatch.setattr(dead_letters, "PostgresStore", lambda *_, **__: MemoryStore(lane.database))
    monkeypatch.setattr(mappings, "PostgresMappings", lambda _: MemoryMappings())
    monkeypatch.setenv("AIRFLOW_CONN_ATLAN_META_POSTGRES_DEFAULT", "postgres://u:p@127.0.0.1:1/db")
    return letters


def test_letters_that_fail_alike_are_one_line(capsys: Capture) -> None:
    assert main(["dlq", "list"]) == 0

    titles, line = capsys.readouterr().out.splitlines()
    assert titles.split()[:3] == ["fingerprint", "letters", "state"]
    assert line.split()[1:5] == ["2", "new", "postgres", "(decode)"]
    assert "record is not a MetadataEvent" in line


def test_without_letters_it_says_so(capsys: Capture) -> None:
    assert main(["dlq", "list", "--state", "redriven"]) == 0
    assert main(["dlq", "show", "--tenant", "nobody"]) == 0
    assert main(["dlq", "redrive", "--fingerprint", "0" * 16, "--reason", "r"]) == 0

    assert capsys.readouterr().out.splitlines() == ["no dead letters"] * 2 + ["no dead letters wait"]


def test_a_letter_is_shown_without_what_a_terminal_would_obey(capsys: Capture) -> None:
    assert main(["dlq", "show", "--limit", "2"]) == 0

    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[2Jxxx" in shown
    assert "(3,004 characters; --json has all)" in shown
    assert "tenant       acme" in shown


def test_what_is_not_shown_is_told(capsys: Capture) -> None:
    assert main(["dlq", "show", "--limit", "1"]) == 0

    assert capsys.readouterr().out.splitlines()[-1] == "1 more; --limit shows them"


def test_json_has_every_letter_whole(capsys: Capture) -> None:
    assert main(["dlq", "show", "--json"]) == 0

    first, second = json.loads(capsys.readouterr().out)
    assert (first["value"], first["tenant"], first["state"]) == ("{", "acme", "new")
    assert len(second["value"]) == 3004
    assert ["ce_source", "montecarlo"] in first["headers"]


def test_nothing_is_redriven_without_a_reason(letters: MemoryDeadLetters, capsys: Capture) -> None:
    assert main(["dlq", "redrive"]) == 2

    assert "--reason" in capsys.readouterr().err
    assert letters.audit == []


def test_letters_that_fail_as_before_make_the_exit_code_3(capsys: Capture, lane: MemoryLane) -> None:
    topic = lane.topic.identity.topic

    assert main(["dlq", "redrive", "--topic", topic, "--reason", "once more"]) == 3

    assert capsys.readouterr().out.splitlines() == [
        "0 of 2 dead letters stored, 0 changes",
        "2 still fail: record is not a MetadataEvent",
    ]


def test_what_can_be_read_now_is_stored_and_who_did_it_is_audited(
    letters: MemoryDeadLetters, lane: MemoryLane, capsys: Capture
) -> None:
    topic = lane.topic.identity.topic
    for origin, letter in list(lane.database.tables.dead_letters.items()):
        good = webhook_record("inc-2", offset=letter.offset)
        lane.database.tables.dead_letters[origin] = msgspec.structs.replace(
            letter, value=good.value, key=good.key, headers=good.headers
        )

    argv = ["dlq", "redrive", "--topic", topic, "--reason", "mended", "--actor", "dana", "--json"]
    assert main(argv) == 0

    done = json.loads(capsys.readouterr().out)
    assert (done["letters"], done["redriven"], done["rejected"]) == (2, 2, 0)
    assert [(actor, reason, count) for actor, reason, _, count in letters.audit] == [("dana", "mended", 2)]
    assert letters.count(LetterQuery(state="new")) == 0
    assert ("acme", "inc-2") in lane.database.tables.incidents


def test_a_dry_run_needs_no_reason_and_stores_nothing(
    letters: MemoryDeadLetters, lane: MemoryLane, capsys: Capture
) -> None:
    assert main(["dlq", "redrive", "--topic", lane.topic.identity.topic, "--dry-run"]) == 3

    assert "0 of 2 dead letters can be read now; nothing was stored" in capsys.readouterr().out
    assert letters.audit == []
