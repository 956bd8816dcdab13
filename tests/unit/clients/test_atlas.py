"""A catalog's REST API: who is asked, how, and what its refusals become."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from airflow_provider_atlan_meta.clients.atlas import (
    AtlasClient,
    UnansweredError,
    UnreachableError,
)
from airflow_provider_atlan_meta.clients.atlas_config import AtlasConfig
from airflow_provider_atlan_meta.core.atlas_errors import Fault
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    ConfigurationError,
    RejectedError,
    TerminalError,
    TransientError,
)
from airflow_provider_atlan_meta.testing.atlas_server import FakeAtlas, transport

HEADERS = "/types/typedefs/headers"


def info(**fields: Any) -> ConnectionInfo:
    given = {"host": "http://atlas-0", "login": "admin", "password": "admin"} | fields
    return ConnectionInfo(conn_id="c", **given)


def client_of(*fakes: FakeAtlas, **fields: Any) -> AtlasClient:
    return AtlasClient(AtlasConfig.from_connection(info(**fields)), transport(*fakes))


@pytest.fixture
def fake() -> FakeAtlas:
    return FakeAtlas()


@pytest.fixture
def client(fake: FakeAtlas) -> AtlasClient:
    return client_of(fake)


# ---- connection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "hosts"),
    [
        ({"host": "http://atlas:21000"}, ("http://atlas:21000",)),
        ({"host": "atlas", "port": 21000}, ("http://atlas:21000",)),
        ({"host": "atlas", "port": 21443, "schema": "https"}, ("https://atlas:21443",)),
        ({"host": "https://knox/gateway/atlas/"}, ("https://knox/gateway/atlas",)),
        ({"host": "a", "extra": {"hosts": "http://a, b:21000"}}, ("http://a", "http://b:21000")),
        ({"host": "", "extra": {"hosts": ["http://a", "http://b"]}}, ("http://a", "http://b")),
    ],
)
def test_a_connection_names_the_servers(fields: dict[str, Any], hosts: tuple[str, ...]) -> None:
    assert AtlasConfig.from_connection(info(**fields)).hosts == hosts


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"host": ""}, "needs a host"),
        ({"host": "ftp://atlas"}, "is no address"),
        ({"host": "http://atlas:wrong"}, "is no address"),
        ({"host": "http://me:secret@atlas"}, "has a login"),
        ({"extra": {"dialect": "purview"}}, "one of atlan, atlas"),
        ({"extra": {"timeout": "soon"}}, "not a number"),
        ({"extra": {"timeout": 600}}, "at most 60"),
        ({"extra": {"name_suffix": "@{cluster}"}}, "suffix"),
        ({"extra": {"client_id": "x"}}, "client_secret"),
        ({"extra": {"client_id": "x", "client_secret": "secret"}}, "token_url"),
    ],
)
def test_a_connection_that_cannot_work_is_refused_with_its_name(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match="connection 'c'") as caught:
        AtlasConfig.from_connection(info(**fields))
    assert problem in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_no_secret_is_shown() -> None:
    extra = {"token": "t-secret", "client_id": "id", "client_secret": "c-secret", "token_url": "http://x"}
    shown = repr(AtlasConfig.from_connection(info(password="p-secret", extra=extra)))
    assert "secret" not in shown.replace("client_secret", "")


# ---- login ---------------------------------------------------------------------------------------------------------


def test_basic_goes_with_every_call_and_the_session_is_kept(fake: FakeAtlas, client: AtlasClient) -> None:
    client.call("GET", HEADERS)
    client.call("GET", HEADERS)
    first, second = fake.calls
    assert first.headers["authorization"].startswith("Basic ")
    assert "cookie" not in first.headers
    assert "ATLASSESSIONID=fake" in second.headers["cookie"]
    assert first.headers["user-agent"] == "atlan-meta/1"


def test_a_token_is_sent_as_bearer(fake: FakeAtlas) -> None:
    fake.tokens = {"t-1"}
    client_of(fake, login="", extra={"token": "t-1"}).call("GET", HEADERS)
    assert fake.calls[0].headers["authorization"] == "Bearer t-1"


def test_a_wrong_login_names_the_cure(fake: FakeAtlas) -> None:
    with pytest.raises(ConfigurationError, match="does not accept the login"):
        client_of(fake, password="wrong").call("GET", HEADERS)


class Tokens(httpx.BaseTransport):
    """A token endpoint beside a catalog."""

    def __init__(self, fake: FakeAtlas, *answers: tuple[int, Any]) -> None:
        self.catalog = transport(fake)
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "token" not in request.url.path:
            return self.catalog.handle_request(request)
        self.asked.append(request)
        status, document = self.answers.pop(0)
        return httpx.Response(status, json=document)


def tokens_client(tokens: Tokens, **extra: Any) -> AtlasClient:
    given = {"client_id": "id", "client_secret": "secret"} | extra
    return AtlasClient(AtlasConfig.from_connection(info(login="", extra=given)), tokens)


def test_client_credentials_give_a_token_that_is_used_until_it_ends(fake: FakeAtlas) -> None:
    fake.tokens = {"t-1", "t-2"}
    tokens = Tokens(fake, (200, {"access_token": "t-1", "expires_in": 600}))
    client = tokens_client(tokens, token_url="http://idp/token", scope="catalog")
    client.call("GET", HEADERS)
    client.call("GET", HEADERS)
    (asked,) = tokens.asked
    assert asked.content == b"grant_type=client_credentials&client_id=id&client_secret=secret&scope=catalog"


def test_a_token_that_was_withdrawn_is_replaced_once(fake: FakeAtlas) -> None:
    fake.tokens = {"t-2"}
    tokens = Tokens(fake, (200, {"access_token": "t-1"}), (200, {"access_token": "t-2"}))
    assert tokens_client(tokens, token_url="http://idp/token").call("GET", HEADERS)
    assert [call.headers["authorization"] for call in fake.calls] == ["Bearer t-1", "Bearer t-2"]


def test_a_withdrawn_client_ends_after_two_tokens(fake: FakeAtlas) -> None:
    tokens = Tokens(fake, (200, {"access_token": "t-1"}), (200, {"access_token": "t-2"}))
    with pytest.raises(ConfigurationError, match="login"):
        tokens_client(tokens, token_url="http://idp/token").call("GET", HEADERS)


def test_atlan_takes_its_client_as_json(fake: FakeAtlas) -> None:
    fake = FakeAtlas("/api/meta")
    fake.tokens = {"t-1"}
    tokens = Tokens(fake, (200, {"accessToken": "t-1", "expiresIn": 600}))
    tokens_client(tokens, dialect="atlan").call("GET", HEADERS)
    (asked,) = tokens.asked
    assert str(asked.url) == "http://atlas-0/api/service/oauth-clients/token"
    assert asked.content == b'{"clientId":"id","clientSecret":"secret"}'


@pytest.mark.parametrize(
    ("status", "document", "error"),
    [
        (401, {"error": "invalid_client"}, ConfigurationError),
        (200, {"error": "none"}, ConfigurationError),
        (200, ["none"], ConfigurationError),
        (503, {}, TransientError),
    ],
)
def test_no_token_says_what_to_do(
    fake: FakeAtlas, status: int, document: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="token"):
        tokens_client(Tokens(fake, (status, document)), token_url="http://idp/token").call("GET", HEADERS)


# ---- a cluster -----------------------------------------------------------------------------------------------------


def test_a_passive_server_names_the_active_one_and_is_not_asked_again() -> None:
    passive, active = FakeAtlas(), FakeAtlas()
    passive.script(
        "status", status=307, headers={"location": "http://atlas-1/api/atlas/v2/types/typedefs/headers"}
    )
    client = client_of(passive, active, extra={"hosts": "http://atlas-1"})
    client.call("GET", HEADERS)
    client.call("GET", HEADERS)
    assert (len(passive.calls), len(active.calls)) == (1, 2)
    assert active.calls[0].headers["authorization"].startswith("Basic ")


def test_the_login_never_goes_to_a_host_that_was_not_configured() -> None:
    passive, other = FakeAtlas(), FakeAtlas()
    passive.script("status", status=302, headers={"location": "http://atlas-1/api/atlas"})
    with pytest.raises(ConfigurationError, match=r"sends calls on to http://atlas-1:80.*name it in `hosts`"):
        client_of(passive, other).call("GET", HEADERS)
    assert other.calls == []


def test_servers_that_name_each_other_end_in_a_retry() -> None:
    one, two = FakeAtlas(), FakeAtlas()
    one.script("status", status=307, times=9, headers={"location": "http://atlas-1/"})
    two.script("status", status=307, times=9, headers={"location": "http://atlas-0/"})
    with pytest.raises(TransientError, match="each other"):
        client_of(one, two, extra={"hosts": "http://atlas-1"}).call("GET", HEADERS)


def test_a_server_that_is_gone_is_passed_over() -> None:
    fake = FakeAtlas()
    catalog = transport(FakeAtlas(), fake)

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.host == "atlas-0":
            raise httpx.ConnectError("refused", request=request)
        return catalog.handle_request(request)

    config = AtlasConfig.from_connection(info(extra={"hosts": "http://atlas-1"}))
    AtlasClient(config, httpx.MockTransport(handle)).call("GET", HEADERS)
    assert len(fake.calls) == 1
    with pytest.raises(UnreachableError, match="no catalog at http://atlas-0"):
        AtlasClient(AtlasConfig.from_connection(info()), httpx.MockTransport(handle)).call("GET", HEADERS)


# ---- answers -------------------------------------------------------------------------------------------------------


def test_a_refusal_is_an_answer_with_a_verdict(fake: FakeAtlas, client: AtlasClient) -> None:
    fake.script("status", status=503, headers={"retry-after": "7"})
    answer = client.send("GET", HEADERS)
    assert answer.verdict is not None
    assert (answer.verdict.fault, answer.retry_after) == (Fault.AWAY, 7.0)


def test_a_refused_call_raises_what_happens_next(fake: FakeAtlas, client: AtlasClient) -> None:
    fake.script("status", status=503, headers={"retry-after": "7"})
    with pytest.raises(TransientError) as caught:
        client.call("GET", HEADERS)
    assert caught.value.retry_after == 7.0
    fake.script("status", status=404, code="ATLAS-404-00-007")
    with pytest.raises(RejectedError, match="ATLAS-404-00-007"):
        client.call("GET", HEADERS)


def test_no_answer_is_told_from_not_sent(fake: FakeAtlas, client: AtlasClient) -> None:
    fake.script("hang")
    with pytest.raises(UnansweredError, match="may be written or not"):
        client.call("GET", HEADERS)
    assert len(fake.calls) == 1


@pytest.mark.parametrize("status", [200, 404])
def test_an_address_that_is_no_catalog_says_so(status: int) -> None:
    page = httpx.MockTransport(lambda _: httpx.Response(status, text="<html>"))
    with pytest.raises(TerminalError, match="address"):
        AtlasClient(AtlasConfig.from_connection(info()), page).call("GET", HEADERS)


def test_an_entity_that_is_not_there_is_none(fake: FakeAtlas, client: AtlasClient) -> None:
    assert client.entity("DataSet", "nothing") is None
    fake.store.write(
        {
            "entities": [
                {"typeName": "DataSet", "guid": "-1", "attributes": {"qualifiedName": "a/b?c", "name": "n"}}
            ]
        }
    )
    found = client.entity("DataSet", "a/b?c")
    assert found is not None
    assert found["attributes"]["name"] == "n"


# ---- types ---------------------------------------------------------------------------------------------------------


def test_types_are_made_once_and_described(fake: FakeAtlas, client: AtlasClient) -> None:
    assert "not there yet: mc_alert, mc_dataset" in client.describe()
    assert client.ensure_types() is True
    assert client.ensure_types() is False
    assert "ours among them" in client.describe()
    assert [call.path for call in fake.calls if call.method in ("POST", "PUT")] == [
        "/api/atlas/v2/types/typedefs"
    ]


def test_types_of_an_earlier_version_get_what_they_lack(fake: FakeAtlas, client: AtlasClient) -> None:
    client.ensure_types()
    alert = fake.store.types.known["entityDefs", "mc_alert"]
    alert["attributeDefs"] = [one for one in alert["attributeDefs"] if one["name"] != "revision"]
    alert["attributeDefs"].append({"name": "theirs", "typeName": "string", "isOptional": True})
    assert client.ensure_types() is True
    assert {"revision", "theirs"} <= fake.store.types.attributes("mc_alert").keys()
    assert client.ensure_types() is False


def test_two_that_make_the_types_at_once_both_end_well(fake: FakeAtlas, client: AtlasClient) -> None:
    client_of(fake).ensure_types()
    fake.script("status", status=404, code="ATLAS-404-00-001", path="mc_alert")
    assert client.ensure_types() is False


def test_types_under_change_are_tried_later(fake: FakeAtlas, client: AtlasClient) -> None:
    fake.script("status", status=500, code="ATLAS-500-00-005", path="typedefs")
    with pytest.raises(TransientError, match="types are being changed"):
        client.ensure_types()


def test_types_that_may_not_be_made_stop_everything(fake: FakeAtlas, client: AtlasClient) -> None:
    fake.script("status", status=403, code="ATLAS-403-00-001", path="typedefs")
    with pytest.raises(TerminalError, match="may not"):
        client.ensure_types()


def test_atlan_has_its_own_types() -> None:
    fake = FakeAtlas("/api/meta")
    assert client_of(fake, extra={"dialect": "atlan"}).ensure_types() is False
    assert fake.calls == []
