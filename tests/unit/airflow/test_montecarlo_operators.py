from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.hooks import connections
from airflow_provider_atlan_meta.operators.montecarlo import RegisterMonteCarloWebhookOperator
from airflow_provider_atlan_meta.services import webhook_registration
from airflow_provider_atlan_meta.services.webhook_registration import Registered

DONE = Registered(url="https://meta.example.com/v1/acme/montecarlo", setting_id="s", dry_run=False)


def operator(**arguments: Any) -> RegisterMonteCarloWebhookOperator:
    given = {"tenant": "acme", "producer_url": "https://meta.example.com", "audience_id": "a", **arguments}
    return RegisterMonteCarloWebhookOperator(task_id="register", **given)


def test_registering_a_webhook_hands_its_arguments_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def register(**call: Any) -> Registered:
        asked.append(call)
        return DONE

    monkeypatch.setattr(webhook_registration, "register_webhook_once", register)
    monkeypatch.setattr(connections, "connection_info", lambda conn_id: ConnectionInfo(conn_id=conn_id))

    assert operator(dry_run="true").execute({}) == DONE.to_dict()  # type: ignore[typeddict-item]

    [call] = asked
    assert (call["request"].tenant, call["request"].dry_run) == ("acme", True)
    assert call["request"].url == "https://meta.example.com/v1/acme/montecarlo"
    assert call["find"]("x").conn_id == "x"


def test_a_wrong_argument_fails_the_task_and_hides_no_dag() -> None:
    with pytest.raises(ConfigurationError, match="https"):
        operator(producer_url="http://meta.example.com").execute({})  # type: ignore[typeddict-item]
