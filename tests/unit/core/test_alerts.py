from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_atlan_meta.core.alerts import (
    Failure,
    FailureReason,
    OpenAlert,
    alert_key,
    parse_record,
    reason_key,
    repeated,
    to_text,
)

ALERT = OpenAlert(
    channel="C1", ts="1.2", conn_id="slack", since="2026-11-24 10:00:00 UTC", failures=1, last_run_id="r1"
)


def failure(run_id: str) -> Failure:
    return Failure(dag_id="acme_ingest", run_id=run_id, reason="Kafka is away", at="now")


def test_a_further_failed_run_counts_and_keeps_the_message() -> None:
    again = repeated(ALERT, failure("r2"))

    assert again is not None
    assert (again.ts, again.since, again.failures, again.last_run_id) == ("1.2", ALERT.since, 2, "r2")


def test_the_same_run_told_twice_changes_nothing() -> None:
    assert repeated(ALERT, failure("r1")) is None


@pytest.mark.parametrize("record", [ALERT, FailureReason(run_id="r1", text='say "no" <!channel>')])
def test_a_record_comes_back_as_it_was_written(record: OpenAlert | FailureReason) -> None:
    kind: Any = type(record)

    assert parse_record(kind, to_text(record)) == record


@pytest.mark.parametrize("text", [None, "", "nonsense", "[]", "{}", '{"channel": 1}', "null", '"text"'])
def test_what_somebody_else_wrote_there_is_no_alert(text: str | None) -> None:
    assert parse_record(OpenAlert, text) is None


def test_fields_of_a_newer_version_are_ignored() -> None:
    newer = to_text(ALERT)[:-1] + ', "severity": "high"}'

    assert parse_record(OpenAlert, newer) == ALERT


def test_alerts_are_apart_per_dag_and_per_tenant() -> None:
    keys = {
        alert_key("a_ingest"),
        alert_key("b_ingest"),
        alert_key("a_ingest", "acme"),
        reason_key("a_ingest"),
    }

    assert len(keys) == 4


def test_a_long_dag_id_still_has_a_key_of_its_own() -> None:
    one, other = alert_key("d" * 250 + "1"), alert_key("d" * 250 + "2")

    assert one != other
    assert max(len(one), len(other)) <= 250
