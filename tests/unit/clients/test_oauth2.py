"""Only an issuer's own access tokens for us are believed; its keys may change, and it may be away."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import suppress
from random import Random
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_provider_atlan_meta.clients.oauth2 import OAuth2Config, TokenVerifier
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError, TransientError
from airflow_provider_atlan_meta.testing.tokens import AUDIENCE, ISSUER, TokenIssuer

JWKS = f"{ISSUER}/certs"


def info(host: str = ISSUER, **extra: Any) -> ConnectionInfo:
    said = {"audience": AUDIENCE, "jwks_uri": JWKS, **extra}
    return ConnectionInfo(conn_id="c", host=host, extra=said)


class Checker:
    """A verifier of the issuer's tokens, with a clock and an issuer that can be away."""

    def __init__(self, issuer: TokenIssuer | None = None, **extra: Any) -> None:
        self.issuer = issuer or TokenIssuer()
        self.now = 0.0
        self.answer: httpx.Response | None = None
        self.verifier = TokenVerifier(
            OAuth2Config.from_connection(info(**extra)),
            now=lambda: self.now,
            transport=httpx.MockTransport(self._keys),
        )

    def _keys(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) == JWKS
        body = self.issuer.jwks()
        return self.answer or httpx.Response(200, content=body)

    def tenant(self, token: str | bytes) -> str:
        return asyncio.run(self.verifier.tenant_of(token.encode() if isinstance(token, str) else token))


def test_a_valid_token_is_of_the_tenant_it_says() -> None:
    checker = Checker()
    assert checker.tenant(checker.issuer.token("globex")) == "globex"
    assert checker.tenant(checker.issuer.token(aud=["account", AUDIENCE], typ=None)) == "acme"
    assert checker.tenant(checker.issuer.token(headers={"typ": "at+jwt"})) == "acme"


def test_the_claim_that_names_the_tenant_can_be_chosen() -> None:
    checker = Checker(tenant_claim="org")
    assert checker.tenant(checker.issuer.token(org="initech")) == "initech"
    with pytest.raises(RejectedError, match="no tenant in its claim org"):
        checker.tenant(checker.issuer.token())


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "not valid"),
        ({"iat": None}, "iat"),
        ({"iat": int(time.time()) + 600}, "not valid"),
        ({"nbf": int(time.time()) + 600}, "not valid"),
        ({"iss": None}, "iss"),
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"aud": None}, "aud"),
        ({"aud": "account"}, "Audience"),
        ({"aud": []}, "not valid"),
        ({"typ": "ID"}, "not an access token"),
        ({"typ": "Refresh"}, "not an access token"),
        ({"tenant": None}, "no tenant"),
        ({"tenant": "NOT A TENANT"}, "no tenant"),
        ({"tenant": ["acme"]}, "no tenant"),
        ({"headers": {"typ": "logout+jwt"}}, "not an access token"),
        ({"headers": {"typ": 5}}, "not an access token|not a JWT|not valid"),
        ({"headers": {"kid": "unknown"}}, "does not publish"),
        ({"headers": {"kid": "../../etc"}}, "does not publish"),
    ],
)
def test_a_token_that_is_not_for_us_or_not_now_is_refused(claims: dict[str, Any], reason: str) -> None:
    checker = Checker()
    with pytest.raises(RejectedError, match=reason):
        checker.tenant(checker.issuer.token(**claims))


def test_a_token_of_another_key_or_without_a_signature_is_refused() -> None:
    checker, other = Checker(), TokenIssuer()
    head, body, signature = checker.issuer.token().split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"key-1"}').rstrip(b"=").decode()
    forged = base64.urlsafe_b64encode(b'{"tenant":"globex"}').rstrip(b"=").decode()
    for token in (other.token(), f"{none}.{body}.", f"{head}.{forged}.{signature}", f"{head}.{body}."):
        with pytest.raises(RejectedError):
            checker.tenant(token)


def test_a_symmetric_algorithm_is_never_believed() -> None:
    checker = Checker()
    token = jwt.encode({"tenant": "acme"}, b"s" * 32, algorithm="HS256", headers={"kid": "key-1"})
    with pytest.raises(RejectedError, match="algorithm"):
        checker.tenant(token)


def test_a_key_for_one_algorithm_checks_no_other() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    published = {**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "r"}
    for declared, good in (("RS256", ["RS256"]), ("PS256", ["PS256"]), (None, ["RS256", "PS256"])):
        checker = Checker()
        listed = {**published, "alg": declared} if declared else published
        checker.answer = httpx.Response(200, content=json.dumps({"keys": [listed]}).encode())
        for algorithm in ("RS256", "PS256"):
            now = int(time.time())
            claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 60, "tenant": "acme"}
            token = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "r"})
            if algorithm in good:
                assert checker.tenant(token) == "acme"
            else:
                with pytest.raises(RejectedError, match="another algorithm"):
                    checker.tenant(token)


@pytest.mark.parametrize(
    "keys",
    [
        b"",
        b"[]",
        b'{"keys": []}',
        b'{"keys": [5]}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "s"}]}',
        b'{"keys": [{"kty": "EC", "use": "enc", "kid": "s"}]}',
        b'{"keys": [{"kty": "EC", "crv": "P-256", "kid": ["s"]}]}',
        b"[" * 100_000,
        b" " * 300_000,
    ],
    ids=lambda keys: repr(keys[:30]),
)
def test_keys_that_are_none_let_nobody_in(keys: bytes) -> None:
    checker = Checker()
    checker.answer = httpx.Response(200, content=keys)
    with pytest.raises(TransientError):
        checker.tenant(checker.issuer.token())


def test_a_short_rsa_key_is_none() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    listed = {**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "r"}
    checker = Checker()
    checker.answer = httpx.Response(200, content=json.dumps({"keys": [listed]}).encode())
    with pytest.raises(TransientError, match="no keys"):
        checker.tenant(checker.issuer.token())


def test_keys_are_fetched_once_in_five_minutes() -> None:
    checker = Checker()
    for _ in range(5):
        checker.tenant(checker.issuer.token())
    assert checker.issuer.requests == 1
    checker.now = 301.0
    checker.tenant(checker.issuer.token())
    assert checker.issuer.requests == 2


def test_a_new_key_is_fetched_when_a_token_names_it_but_not_for_every_invented_one() -> None:
    checker = Checker()
    checker.tenant(checker.issuer.token())
    checker.issuer.rotate()
    with pytest.raises(RejectedError, match="does not publish"):
        checker.tenant(checker.issuer.token())
    checker.now = 31.0
    assert checker.tenant(checker.issuer.token()) == "acme"
    assert checker.issuer.requests == 2
    for n in range(50):
        with pytest.raises(RejectedError):
            checker.tenant(checker.issuer.token(headers={"kid": f"invented-{n}"}))
    assert checker.issuer.requests == 2


def test_a_withdrawn_key_is_not_believed_once_the_keys_were_fetched_again() -> None:
    checker = Checker()
    old = checker.issuer.token()
    checker.tenant(old)
    checker.issuer.rotate()
    checker.issuer.withdraw("key-1")
    checker.now = 300.0
    with pytest.raises(RejectedError, match="does not publish"):
        checker.tenant(old)


def test_while_the_issuer_is_away_its_last_keys_stay_for_a_day() -> None:
    checker = Checker()
    token = checker.issuer.token()
    checker.tenant(token)
    checker.answer = httpx.Response(503)
    checker.now = 80_000.0
    for _ in range(10):
        assert checker.tenant(token) == "acme"
    assert checker.issuer.requests == 2
    checker.now = 87_000.0
    for _ in range(3):
        with pytest.raises(TransientError):
            checker.tenant(token)
    assert checker.issuer.requests == 3
    checker.answer = None
    checker.now += 5.0
    assert checker.tenant(token) == "acme"


def test_a_redirect_is_not_followed() -> None:
    checker = Checker()
    checker.answer = httpx.Response(302, headers={"location": "https://evil.example/keys"})
    with pytest.raises(TransientError, match="302"):
        checker.tenant(checker.issuer.token())


def test_a_hundred_tokens_at_once_fetch_the_keys_once() -> None:
    checker = Checker()
    token = checker.issuer.token().encode()

    async def burst() -> None:
        await asyncio.gather(*(checker.verifier.tenant_of(token) for _ in range(100)))

    asyncio.run(burst())
    assert checker.issuer.requests == 1


def test_random_tokens_are_refused_and_nothing_else_happens() -> None:
    rng, checker = Random(3), Checker()
    good = checker.issuer.token().encode()
    deep = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=")
    hostile = [b"", b".", b"..", b"a.b.c", b"\xff.\xff.\xff", deep + b"." + deep + b".", b"x" * 9000]
    for _ in range(200):
        torn = bytearray(good)
        torn[rng.randrange(len(torn))] = rng.randrange(256)
        hostile += [rng.randbytes(40), bytes(torn)]
    for token in hostile:
        with suppress(RejectedError):
            # a changed bit of padding is no change
            assert checker.tenant(token) == "acme"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"host": ""}, "issuer"),
        ({"audience": ""}, "audience"),
        ({"jwks_uri": ""}, "jwks_uri"),
        ({"jwks_uri": "http://sso.example.com/certs"}, "must be https"),
        ({"jwks_uri": "file:///etc/passwd"}, "must be https"),
        ({"algorithms": "RS256,HS256"}, "algorithms may be"),
        ({"algorithms": "none"}, "algorithms may be"),
    ],
)
def test_a_connection_that_would_believe_too_much_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        OAuth2Config.from_connection(info(**changed))


def test_keys_on_this_machine_need_no_tls_and_the_issuer_may_stand_in_the_extra() -> None:
    config = OAuth2Config.from_connection(
        info(host="", issuer="i", jwks_uri="http://127.0.0.1:1/certs", algorithms="ES256, EdDSA")
    )
    assert (config.issuer, config.algorithms) == ("i", ("ES256", "EdDSA"))
