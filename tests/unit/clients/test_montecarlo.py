"""Monte Carlo's API, as the recorder answers for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from contract.montecarlo_recorder import MonteCarloRecorder as Api
from contract.montecarlo_recorder import alert_id
from contract.recorder_server import serving

from airflow_provider_atlan_meta.clients import montecarlo
from airflow_provider_atlan_meta.clients.montecarlo import (
    API_URL,
    MonteCarloClient,
    MonteCarloConfig,
    has_api_credentials,
)
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    ConfigurationError,
    TerminalError,
    TransientError,
)

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def connection(**fields: Any) -> ConnectionInfo:
    return ConnectionInfo(conn_id="mc", conn_type="atlan_meta_montecarlo", **fields)


KEY = connection(host="https://recorder/montecarlo", login="id", password="the-token")
OAUTH2 = connection(
    host="https://recorder/montecarlo",
    extra={"client_id": "client", "client_secret": "the-secret", "instance": "us1"},
)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def client(api: Api) -> Iterator[MonteCarloClient]:
    with MonteCarloClient(
        MonteCarloConfig.from_connection(KEY), transport=api.transport(), now=lambda: NOON
    ) as client:
        yield client


def at(moment: datetime) -> str:
    return moment.isoformat()


# --- what a connection may say


def test_an_api_key_is_login_and_password() -> None:
    config = MonteCarloConfig.from_connection(connection(login="id", password="the-token"))
    assert (config.key_id, config.key_token, config.url) == ("id", "the-token", API_URL)


def test_a_connection_of_airflow_mcd_works_as_it_is() -> None:
    info = ConnectionInfo(
        conn_id="mcd_default",
        conn_type="mcd",
        host="https://api.getmontecarlo.com/graphql",
        extra={"mcd_id": "id", "mcd_token": "the-token"},
    )
    config = MonteCarloConfig.from_connection(info)
    assert (config.key_id, config.key_token, config.url) == ("id", "the-token", API_URL)


@pytest.mark.parametrize(
    ("info", "told"),
    [
        (connection(), "has no API key"),
        (connection(extra={"webhook_secret": "x"}), "has no API key"),
        (connection(login="id"), "has no API key"),
        (connection(extra={"client_id": "c", "client_secret": "s"}), "instance"),
        (connection(login="id", password="t", host="http://mc.example.com"), "https"),
        (connection(login="id", password="t", host="https://user:pw@mc.example.com"), "without a login"),
        (connection(login="id", password="t", extra={"timeout": "long"}), "timeout"),
        (connection(login="id", password="t", extra={"calls_per_day": -1}), "calls_per_day"),
    ],
)
def test_a_connection_that_cannot_work_is_refused_with_its_cure(info: ConnectionInfo, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        MonteCarloConfig.from_connection(info)


def test_only_a_connection_with_credentials_has_an_api() -> None:
    assert has_api_credentials(KEY)
    assert has_api_credentials(OAUTH2)
    assert not has_api_credentials(connection(extra={"webhook_secret": "x"}))


def test_no_call_may_take_longer_than_monte_carlo_lets_it() -> None:
    info = connection(login="id", password="t", extra={"timeout": 600})
    assert MonteCarloConfig.from_connection(info).timeout_seconds == 30.0


def test_secrets_are_in_no_repr() -> None:
    for info in (KEY, OAUTH2):
        shown = repr(MonteCarloConfig.from_connection(info))
        assert "the-token" not in shown
        assert "the-secret" not in shown


# --- alerts by id


def test_alerts_are_found_by_id_in_one_call_and_unknown_ids_are_left_out(
    api: Api, client: MonteCarloClient
) -> None:
    api.set({"id": alert_id(1), "status": "FIXED"}, {"id": alert_id(2), "type": "BRAND_NEW_KIND"})
    found = client.by_ids([alert_id(1), alert_id(2), alert_id(3)])
    assert found.keys() == {alert_id(1), alert_id(2)}
    assert found[alert_id(1)].status == "FIXED"
    assert found[alert_id(2)].type == "BRAND_NEW_KIND"
    assert len(api.calls()) == 1


def test_many_ids_are_asked_for_in_batches(
    api: Api, client: MonteCarloClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(montecarlo, "IDS_PER_CALL", 10)
    api.set(*({"id": alert_id(number)} for number in range(1, 26)))
    assert len(client.by_ids([alert_id(number) for number in range(1, 26)])) == 25
    assert len(api.calls()) == 3


def test_an_id_no_alert_can_have_spoils_nothing(api: Api, client: MonteCarloClient) -> None:
    api.set({"id": alert_id(1)})
    upper = alert_id(1).upper()
    assert client.by_ids(["not-an-id", upper]).keys() == {upper}
    assert client.by_ids(["not-an-id"]) == {}
    assert len(api.calls()) == 1


# --- alerts by time


def test_a_window_is_read_to_its_end_page_by_page(
    api: Api, client: MonteCarloClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(montecarlo, "_PAGE", 3)
    api.set(*({"id": alert_id(n), "updatedTime": at(NOON + timedelta(seconds=n))} for n in range(1, 11)))
    pages = list(client.updated_between(NOON, NOON + timedelta(seconds=10)))
    assert [alert.id for page in pages for alert in page] == [alert_id(number) for number in range(1, 10)]
    assert len(api.calls()) > 3


def test_alerts_of_one_and_the_same_time_are_all_read(
    api: Api, client: MonteCarloClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(montecarlo, "_PAGE", 3)
    api.set(*({"id": alert_id(number), "updatedTime": at(NOON)} for number in range(1, 12)))
    api.set({"id": alert_id(99), "updatedTime": at(NOON + timedelta(seconds=1))})
    found = [alert.id for page in client.updated_between(NOON, NOON + timedelta(hours=1)) for alert in page]
    assert sorted(found) == sorted([*(alert_id(number) for number in range(1, 12)), alert_id(99)])


def test_alerts_that_are_updated_while_we_read_make_us_miss_none(
    api: Api, client: MonteCarloClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(montecarlo, "_PAGE", 3)
    api.set(*({"id": alert_id(n), "updatedTime": at(NOON + timedelta(seconds=n))} for n in range(1, 11)))

    def update_the_first() -> None:
        late = at(NOON + timedelta(seconds=100))
        api.set({"id": alert_id(1), "updatedTime": late}, {"id": alert_id(2), "updatedTime": late})
        api.before_answer.clear()

    api.before_answer.append(update_the_first)
    found = {a.id for page in client.updated_between(NOON, NOON + timedelta(hours=1)) for a in page}
    assert found == {alert_id(number) for number in range(1, 11)}


def test_a_window_longer_than_the_api_allows_is_asked_for_in_parts(
    api: Api, client: MonteCarloClient
) -> None:
    moments = [NOON + timedelta(days=days) for days in (0, 60, 150)]
    api.set(*({"id": alert_id(n), "updatedTime": at(moment)} for n, moment in enumerate(moments)))
    found = [a.id for page in client.updated_between(NOON, NOON + timedelta(days=151)) for a in page]
    assert found == [alert_id(number) for number in range(3)]
    assert len(api.calls()) == 3


# --- what goes wrong


@pytest.mark.parametrize(
    ("script", "kind", "told"),
    [
        ({"mode": "status", "status": 401}, ConfigurationError, "not valid"),
        ({"mode": "status", "status": 403}, ConfigurationError, "may not read alerts"),
        ({"mode": "status", "status": 404}, ConfigurationError, "check the host"),
        ({"mode": "status", "status": 301}, TerminalError, "301"),
        ({"mode": "status", "status": 400}, TerminalError, "400"),
        ({"mode": "status", "status": 503}, TransientError, "503"),
        ({"mode": "error", "error": "Not allowed"}, TerminalError, "Not allowed"),
        ({"mode": "partial", "error": "owner failed"}, TransientError, "owner failed"),
    ],
)
def test_each_refusal_says_what_happens_next(
    api: Api, client: MonteCarloClient, script: dict[str, Any], kind: type[Exception], told: str
) -> None:
    api.set({"id": alert_id(1)})
    api.script(**script)
    with pytest.raises(kind, match=told) as raised:
        client.by_ids([alert_id(1)])
    assert "the-token" not in str(raised.value)
    assert client.by_ids([alert_id(1)])


def test_too_many_calls_are_waited_for_as_long_as_it_says(api: Api, client: MonteCarloClient) -> None:
    api.script(mode="status", status=429, retry_after=42)
    with pytest.raises(TransientError) as raised:
        client.by_ids([alert_id(1)])
    assert raised.value.retry_after == 42.0


@pytest.mark.parametrize(
    ("header", "seconds"), [("Wed, 25 Nov 2026 12:01:30 GMT", 90.0), ("soon", None), ("", None)]
)
def test_a_date_is_understood_too(header: str, seconds: float | None) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, headers={"retry-after": header})

    with (
        MonteCarloClient(
            MonteCarloConfig.from_connection(KEY), transport=httpx.MockTransport(refuse), now=lambda: NOON
        ) as client,
        pytest.raises(TransientError) as raised,
    ):
        client.by_ids([alert_id(1)])
    assert raised.value.retry_after == seconds


def test_an_answer_without_an_end_is_refused() -> None:
    def flood(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=(b"x" * (1 << 20) for _ in range(64)))

    with (
        MonteCarloClient(
            MonteCarloConfig.from_connection(KEY), transport=httpx.MockTransport(flood)
        ) as client,
        pytest.raises(TerminalError, match="larger than 16 MiB"),
    ):
        client.by_ids([alert_id(1)])


def test_a_cursor_that_stands_still_ends_the_reading() -> None:
    page = {"pageInfo": {"hasNextPage": True, "endCursor": None}, "edges": []}

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": {"getAlerts": page}})

    with (
        MonteCarloClient(
            MonteCarloConfig.from_connection(KEY), transport=httpx.MockTransport(answer)
        ) as client,
        pytest.raises(TransientError, match="not where"),
    ):
        list(client.updated_between(NOON, NOON + timedelta(hours=1)))


def test_an_api_that_hangs_or_hangs_up_is_no_answer() -> None:
    with serving() as (url, recorder):
        recorder.montecarlo.put([{"id": alert_id(1)}])
        info = connection(host=f"{url}/montecarlo", login="id", password="the-token")
        with MonteCarloClient(MonteCarloConfig.from_connection(info)) as client:
            assert client.by_ids([alert_id(1)])
            for script in ({"mode": "hang", "seconds": 0.5}, {"mode": "cut"}):
                httpx.post(f"{url}/_script", json={"service": "montecarlo", **script})
                with pytest.raises(TransientError, match="no answer"):
                    client.by_ids([alert_id(1)], timeout_seconds=0.2)
            assert client.by_ids([alert_id(1)])


def test_the_calls_of_a_day_are_limited_until_midnight(api: Api) -> None:
    moment = [NOON]
    info = connection(
        host="https://recorder/montecarlo", login="id", password="t", extra={"calls_per_day": 2}
    )
    with MonteCarloClient(
        MonteCarloConfig.from_connection(info), transport=api.transport(), now=lambda: moment[0]
    ) as client:
        for _ in range(2):
            client.by_ids([alert_id(1)])
        with pytest.raises(TransientError, match="midnight") as raised:
            client.by_ids([alert_id(1)])
        assert raised.value.retry_after == 12 * 3600
        assert len(api.calls()) == 2
        moment[0] += timedelta(hours=12)
        client.by_ids([alert_id(1)])


# --- OAuth2


def oauth2(api: Api) -> MonteCarloClient:
    return MonteCarloClient(
        MonteCarloConfig.from_connection(OAUTH2), transport=api.transport(), now=lambda: NOON
    )


def test_one_token_serves_many_calls(api: Api) -> None:
    api.set({"id": alert_id(1)})
    with oauth2(api) as client:
        assert client.by_ids([alert_id(1)])
        assert client.by_ids([alert_id(1)])
    [asked] = api.calls("/montecarlo/oauth2/token")
    assert asked["body"]["grant_type"] == "client_credentials"
    assert asked["body"]["scope"].endswith("https://instance.getmontecarlo.com/us1")
    assert all("x-mcd-token" not in call["headers"] for call in api.calls())


def test_a_token_that_is_refused_is_replaced_once(api: Api) -> None:
    api.set({"id": alert_id(1)})
    with oauth2(api) as client:
        assert client.by_ids([alert_id(1)])
        api.client.delete("/_montecarlo/tokens")
        assert client.by_ids([alert_id(1)])
        assert len(api.calls("/montecarlo/oauth2/token")) == 2
        api.script(mode="status", status=401, path="graphql", times=2)
        with pytest.raises(ConfigurationError, match="not valid"):
            client.by_ids([alert_id(1)])


def test_a_client_that_gets_no_token_is_told_what_to_check(api: Api) -> None:
    api.script(mode="status", status=401, path="token")
    with oauth2(api) as client, pytest.raises(ConfigurationError, match="client_secret"):
        client.by_ids([alert_id(1)])


def test_tokens_may_be_away_for_a_while(api: Api) -> None:
    api.script(mode="status", status=503, path="token")
    with oauth2(api) as client:
        with pytest.raises(TransientError):
            client.by_ids([alert_id(1)])
        assert client.by_ids([alert_id(1)]) == {}


def test_a_token_address_that_gives_none_is_said() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=json.dumps([1])))
    with (
        MonteCarloClient(MonteCarloConfig.from_connection(OAUTH2), transport=transport) as client,
        pytest.raises(TerminalError, match="no token"),
    ):
        client.by_ids([alert_id(1)])


def test_what_is_described_was_asked(api: Api, client: MonteCarloClient) -> None:
    assert client.describe() == "Monte Carlo at https://recorder/montecarlo answers this API key"
    assert len(api.calls()) == 1
