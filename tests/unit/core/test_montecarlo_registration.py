"""What is asked of Monte Carlo to send webhooks, and what its answers say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.montecarlo_registration import find_setting, registered_id

URL = "https://meta.example.com/v1/acme/montecarlo"


def settings(*found: dict[str, Any] | None) -> bytes:
    audience = {"uuid": "a", "label": "l", "notificationSettings": list(found)}
    return msgspec.json.encode({"data": {"getNotificationAudiences": [audience]}})


def test_a_webhook_to_the_same_address_is_found_among_others() -> None:
    body = settings(
        None,
        {"uuid": "1", "type": "SLACK_V2", "recipients": [URL]},
        {"uuid": "2", "type": "WEBHOOK", "recipients": [f"{URL}2"]},
        {"uuid": "3", "type": "WEBHOOK", "recipients": None},
        {"uuid": "4", "type": "WEBHOOK", "recipients": [URL]},
    )
    assert find_setting(body, URL) == "4"
    assert find_setting(settings(), URL) is None


def test_an_audience_nobody_knows_is_said() -> None:
    with pytest.raises(TerminalError, match="no such audience"):
        find_setting(msgspec.json.encode({"data": {"getNotificationAudiences": []}}), URL)


def test_a_dry_run_makes_no_setting() -> None:
    answer = {"data": {"createOrUpdateAudienceNotificationSetting": {"notificationSetting": None}}}
    assert registered_id(msgspec.json.encode(answer)) is None


def test_a_refusal_is_told_and_an_answer_of_another_form_is_asked_for_again() -> None:
    with pytest.raises(TerminalError, match="not allowed"):
        registered_id(b'{"errors": [{"message": "not allowed"}], "data": null}')
    with pytest.raises(TransientError):
        registered_id(b"<html>")
