from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.core.alerts import Failure, OpenAlert
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.core.messages import (
    describe_error,
    escape_mrkdwn,
    failure_text,
    resolved_text,
)

AT = "2026-11-24 10:00:00 UTC"


def text_of(**changes: str) -> str:
    fields = {"dag_id": "acme_ingest", "run_id": "manual__1", "reason": "Kafka is away", "at": AT} | changes
    return failure_text(Failure(**fields))


def test_an_alert_says_which_dag_which_run_why_and_where_to_look() -> None:
    text = text_of(
        tenant="acme", log_url="http://af/dags/acme_ingest/runs/manual__1/tasks/ingest?try_number=6"
    )

    for part in ("acme_ingest", "(tenant acme)", "manual__1", "Kafka is away", AT, "try_number=6|log"):
        assert part in text


@pytest.mark.parametrize("attack", ["<!channel>", "<!here>", "<@U123>", "<http://evil|log>", "a & b"])
def test_text_from_outside_cannot_mention_anybody_or_forge_a_link(attack: str) -> None:
    for text in (
        text_of(reason=attack),
        text_of(run_id=attack),
        text_of(dag_id=attack),
        text_of(tenant=attack),
    ):
        assert attack not in text
        assert escape_mrkdwn(attack).replace("*", "") in text


def test_a_run_id_cannot_leave_its_code_span() -> None:
    assert "`a'b c`" in text_of(run_id="a`b\nc")


def test_a_link_has_one_address_and_one_label() -> None:
    link = text_of(log_url="http://af/x|<!channel> y").splitlines()[-1]

    assert link.count("<") == link.count(">") == link.count("|") == 1


def test_a_long_reason_is_cut_and_kept_on_one_line() -> None:
    text = text_of(reason="line\n" * 1000)

    assert len(text) < 1000
    assert len(text.splitlines()) == 3


def test_a_repeat_says_how_often_and_since_when() -> None:
    text = failure_text(
        Failure(dag_id="d", run_id="r2", reason="x", at=AT), failures=3, since="2026-11-24 09:00:00 UTC"
    )

    assert "failed 3 times since 2026-11-24 09:00:00 UTC" in text


def test_the_end_of_an_alert_says_how_many_runs_failed() -> None:
    alert = OpenAlert(channel="C1", ts="1", conn_id="s", since=AT, failures=2, last_run_id="r2")

    text = resolved_text(alert, dag_id="acme_ingest", tenant="", run_id="r3", at="later")

    assert "works again" in text
    assert f"2 failed runs since {AT}" in text


def test_our_own_errors_are_told_with_their_text() -> None:
    assert describe_error(ConfigurationError("no brokers")) == "ConfigurationError: no brokers"
    assert len(describe_error(TransientError("x" * 9999))) == 400


def test_foreign_errors_are_told_by_type_only() -> None:
    assert "hunter2" not in describe_error(ValueError("password=hunter2"))
    assert "ValueError" in describe_error(ValueError("password=hunter2"))
