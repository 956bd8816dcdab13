"""``atlan-meta capture``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_atlan_meta.cli import main
from airflow_provider_atlan_meta.core.capture_health import CaptureHealth, Finding
from airflow_provider_atlan_meta.core.connect_config import Difference
from airflow_provider_atlan_meta.services import capture
from airflow_provider_atlan_meta.services.capture import CaptureOutcome

HEALTHY = CaptureHealth(state="healthy", lag_bytes=1234, retained_bytes=5678)
LOST = CaptureHealth(state="lost", findings=(Finding("slot_lost", "lost", "it is gone", "recover it"),))
OUTCOME = CaptureOutcome(
    connector="atlan-meta-changes",
    changed=(Difference("poll.interval.ms", None, "10"), Difference("x", "1", "2")),
    prepared=("create publication meta_outbox",),
    new_slot=True,
)


class FakeCapture:
    health_now = HEALTHY

    def __init__(self, *_: object) -> None:
        return

    def __enter__(self) -> FakeCapture:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def plan(self) -> CaptureOutcome:
        return OUTCOME

    def apply(self) -> CaptureOutcome:
        return replace(OUTCOME, health=HEALTHY)

    def health(self, _seconds: float) -> CaptureHealth:
        return self.health_now


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "Capture", FakeCapture)
    for conn_id, fields in {
        "atlan_meta_connect_default": {"conn_type": "atlan_meta_connect", "host": "http://connect"},
        "atlan_meta_postgres_cdc": {"conn_type": "postgres", "host": "db", "schema": "meta"},
    }.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))


def test_a_dry_run_says_what_would_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "apply", "--dry-run"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "would change: poll.interval.ms  (none) -> 10",
        "would change: x  1 -> 2",
        "would run: create publication meta_outbox",
        "would make a replication slot",
    ]


def test_applying_says_what_was_done_and_how_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "apply"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[2:5] == [
        "ran: create publication meta_outbox",
        "made a replication slot",
        "connector atlan-meta-changes: healthy",
    ]
    assert lines[5] == "1,234 bytes of log behind, 5,678 kept on disk for it"


@pytest.mark.parametrize(("health", "code"), [(HEALTHY, 0), (LOST, 1)])
def test_the_exit_code_is_the_health(
    health: CaptureHealth, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeCapture, "health_now", health)

    assert main(["capture", "status", "--json"]) == code

    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["state"] == health.state
    assert [finding["cure"] for finding in document["findings"]] == (["recover it"] if code else [])


def test_a_finding_is_told_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeCapture, "health_now", LOST)

    main(["capture", "status"])

    assert capsys.readouterr().out.splitlines() == ["lost", "slot_lost: it is gone; recover it"]


def test_a_time_without_a_zone_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["capture", "recover", "--since", "2026-11-25T00:00:00"])

    assert stopped.value.code == 2
    assert "has no time zone" in capsys.readouterr().err
