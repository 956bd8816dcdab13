"""``POST /v1/{tenant}/atlan``: Atlan's webhooks, and the greeting it sends when one is made.

The secret is looked at before the body is parsed. An unknown tenant is answered as a wrong secret is.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from airflow_provider_atlan_meta.core.atlan_webhook import (
    ATLAN,
    HEADER,
    MAX_HANDSHAKE_BYTES,
    atlan_event,
    is_handshake,
    is_secret,
)
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.json_document import parse_document
from airflow_provider_atlan_meta.services.answers import Answer, json_answer, problem
from airflow_provider_atlan_meta.services.intake import (
    DISABLED,
    Intake,
    RefusedError,
    announced_bytes,
    check_body_headers,
)
from airflow_provider_atlan_meta.services.tenant_secrets import InboundTenant, TenantSecrets, look_up

_UNAUTHORIZED = problem(
    401,
    "no valid secret for this tenant; send x-atlan-signing-secret with the secret of its webhook",
    headers=((b"www-authenticate", b'Atlan-Secret realm="atlan-meta"'),),
)
_NOT_JSON = problem(415, "send JSON as application/json or text/plain, not compressed").closing()
_GREETED = json_answer(200, b'{"accepted":0,"ids":[]}')
_CONTENT_TYPES = (b"", b"text/plain", b"application/json")


class AtlanReceiver:
    """Atlan's webhooks, with the tenant's secret in a header."""

    def __init__(self, intake: Intake, tenants: TenantSecrets) -> None:
        self._intake = intake
        self._tenants = tenants
        self._nobody = InboundTenant("", (secrets.token_bytes(32),))

    async def receive(self, tenant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one webhook."""
        await self._intake.respond(self._answer(tenant, scope, receive), send)

    async def _answer(self, tenant_name: str, scope: Scope, receive: Receive) -> Answer:
        self._intake.check_capacity()
        headers = dict(scope["headers"])
        _check_headers(headers)
        said = headers.get(HEADER)
        if not said and announced_bytes(headers) > MAX_HANDSHAKE_BYTES:
            return _UNAUTHORIZED.closing()
        tenant = await self._admitted(tenant_name, said) if said else None
        body = await self._intake.read_body(receive)
        if is_handshake(body):
            return _GREETED
        if tenant is None:
            return _UNAUTHORIZED
        try:
            event = atlan_event(body, parse_document(body), tenant.name)
        except RejectedError as error:
            return problem(400, str(error))
        return await self._intake.publish(
            [event],
            received_at_ms=self._intake.now_ms(),
            traceparent=headers.get(b"traceparent"),
            kind=ATLAN,
        )

    async def _admitted(self, name: str, said: bytes) -> InboundTenant:
        """:raises RefusedError: 401, 403 for a disabled tenant, 503 when secrets cannot be read."""
        tenant = await look_up(self._tenants, name)
        if not is_secret(said, (tenant or self._nobody).secrets) or tenant is None:
            raise RefusedError(_UNAUTHORIZED.closing())
        if tenant.disabled:
            raise RefusedError(DISABLED.closing())
        return tenant


def _check_headers(headers: Mapping[bytes, bytes]) -> None:
    """Atlan says text/plain."""
    if headers.get(b"content-type", b"").split(b";")[0].strip().lower() not in _CONTENT_TYPES:
        raise RefusedError(_NOT_JSON)
    check_body_headers(headers, _NOT_JSON)
