"""An OAuth2 issuer of a test's own: keys, their JWKS, and whatever tokens a test wants, right or wrong."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER, AUDIENCE = "https://sso.example.com/realms/data", "atlan-meta"


class TokenIssuer:
    """Signs with the newest of its keys (ES256). ``requests`` counts how often its keys were asked for."""

    def __init__(self) -> None:
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.requests = 0
        self.rotate()

    def rotate(self) -> str:
        """A new key; the others stay published. Returns its id."""
        kid = f"key-{len(self._keys) + 1}"
        self._keys[kid] = ec.generate_private_key(ec.SECP256R1())
        return kid

    def withdraw(self, kid: str) -> None:
        del self._keys[kid]

    def jwks(self) -> bytes:
        """The published keys."""
        self.requests += 1
        keys = [
            {
                **jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True),
                "kid": kid,
                "use": "sig",
                "alg": "ES256",
            }
            for kid, key in self._keys.items()
        ]
        return json.dumps({"keys": keys}).encode()

    def token(
        self, tenant: str | None = "acme", *, headers: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Valid for five minutes unless claims say otherwise; None leaves a claim out."""
        now = int(time.time())
        said = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 300,
            "typ": "Bearer",
            "tenant": tenant,
            **claims,
        }
        kid, key = list(self._keys.items())[-1]
        payload = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(payload, key, algorithm="ES256", headers={"kid": kid, **(headers or {})})
