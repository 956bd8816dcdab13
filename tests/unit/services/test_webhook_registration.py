"""Monte Carlo, as the recorder answers for it, told where a tenant's producer is."""

from __future__ import annotations

from typing import Any

import pytest
from contract.montecarlo_recorder import MonteCarloRecorder

from airflow_provider_atlan_meta.clients.montecarlo import MonteCarloClient
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError
from airflow_provider_atlan_meta.services import webhook_registration
from airflow_provider_atlan_meta.services.webhook_registration import (
    Registered,
    RegistrationRequest,
    register_webhook_once,
)

OWN = "atlan_meta_montecarlo_tenant_acme"
URL = "https://meta.example.com/v1/acme/montecarlo"
AUDIENCE = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> MonteCarloRecorder:
    api = MonteCarloRecorder()
    monkeypatch.setattr(
        webhook_registration,
        "MonteCarloClient",
        lambda config: MonteCarloClient(config, transport=api.transport()),
    )
    return api


def connection(secret: Any = "first-secret", **fields: Any) -> ConnectionInfo:
    extra = {} if secret is None else {"webhook_secret": secret}
    given = {"host": "https://recorder/montecarlo", "login": "id", "password": "t", **fields}
    return ConnectionInfo(conn_id=OWN, extra=extra, **given)


def register(info: ConnectionInfo | None, **request: Any) -> Registered:
    given = {
        "tenant": "acme",
        "producer_url": "https://meta.example.com/",
        "audience_id": AUDIENCE,
        "montecarlo_conn_id": "default",
        **request,
    }
    known = {OWN: info, "default": connection(None)}
    return register_webhook_once(find=known.get, request=RegistrationRequest(**given))


def test_alerts_are_sent_to_the_producer_signed_with_the_tenants_secret(api: MonteCarloRecorder) -> None:
    done = register(connection(["first-secret", "second-secret"]))

    [(setting_id, setting)] = api.app.state.recorder.montecarlo.webhooks.items()
    assert done == Registered(url=URL, setting_id=setting_id, dry_run=False)
    assert setting["recipients"] == [URL]
    assert setting["extra"] == {"webhookSharedSecret": "first-secret", "receiveNormalized": True}


def test_the_same_again_changes_the_webhook_and_makes_no_second_one(api: MonteCarloRecorder) -> None:
    first = register(connection())
    assert register(connection("other-secret")) == first

    [setting] = api.app.state.recorder.montecarlo.webhooks.values()
    assert setting["extra"]["webhookSharedSecret"] == "other-secret"


def test_a_dry_run_keeps_nothing(api: MonteCarloRecorder) -> None:
    assert register(connection(), dry_run=True) == Registered(url=URL, setting_id="", dry_run=True)
    assert api.app.state.recorder.montecarlo.webhooks == {}
    assert api.calls()[-1]["body"]["variables"]["dry"] is True


def test_a_tenant_without_a_key_of_its_own_uses_the_default_one(api: MonteCarloRecorder) -> None:
    assert register(connection(login="", password="")).setting_id


def test_a_secret_is_in_no_error_and_in_no_record(api: MonteCarloRecorder) -> None:
    api.script(mode="lag", seconds=0)
    api.script(mode="error", error='got invalid value {"webhookSharedSecret": "first-secret"}')
    with pytest.raises(TerminalError) as raised:
        register(connection())
    assert "first-secret" not in str(raised.value)
    assert "first-secret" not in api.client.get("/_recorded").text


@pytest.mark.parametrize(
    ("info", "request_", "told"),
    [
        (None, {}, OWN),
        (connection(None), {}, "webhook_secret"),
        (connection(), {"producer_url": "http://meta.example.com"}, "https"),
        (connection(), {"audience_id": ""}, "audience_id"),
        (connection(), {"tenant": "Not"}, "must match"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_asked(
    api: MonteCarloRecorder, info: ConnectionInfo | None, request_: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        register(info, **request_)
    assert api.calls() == []


def test_an_unknown_audience_is_said(api: MonteCarloRecorder) -> None:
    with pytest.raises(TerminalError, match="no such audience"):
        register(connection(), audience_id="00000000-0000-0000-0000-000000000009")
