from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_atlan_meta.clients.slack import PostedMessage
from airflow_provider_atlan_meta.core.alerts import FailureReason
from airflow_provider_atlan_meta.core.errors import RejectedError, TransientError
from airflow_provider_atlan_meta.hooks import alerts
from airflow_provider_atlan_meta.notifications.atlan_meta import AtlanMetaNotifier

AT = "2026-11-24 10:00:00 UTC"


class FakeVariables:
    """Airflow's Variables as a dict."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str, default: str | None = None) -> str | None:
        return self.values.get(key, default)

    def set(self, key: str, value: str, description: str | None = None) -> None:
        self.values[key] = value

    def delete(self, key: str) -> None:
        del self.values[key]


class FakeSlack:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.raises: Exception | None = None

    def post(self, channel: str, text: str) -> PostedMessage:
        self._call("post", channel, text)
        return PostedMessage(channel="C0123", ts=f"ts{len(self.calls)}")

    def update(self, message: PostedMessage, text: str) -> None:
        self._call("update", message.ts, text)

    def _call(self, kind: str, where: str, text: str) -> None:
        if self.raises is not None:
            raise self.raises
        self.calls.append((kind, where, text))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.calls]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> FakeVariables:
    fake = FakeVariables()
    monkeypatch.setattr(alerts, "Variable", fake)
    return fake


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch, variables: FakeVariables) -> FakeSlack:
    fake = FakeSlack()
    monkeypatch.setattr(alerts, "slack_client", lambda _conn_id: fake)
    return fake


def context_of(run_id: str, dag_id: str = "acme_ingest") -> Any:
    """What the dag-processor hands to a callback: no exception in it."""
    return {
        "dag": DAG(dag_id),
        "dag_run": SimpleNamespace(dag_id=dag_id, run_id=run_id),
        "ti": SimpleNamespace(log_url=f"http://af/{run_id}"),
        "run_id": run_id,
        "reason": "task_failure",
    }


def fail(run_id: str, notifier: AtlanMetaNotifier | None = None, dag_id: str = "acme_ingest") -> None:
    (notifier or AtlanMetaNotifier(channel="#ops"))(context_of(run_id, dag_id))


def test_a_failed_run_is_told_once_with_its_reason_and_log(slack: FakeSlack) -> None:
    alerts.write_reason("acme_ingest", "", FailureReason(run_id="r1", text="TerminalError: no topic"))

    fail("r1")

    ((kind, channel, text),) = slack.calls
    assert (kind, channel) == ("post", "#ops")
    assert "acme_ingest" in text
    assert "TerminalError: no topic" in text
    assert "http://af/r1" in text


def test_further_failures_change_the_same_message(slack: FakeSlack) -> None:
    for run_id in ("r1", "r2", "r3"):
        fail(run_id)

    assert slack.kinds == ["post", "update", "update"]
    assert slack.calls[-1][1] == "ts1"
    assert "failed 3 times" in slack.calls[-1][2]


def test_a_callback_that_is_repeated_tells_nothing_twice(slack: FakeSlack) -> None:
    fail("r1")
    fail("r1")

    assert slack.kinds == ["post"]


def test_the_next_success_resolves_and_the_next_failure_is_a_new_alert(slack: FakeSlack) -> None:
    fail("r1")

    assert alerts.resolve("acme_ingest", tenant="", run_id="r2", at=AT) is True
    assert alerts.resolve("acme_ingest", tenant="", run_id="r3", at=AT) is False
    fail("r4")

    assert slack.kinds == ["post", "update", "post"]
    assert "works again" in slack.calls[1][2]


def test_without_an_open_alert_a_success_says_nothing(slack: FakeSlack) -> None:
    assert alerts.resolve("acme_ingest", tenant="", run_id="r1", at=AT) is False
    assert slack.calls == []


def test_dags_and_tenants_have_alerts_of_their_own(slack: FakeSlack) -> None:
    fail("r1")
    fail("r1", dag_id="other_ingest")
    fail("r1", AtlanMetaNotifier(channel="#ops", tenant="acme"))

    assert slack.kinds == ["post", "post", "post"]


def test_the_reason_of_another_run_is_not_told(slack: FakeSlack) -> None:
    alerts.write_reason("acme_ingest", "", FailureReason(run_id="r1", text="old news"))

    fail("r2")

    assert "old news" not in slack.calls[0][2]
    assert "task_failure" in slack.calls[0][2]


def test_without_a_channel_nothing_is_told(slack: FakeSlack) -> None:
    fail("r1", AtlanMetaNotifier())

    assert slack.calls == []


def test_channel_and_connection_come_from_the_settings(
    slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def slack_client(conn_id: str) -> FakeSlack:
        asked.append(conn_id)
        return slack

    monkeypatch.setattr(alerts, "slack_client", slack_client)
    monkeypatch.setenv("AIRFLOW__ATLAN_META__ALERT_CHANNEL", "C9")
    monkeypatch.setenv("AIRFLOW__ATLAN_META__ALERT_SLACK_CONN_ID", "my_slack")

    fail("r1", AtlanMetaNotifier())

    assert asked == ["my_slack"]
    assert slack.calls[0][1] == "C9"


def test_a_slack_that_is_away_costs_no_run_and_the_next_failure_is_told(slack: FakeSlack) -> None:
    slack.raises = TransientError("Slack is away")
    fail("r1")
    slack.raises = None
    fail("r2")

    assert slack.kinds == ["post"]


def test_a_message_somebody_deleted_is_posted_anew(slack: FakeSlack) -> None:
    fail("r1")
    gone = FakeSlack()
    gone.raises = RejectedError("Slack chat.update: message_not_found")
    slack.update = gone.update  # type: ignore[method-assign]

    fail("r2")

    assert slack.kinds == ["post", "post"]


def test_an_alert_stays_open_when_its_end_could_not_be_told(
    slack: FakeSlack, variables: FakeVariables
) -> None:
    fail("r1")
    slack.raises = TransientError("Slack is away")

    with pytest.raises(TransientError):
        alerts.resolve("acme_ingest", tenant="", run_id="r2", at=AT)

    slack.raises = None
    assert alerts.resolve("acme_ingest", tenant="", run_id="r3", at=AT) is True


def test_a_variable_somebody_overwrote_is_no_open_alert(slack: FakeSlack, variables: FakeVariables) -> None:
    fail("r1")
    variables.values = dict.fromkeys(variables.values, "nonsense")

    fail("r2")

    assert slack.kinds == ["post", "post"]


def test_it_can_be_awaited_on_a_triggerer(slack: FakeSlack) -> None:
    notifier = AtlanMetaNotifier(channel="#ops")
    notifier.context = context_of("r1")

    async def awaited() -> None:
        await notifier

    asyncio.run(awaited())

    assert slack.kinds == ["post"]
