"""The recorder answers as Monte Carlo's GraphQL API does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from airflow_provider_atlan_meta.testing.clock import ManualClock
from airflow_provider_atlan_meta.testing.montecarlo_api import MonteCarloApi
from airflow_provider_atlan_meta.testing.recorder import build_app

SAMPLES = Path(__file__).parents[2] / "fixtures" / "montecarlo"
KEY = {"x-mcd-id": "id", "x-mcd-token": "secret-token"}
QUERY = (SAMPLES / "getAlerts.query.graphql").read_text()
NODES = [
    edge["node"]
    for edge in json.loads((SAMPLES / "getAlerts.response.json").read_text())["data"]["getAlerts"]["edges"]
]
COUNT = f"{{ getAlerts(ids: {json.dumps([node['id'] for node in NODES])}) {{ totalCount }} }}"


@pytest.fixture
def client() -> TestClient:
    client = TestClient(build_app())
    assert client.post("/_montecarlo/alerts", json=NODES).status_code == 201
    return client


def ask(client: TestClient, query: str = QUERY, **variables: Any) -> dict[str, Any]:
    body = {"query": query, "variables": variables}
    answer = client.post("/montecarlo/graphql", json=body, headers=KEY)
    assert answer.status_code == 200
    called: dict[str, Any] = answer.json()
    return called


def test_the_sample_query_gets_the_sample_answer(client: TestClient) -> None:
    variables = json.loads((SAMPLES / "getAlerts.variables.json").read_text())
    assert ask(client, **variables) == json.loads((SAMPLES / "getAlerts.response.json").read_text())


def test_a_missing_variable_is_told_as_in_the_sample(client: TestClient) -> None:
    told = json.loads((SAMPLES / "graphql_error.response.json").read_text())
    answer = ask(client, first=10)
    assert answer["data"] is None
    assert [error["message"] for error in answer["errors"]] == [error["message"] for error in told["errors"]]


def test_the_window_has_its_start_and_not_its_end(client: TestClient) -> None:
    first, second = (node["updatedTime"] for node in NODES)
    found = ask(client, updated={"after": first, "before": second}, first=10)["data"]["getAlerts"]["edges"]
    assert [edge["node"]["id"] for edge in found] == [NODES[0]["id"]]


def test_a_window_above_two_months_is_refused(client: TestClient) -> None:
    window = {"after": "2026-01-01T00:00:00+00:00", "before": "2026-04-01T00:00:00+00:00"}
    assert "2 months" in ask(client, updated=window, first=10)["errors"][0]["message"]


def test_pages_follow_the_cursor(client: TestClient) -> None:
    window = {"after": "2026-11-01T00:00:00+00:00", "before": "2026-12-01T00:00:00+00:00"}
    found, cursor = [], None
    for _ in NODES:
        page = ask(client, updated=window, first=1, after=cursor)["data"]["getAlerts"]
        assert page["totalCount"] == len(NODES)
        found += [edge["node"] for edge in page["edges"]]
        cursor = page["pageInfo"]["endCursor"]
    assert found == NODES
    assert page["pageInfo"]["hasNextPage"] is False


def test_ids_find_alerts_of_any_time_and_only_selected_fields_are_answered(client: TestClient) -> None:
    query = "query($ids: [UUID!]) { getAlerts(ids: $ids, first: 5) { edges { node { id ... on Alert { status } } } } }"
    found = ask(client, query, ids=[NODES[1]["id"]])["data"]["getAlerts"]["edges"]
    assert found == [{"node": {"id": NODES[1]["id"], "status": "ACKNOWLEDGED"}}]


def test_a_field_that_alerts_do_not_have_is_refused(client: TestClient) -> None:
    answer = ask(client, COUNT.replace("totalCount", "edges { node { id mood } }"))
    assert answer["errors"][0]["message"] == 'Cannot query field "mood" on type "Alert".'


@pytest.mark.parametrize("headers", [{}, {"x-mcd-id": "id"}, {"authorization": "Bearer of somebody"}])
def test_without_a_key_or_a_token_of_ours_the_answer_is_401(
    client: TestClient, headers: dict[str, str]
) -> None:
    assert client.post("/montecarlo/graphql", json={"query": QUERY}, headers=headers).status_code == 401


def test_a_token_works_until_it_expires(client: TestClient) -> None:
    form = {"grant_type": "client_credentials", "scope": "x"}
    given = client.post("/montecarlo/oauth2/token", data=form, auth=("client", "secret")).json()
    bearer = {"authorization": f"Bearer {given['access_token']}"}
    body = {"query": COUNT}
    assert client.post("/montecarlo/graphql", json=body, headers=bearer).json() == {
        "data": {"getAlerts": {"totalCount": 2}}
    }
    client.delete("/_montecarlo/tokens")
    assert client.post("/montecarlo/graphql", json=body, headers=bearer).status_code == 401


def test_no_secret_is_recorded(client: TestClient) -> None:
    ask(client, first=1)
    form = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "hidden-secret"}
    client.post("/montecarlo/oauth2/token", data=form)
    recorded = client.get("/_recorded?service=montecarlo").text
    assert "secret-token" not in recorded
    assert "hidden-secret" not in recorded


def test_scripts_refuse_and_answer_in_part(client: TestClient) -> None:
    for script in ({"mode": "error", "error": "no access"}, {"mode": "partial", "error": "one field failed"}):
        assert client.post("/_script", json={"service": "montecarlo", **script}).status_code == 201
    query = COUNT
    assert ask(client, query) == {"errors": [{"message": "no access"}], "data": None}
    partial = ask(client, query)
    assert partial["data"] == {"getAlerts": {"totalCount": 2}}
    assert partial["errors"][0]["message"] == "one field failed"


def test_a_lagging_answer_is_what_was_known_before() -> None:
    clock = ManualClock()
    api = MonteCarloApi(clock)
    api.put([NODES[0]])
    clock.advance(10)
    api.put([NODES[0] | {"status": "FIXED"}])
    body = json.dumps(
        {"query": f'{{ getAlerts(ids: ["{NODES[0]["id"]}"]) {{ edges {{ node {{ status }} }} }} }}'}
    ).encode()
    for lag, status in ((0.0, "FIXED"), (5.0, None)):
        found = api.call(KEY, body, lag)["data"]["getAlerts"]["edges"]
        assert found == [{"node": {"status": status}}]


@pytest.mark.parametrize(
    "alert",
    [{"id": "1"}, {"id": NODES[0]["id"], "mood": 1}, {"id": NODES[0]["id"], "updatedTime": "2026-01-01"}],
)
def test_an_alert_that_cannot_be_is_refused(client: TestClient, alert: dict[str, Any]) -> None:
    assert client.post("/_montecarlo/alerts", json=[alert]).status_code == 400


def test_a_question_without_ids_or_a_time_is_refused(client: TestClient) -> None:
    assert "must be provided" in ask(client, "{ getAlerts { totalCount } }")["errors"][0]["message"]
